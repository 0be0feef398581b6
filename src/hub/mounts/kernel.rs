//! A point mounted by the kernel's own file system, from a network block device that `qemu-nbd` serves.
//!
//! For who needs what only the kernel's file system gives. It needs root and the module `nbd`, mounts one partition or
//! unpartitioned disk, and replays no journal (`noload`, `norecovery`): the mount is read-only, and so is the device.
//!
//! Not here: finding and opening volumes (`guestfs` tells which there are).

use super::folder::busy;
use super::lasting::{Closing, Ended, Lasting, Wait};
use super::place::Place;
use super::recovery::Leftovers;
use crate::browse::Session;
use crate::{Error, Hub, Missing, Result, blocking};
use api::{Mount, MountBackup, VolumeView};
use model::{Backup, DiskIndex, MountKind};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// How long a device may take to show its partitions.
const APPEARS: Duration = Duration::from_secs(10);

/// A kernel mount.
struct KernelMount {
    session: Arc<Session>,
    file_system: String,
    place: Place,
    /// `/dev/nbd0`, once one is connected.
    device: OnceLock<String>,
    mounted: AtomicBool,
}

impl Hub {
    /// Mounts a volume of a point by the kernel.
    pub(super) async fn mount_by_kernel(
        &self,
        id: String,
        path: &str,
        request: MountBackup,
    ) -> Result<Mount> {
        if !rustix::process::geteuid().is_root() {
            return Err(Error::Target {
                target: path.to_owned(),
                reason: "only root can let the kernel mount a device; without --kernel no root is needed"
                    .into(),
                permission: true,
            });
        }
        if free_device().is_none() && devices().next().is_none() {
            return Err(Error::Unsupported {
                what: "--kernel on this machine, whose kernel has no network block devices,".into(),
                hint: "`modprobe nbd max_part=16` loads them where the kernel has the module; without --kernel none is needed"
                    .into(),
            });
        }
        let backup = request.backup_id.clone().ok_or_else(|| Error::missing(Missing::Backup, ""))?;
        let record = self.point(&backup).await?;
        let session = Arc::new(self.open_session(id.clone(), &record, &request, "mount").await?);
        let (disk, partition, file_system) = match choose(&session.view().volumes, request.volume.as_deref())
        {
            Ok(chosen) => chosen,
            Err(error) => {
                session.release().await;
                return Err(error);
            }
        };
        let path = path.to_owned();
        let place = match blocking::run("mount", move || Place::prepare(&path)).await {
            Ok(place) => place,
            Err(error) => {
                session.release().await;
                return Err(error);
            }
        };
        let mount = Arc::new(KernelMount {
            session,
            file_system,
            place,
            device: OnceLock::new(),
            mounted: AtomicBool::new(false),
        });
        let registry = &self.inner.mounts;
        let connected = async {
            registry.announce(Arc::clone(&mount) as Arc<dyn Lasting>).await?;
            let device = free_device().ok_or_else(|| Error::Conflict {
                message: "all network block devices of this machine are in use".into(),
                hint: "end one of their users, or load the module with more (nbds_max=64)".into(),
            })?;
            // On the record before it is connected, so that whatever happens it is found again.
            mount.device.get_or_init(|| device.clone());
            registry.announce_again(&*mount).await?;
            let file = self.file_of(&record, disk).await?;
            let working = Arc::clone(&mount);
            blocking::run("mount", move || working.connect(&device, &file, partition)).await
        };
        match connected.await {
            Ok(()) => Ok(mount.view()),
            Err(error) => {
                if let Some(device) = mount.device.get().cloned() {
                    drop(blocking::run("unmount", move || disconnect(&device, None)).await);
                }
                mount.clean_up().await;
                registry.forget(&id).await;
                Err(error)
            }
        }
    }

    /// The newest file of a disk's chain.
    async fn file_of(&self, record: &Backup, disk: u32) -> Result<PathBuf> {
        let found = record.disk(DiskIndex(disk)).ok_or_else(|| Error::missing(Missing::Disk, disk))?;
        let repository = self.repository_of(&record.repository_id).await?;
        Ok(Path::new(&repository.path).join(&found.file))
    }
}

