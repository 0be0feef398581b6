//! Registered VMs: a name and the sources of its disks.
//!
//! A VM is registered by `vm add`, or by its first backup that names sources. From then on its definition
//! changes only by being replaced: a backup that names other sources than the registered ones is refused,
//! because a mistyped path would otherwise continue one disk's chain with another disk's content.

use crate::{Error, Hub, Missing, Only, Result, blocking, failure};
use api::CreateVm;
use jiff::Timestamp;
use model::{Backup, ContextId, DiskIndex, SourceUri, Stamp, Vm, VmDisk, VmName, shell_word};

/// More disks than any hypervisor attaches.
const MOST_DISKS: usize = 256;

impl Hub {
    /// A page of all VMs, newest first, and how many there are.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn vms(&self, limit: u32, offset: u64) -> Result<(Vec<Vm>, u64)> {
        self.vms_among(limit, offset, None).await
    }

    /// [`vms`](Hub::vms) for a caller for whom only these VMs exist.
    ///
    /// # Errors
    /// The same.
    pub async fn vms_among(&self, limit: u32, offset: u64, only: Only<'_>) -> Result<(Vec<Vm>, u64)> {
        let page = self.catalog().vms(limit, offset, only).await?;
        Ok((page.items, page.total))
    }

    /// Every registered VM, by name, with the end of its newest completed backup.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn latest_backups(&self) -> Result<Vec<(VmName, Option<Timestamp>)>> {
        Ok(self.catalog().latest_backups().await?)
    }

    /// The VM of that name.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn vm(&self, name: &VmName) -> Result<Vm> {
        self.catalog().vm_by_name(name).await?.ok_or_else(|| Error::missing(Missing::Vm, name))
    }

    /// Registers a VM; with `replace` an existing one gets these disks instead of its own.
    ///
    /// # Errors
    /// [`Error::Exists`] without `replace`; [`Error::Source`] where a file can't be read; [`Error::Invalid`]
    /// where there are no disks, or one twice.
    pub async fn add_vm(&self, request: CreateVm, replace: bool) -> Result<Vm> {
        let wanted = request.disks.into_iter().map(|disk| disk.source).collect();
        let known = self.catalog().vm_by_name(&request.name).await?;
        if known.is_some() && !replace {
            return Err(Error::Exists {
                what: format!("VM {}", request.name),
                hint: "`sendense-ctl vm add --replace` gives it other disks".into(),
            });
        }
        let disks = settle("disks", wanted).await?;
        let now = Timestamp::now();
        match known {
            Some(known) => {
                let vm = Vm { disks, updated_at: now, ..known };
                self.catalog().update_vm(&vm).await?;
                Ok(vm)
            }
            None => self.register(request.name, disks).await,
        }
    }

    /// Forgets a VM. Its restore points are not touched by this, so it is refused while there are any.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotEmpty`]; [`Error::Locked`] while something works on it.
    pub async fn remove_vm(&self, name: &VmName) -> Result<()> {
        let vm = self.vm(name).await?;
        let lease = self.lock_vm(&vm.context_id, name, "vm remove", None).await?;
        let points = self.points_of(&vm.context_id).await?.len() as u64;
        let outcome = if points > 0 {
            Err(Error::NotEmpty { what: format!("VM {name}"), points })
        } else {
            self.catalog().remove_vm(&vm.context_id, true).await.map_err(Error::from)
        };
        lease.release().await;
        outcome
    }

    /// The VM that a backup is for: a known one, whose disks must be the named sources where any are named,
    /// or a new one made of them, which is not registered yet.
    pub(crate) async fn vm_for_backup(&self, name: &VmName, wanted: Vec<SourceUri>) -> Result<Wanted> {
        match self.catalog().vm_by_name(name).await? {
            Some(known) => as_named(known, &wanted).map(Wanted::Known),
            None => unregistered(name, wanted).await.map(Wanted::New),
        }
    }

    /// Registers the VM of a backup that was accepted, where it is new. Another process may have been faster.
    pub(crate) async fn registered(&self, vm: Wanted) -> Result<Wanted> {
        let new = match vm {
            Wanted::New(new) => new,
            known => return Ok(known),
        };
        let sources: Vec<SourceUri> = new.disks.iter().map(|disk| disk.source.clone()).collect();
        let registered = match self.register(new.name.clone(), new.disks).await {
            Err(Error::Exists { .. }) => as_named(self.vm(&new.name).await?, &sources),
            other => other,
        };
        registered.map(Wanted::Known)
    }

    /// Keeps the sizes that a backup found. Only for display, so a failure is no failure of the backup.
    pub(crate) async fn note_disks(&self, point: &Backup, pushed: Option<Vec<VmDisk>>) {
        let found = match self.catalog().vm(&point.vm_context_id).await {
            Ok(Some(vm)) => vm,
            Ok(None) | Err(_) => return,
        };
        let mut vm = found.clone();
        // A VM whose disks a client writes has those of its last point: what became none leaves them as they were.
        if let Some(disks) = pushed {
            vm.disks = disks;
        }
        for disk in &mut vm.disks {
            if let Some(on) = point.disk(disk.index).filter(|on| on.source == disk.source) {
                disk.capacity_bytes = Some(on.capacity_bytes);
            }
        }
        if vm != found
            && let Err(error) = self.catalog().update_vm(&vm).await
        {
            tracing::warn!(%error, vm = %vm.name, "the disks of the VM can't be kept");
        }
    }

    async fn register(&self, name: VmName, disks: Vec<VmDisk>) -> Result<Vm> {
        let now = Timestamp::now();
        let mut stamp = Stamp::new(now);
        // Only a VM that was removed and added within one second needs a second try.
        loop {
            let context_id = ContextId::new(format!("ctx-{name}-{stamp}"))
                .map_err(|error| Error::invalid("vm_name", error))?;
            let vm =
                Vm { context_id, name: name.clone(), disks: disks.clone(), created_at: now, updated_at: now };
            if self.catalog().vm(&vm.context_id).await?.is_some() {
                stamp = stamp.next();
                continue;
            }
            self.catalog().insert_vm(&vm).await?;
            return Ok(vm);
        }
    }
}

