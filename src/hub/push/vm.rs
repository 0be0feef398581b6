//! The VM of a backup whose disks a client writes: it is what the client says it is.
//!
//! A VM that the hub reads by itself is never written to by a client, and the other way round: one disk's chain would
//! go on with another disk's content.

use crate::vms::Wanted;
use crate::{Error, Hub, Result};
use api::{PushDisk, StartBackup};
use jiff::Timestamp;
use model::{ContextId, DiskIndex, SourceUri, Stamp, Vm, VmDisk, shell_word};

/// More disks than any hypervisor attaches.
const MOST_DISKS: usize = 256;
/// More than any hypervisor's disk has.
const LARGEST: u64 = 64 << 40;

impl Hub {
    /// The VM as it will be registered.
    pub(crate) async fn vm_for_push(&self, request: &StartBackup) -> Result<Wanted> {
        let known = self.catalog().vm_by_name(&request.vm_name).await?;
        if let Some(vm) = &known
            && vm.disks.iter().any(|disk| disk.source != SourceUri::Push)
        {
            return Err(Error::Conflict {
                message: format!("the hub reads the disks of VM {} by itself", vm.name),
                hint: format!(
                    "leave \"source\": \"push\" out, or push under another name; `sendense-ctl vm show {}` shows them",
                    shell_word(vm.name.as_str())
                ),
            });
        }
        let ports = &self.config().push.ports;
        let room = usize::from(*ports.end() - *ports.start()) + 1;
        if request.disks.len() > room {
            let reason =
                format!("{} disks are more than the {room} ports of push.ports", request.disks.len());
            return Err(Error::invalid("disks", reason));
        }
        let now = Timestamp::now();
        let before = known.as_ref().map_or(&[][..], |vm| &vm.disks);
        let disks = disks_after(before, request)?;
        Ok(match known {
            Some(vm) if vm.disks == disks => Wanted::Known(vm),
            Some(vm) => Wanted::Changed(Vm { disks, updated_at: now, ..vm }),
            None => {
                let context_id = ContextId::new(format!("ctx-{}-{}", request.vm_name, Stamp::new(now)))
                    .map_err(|error| Error::invalid("vm_name", error))?;
                let name = request.vm_name.clone();
                Wanted::New(Vm { context_id, name, disks, created_at: now, updated_at: now })
            }
        })
    }
}

/// The VM's disks as the request makes them: those that it names, or as they were where it names none. One that is
/// asked for by itself leaves the others as they are.
fn disks_after(before: &[VmDisk], request: &StartBackup) -> Result<Vec<VmDisk>> {
    let named = named(&request.disks)?;
    let mut disks: Vec<VmDisk> = match request.disk_id {
        Some(_) => {
            before.iter().filter(|disk| named.iter().all(|new| new.index != disk.index)).cloned().collect()
        }
        None if named.is_empty() => before.to_vec(),
        None => Vec::new(),
    };
    disks.extend(named);
    disks.sort_by_key(|disk| disk.index);
    if disks.is_empty() {
        return Err(Error::invalid("disks", "say how large each disk is: [{\"capacity_bytes\": …}]"));
    }
    if disks.iter().enumerate().any(|(n, disk)| disk.index.0 as usize != n) {
        return Err(Error::invalid("disks", "the disks of a VM are numbered from 0 without gaps"));
    }
    let sized =
        |disk: &VmDisk| request.disk_id.is_some_and(|id| id != disk.index.0) || disk.capacity_bytes.is_some();
    if !disks.iter().all(sized) {
        return Err(Error::invalid("disks", "say how large each disk is: [{\"capacity_bytes\": …}]"));
    }
    Ok(disks)
}

fn named(wanted: &[PushDisk]) -> Result<Vec<VmDisk>> {
    if wanted.len() > MOST_DISKS {
        return Err(Error::invalid("disks", format!("at most {MOST_DISKS} disks are possible")));
    }
    let mut disks: Vec<VmDisk> = Vec::with_capacity(wanted.len());
    for (position, disk) in wanted.iter().enumerate() {
        let index = DiskIndex(disk.disk_id.unwrap_or(position as u32));
        if disks.iter().any(|other| other.index == index) {
            return Err(Error::invalid("disks", format!("disk {index} is named twice")));
        }
        if !(1..=LARGEST).contains(&disk.capacity_bytes) {
            return Err(Error::invalid("disks", format!("disk {index} has from 1 byte to 64 TiB")));
        }
        let capacity_bytes = Some(disk.capacity_bytes);
        disks.push(VmDisk { index, source: SourceUri::Push, capacity_bytes });
    }
    Ok(disks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{RequestedType, VmName};

    fn request(disk_id: Option<u32>, disks: &[(Option<u32>, u64)]) -> StartBackup {
        let disks = disks
            .iter()
            .map(|(disk_id, capacity_bytes)| PushDisk {
                disk_id: *disk_id,
                capacity_bytes: *capacity_bytes,
                change_id: None,
            })
            .collect();
        let name = VmName::new("a").unwrap();
        StartBackup { disk_id, disks, ..StartBackup::new(name, RequestedType::Full) }
    }

    #[test]
    fn a_vm_is_what_its_client_says() {
        let sizes = |disks: &[VmDisk]| disks.iter().map(|disk| disk.capacity_bytes).collect::<Vec<_>>();
        let two = disks_after(&[], &request(None, &[(None, 10), (None, 20)])).unwrap();
        assert_eq!(sizes(&two), [Some(10), Some(20)]);
        assert_eq!(disks_after(&two, &request(None, &[])).unwrap(), two);
        assert_eq!(sizes(&disks_after(&two, &request(None, &[(Some(0), 7)])).unwrap()), [Some(7)]);
        let one = disks_after(&two, &request(Some(1), &[(Some(1), 7)])).unwrap();
        assert_eq!(sizes(&one), [Some(10), Some(7)]);
        for (disk_id, disks) in [
            (None, &[][..]),
            (None, &[(Some(1), 5)]),
            (None, &[(Some(0), 5), (Some(0), 5)]),
            (None, &[(None, 0)]),
            (None, &[(None, u64::MAX)]),
            (Some(4), &[(Some(4), 5)]),
        ] {
            assert!(disks_after(&[], &request(disk_id, disks)).is_err(), "{disks:?}");
        }
    }
}