/// The disk, the partition's number (0 for a whole disk) and the file system of the volume that is to be mounted.
fn choose(volumes: &[VolumeView], wanted: Option<&str>) -> Result<(u32, u32, String)> {
    let readable = |volume: &&VolumeView| volume.state == "readable";
    let chosen = match wanted {
        Some(id) => volumes.iter().find(|volume| volume.id == id),
        None => volumes
            .iter()
            .find(|volume| volume.mount_point.as_deref() == Some("/"))
            .or_else(|| volumes.iter().find(readable)),
    };
    let Some(volume) = chosen else {
        return Err(Error::invalid("volume", "there is no volume with files that the kernel could mount"));
    };
    let (disk, partition) = partition_of(&volume.id).ok_or_else(|| Error::Unsupported {
        what: format!("--kernel for {}, which is no partition,", volume.id),
        hint: "choose one with --volume (`backup volumes` lists them), or mount it without --kernel".into(),
    })?;
    Ok((disk, partition, volume.filesystem_type.clone().unwrap_or_default()))
}

/// `disk0/part2` is partition 2 of disk 0, `disk0` the whole disk.
fn partition_of(id: &str) -> Option<(u32, u32)> {
    let (disk, rest) = id.split_once('/').map_or((id, None), |(disk, rest)| (disk, Some(rest)));
    let disk = disk.strip_prefix("disk")?.parse().ok()?;
    match rest {
        None => Some((disk, 0)),
        Some(rest) => Some((disk, rest.strip_prefix("part")?.parse().ok().filter(|number| *number > 0)?)),
    }
}

/// How the kernel is told not to write to what it mounts: it would replay the journal otherwise.
fn options(file_system: &str) -> &'static str {
    match file_system {
        "ext3" | "ext4" => "ro,nosuid,nodev,noload",
        "xfs" => "ro,nosuid,nodev,norecovery,nouuid",
        "btrfs" => "ro,nosuid,nodev,rescue=nologreplay",
        _ => "ro,nosuid,nodev",
    }
}

/// The network block devices of this machine.
fn devices() -> impl Iterator<Item = String> {
    let numbers = (0..256).map(|number| format!("nbd{number}"));
    numbers.take_while(|name| Path::new("/sys/class/block").join(name).exists())
}

/// One that nobody has connected.
fn free_device() -> Option<String> {
    let free = |name: &String| !Path::new("/sys/class/block").join(name).join("pid").exists();
    devices().find(free).map(|name| format!("/dev/{name}"))
}

fn run(command: &mut Command) -> Result<()> {
    let shown = command.get_program().to_string_lossy().into_owned();
    let failed = |reason: String| Error::Target { target: shown.clone(), reason, permission: false };
    let output = command.stdin(Stdio::null()).output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

/// Unmounts the device and disconnects it; nothing where neither is there. Blocks.
///
/// # Errors
/// Where the system refuses.
pub(super) fn disconnect(device: &str, path: Option<&str>) -> Result<()> {
    if let Some(path) = path
        && is_mounted(device, path)
    {
        let flags = UnmountFlags::NOFOLLOW | UnmountFlags::DETACH;
        rustix::mount::unmount(path, flags).map_err(|error| Error::Target {
            target: path.to_owned(),
            reason: error.to_string(),
            permission: false,
        })?;
    }
    run(Command::new("qemu-nbd").arg("--disconnect").arg(device))
}

/// Whether the device, or a partition of it, is what is mounted at that path.
fn is_mounted(device: &str, path: &str) -> bool {
    let table = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    table.lines().any(|line| {
        let mut fields = line.split(' ');
        let (source, at) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        let rest = source.strip_prefix(device);
        at == path && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('p'))
    })
}