/// The VM of a backup that is asked for.
#[derive(Clone)]
pub(crate) enum Wanted {
    /// It is registered.
    Known(Vm),
    /// It is registered, with other disks than these.
    Changed(Vm),
    /// As it would be registered.
    New(Vm),
}

impl Wanted {
    /// The VM either way.
    pub(crate) fn vm(&self) -> &Vm {
        match self {
            Wanted::Known(vm) | Wanted::Changed(vm) | Wanted::New(vm) => vm,
        }
    }
}

/// The registered VM, if these are its disks, or none were named.
fn as_named(known: Vm, wanted: &[SourceUri]) -> Result<Vm> {
    if wanted.is_empty() || same_disks(&known.disks, wanted) {
        return Ok(known);
    }
    let name = shell_word(known.name.as_str());
    Err(Error::Conflict {
        message: format!("VM {} is registered with other disks than these", known.name),
        hint: format!(
            "leave --source out to use them (`sendense-ctl vm show {name}`); \
             `sendense-ctl vm add {name} --replace --disk URI` gives it other disks"
        ),
    })
}

/// A VM as it would be registered.
async fn unregistered(name: &VmName, wanted: Vec<SourceUri>) -> Result<Vm> {
    if wanted.is_empty() {
        return Err(Error::missing(Missing::Vm, name));
    }
    let disks = settle("sources", wanted).await?;
    let now = Timestamp::now();
    let context_id = ContextId::new(format!("ctx-{name}-{}", Stamp::new(now)))
        .map_err(|error| Error::invalid("vm_name", error))?;
    Ok(Vm { context_id, name: name.clone(), disks, created_at: now, updated_at: now })
}

/// A settled source equals the URI it was settled from, and itself.
fn same_disks(known: &[VmDisk], wanted: &[SourceUri]) -> bool {
    known.len() == wanted.len()
        && known.iter().zip(wanted).all(|(known, wanted)| {
            known.source == *wanted
                || (known.source.path().is_some()
                    && known.source.path() == wanted.path()
                    && known.source.format() == wanted.format())
        })
}

/// Looks at new sources and names their formats.
async fn settle(field: &'static str, wanted: Vec<SourceUri>) -> Result<Vec<VmDisk>> {
    if wanted.is_empty() {
        return Err(Error::invalid(field, "at least one disk is needed"));
    }
    if wanted.len() > MOST_DISKS {
        return Err(Error::invalid(field, format!("at most {MOST_DISKS} disks are possible")));
    }
    blocking::run("sources", move || {
        let mut disks: Vec<VmDisk> = Vec::with_capacity(wanted.len());
        for (position, uri) in wanted.into_iter().enumerate() {
            let index = DiskIndex(position as u32);
            let source = sources::settle(uri.clone()).map_err(|error| match error {
                // Nothing is wrong with the source, only with what was said of it.
                block::Error::Unsupported { name, reason } => {
                    Error::invalid(field, format!("{name}: {reason}"))
                }
                error => failure::source_failure(index, &uri, error),
            })?;
            if source != SourceUri::Push && disks.iter().any(|disk| disk.source == source) {
                return Err(Error::invalid(field, format!("{source} is named twice")));
            }
            disks.push(VmDisk { index, source, capacity_bytes: None });
        }
        Ok(disks)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_settled_source_is_the_one_it_came_from() {
        let disk =
            |uri: &str| VmDisk { index: DiskIndex(0), source: uri.parse().unwrap(), capacity_bytes: None };
        let known = [disk("file:///a?format=raw"), disk("nbd://h/x")];
        let uris = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>();
        assert!(same_disks(&known, &uris(&["/a", "nbd://h/x"])));
        assert!(same_disks(&known, &uris(&["file:///a?format=raw", "nbd://h/x"])));
        assert!(!same_disks(&known, &uris(&["file:///a?format=qcow2", "nbd://h/x"])));
        assert!(!same_disks(&known, &uris(&["/a"])));
        assert!(!same_disks(&known, &uris(&["nbd://h/x", "/a"])));
    }
}