impl KernelMount {
    fn connect(&self, device: &str, file: &Path, partition: u32) -> Result<()> {
        let connect = format!("--connect={device}");
        run(Command::new("qemu-nbd").args(["--read-only", "--format=qcow2", &connect]).arg(file))?;
        let node = if partition == 0 { device.to_owned() } else { format!("{device}p{partition}") };
        let until = Instant::now() + APPEARS;
        while fs::metadata(&node).is_err() || fs::File::open(&node).is_err() {
            if Instant::now() >= until {
                let hint = "load the module with partitions: `modprobe nbd max_part=16`".into();
                return Err(Error::Unsupported { what: format!("{node}, which does not appear,"), hint });
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let kind = if self.file_system == "ntfs" { "ntfs3" } else { self.file_system.as_str() };
        let mut mount = Command::new("mount");
        mount.args(["-t", kind, "-o", options(kind)]).arg(&node).arg(&self.place.path);
        run(&mut mount)?;
        self.mounted.store(true, Ordering::Relaxed);
        Ok(())
    }

    async fn clean_up(&self) {
        self.session.release().await;
        self.place.remove();
    }
}

impl Lasting for KernelMount {
    fn view(&self) -> Mount {
        let view = self.session.view();
        let mut notes = view.notes.clone();
        notes.push("mounted by the kernel, which has not replayed any journal".to_owned());
        Mount {
            kind: MountKind::Kernel,
            mount_path: self.path(),
            nbd_device: self.device.get().cloned(),
            filesystem_type: Some(self.file_system.clone()),
            notes,
            ..view
        }
    }

    fn path(&self) -> Option<String> {
        Some(self.place.text())
    }

    fn leftovers(&self) -> Value {
        let folder = self.place.made.then(|| self.place.text());
        Leftovers { folder, device: self.device.get().cloned() }.into_json()
    }

    fn session(self: Arc<Self>) -> Option<Arc<Session>> {
        Some(Arc::clone(&self.session))
    }

    fn touch(&self) {
        self.session.times().touch();
    }

    fn is_over(&self) -> bool {
        let device = self.device.get().map_or("", String::as_str);
        self.mounted.load(Ordering::Relaxed) && !is_mounted(device, &self.place.text())
    }

    fn tend(&self) -> Wait<'_, ()> {
        // Nothing is open but the device.
        Box::pin(async {})
    }

    fn close(&self, how: Closing) -> Wait<'_, Result<Ended>> {
        Box::pin(async move {
            let (id, place) = (self.session.view().mount_id, self.place.clone());
            let Some(device) = self.device.get().cloned() else { return Err(busy(&id, &place.path)) };
            blocking::run("unmount", move || {
                let path = place.text();
                if how == Closing::IfUnused && is_mounted(&device, &path) {
                    match rustix::mount::unmount(&place.path, UnmountFlags::NOFOLLOW) {
                        Ok(()) => {}
                        Err(Errno::BUSY) => return Err(busy(&id, &place.path)),
                        Err(error) => {
                            return Err(Error::Target {
                                target: path,
                                reason: error.to_string(),
                                permission: false,
                            });
                        }
                    }
                }
                disconnect(&device, Some(&path))
            })
            .await?;
            self.clean_up().await;
            Ok(Ended::Gone)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_are_partitions_or_whole_disks() {
        assert_eq!(partition_of("disk0"), Some((0, 0)));
        assert_eq!(partition_of("disk12/part3"), Some((12, 3)));
        for other in ["lvm/vg/lv", "disk0/part0", "disk0/part1/luks", "disk", "disk0/partx"] {
            assert_eq!(partition_of(other), None, "{other}");
        }
    }

    #[test]
    fn no_file_system_is_mounted_so_that_it_would_write() {
        for kind in ["ext2", "ext3", "ext4", "xfs", "btrfs", "ntfs3", "vfat"] {
            assert!(options(kind).starts_with("ro,nosuid,nodev"), "{kind}");
        }
        assert!(options("ext4").contains("noload") && options("xfs").contains("norecovery"));
    }
}
