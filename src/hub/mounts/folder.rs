//! Points as a folder, served by this process through FUSE.

use super::forest::PointsOfVm;
use super::lasting::{Closing, Ended, Lasting, Times, Wait};
use super::place::Place;
use super::{bare_view, recovery::Leftovers};
use crate::browse::Session;
use crate::{Error, Hub, Missing, Result, blocking};
use api::{DEFAULT_IDLE_SECONDS, Mount, MountBackup};
use model::{MountKind, VmName};
use mount::{Access, Detach, Mounted, Options, Shown};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// How long the kernel may take to say that a mount which nobody uses has ended.
const END: Duration = Duration::from_secs(1);

/// A mount.
struct Folder {
    id: String,
    vm_name: VmName,
    what: What,
    times: Arc<Times>,
    place: Place,
    mounted: OnceLock<Arc<Mounted>>,
    /// Taken out of sight while somebody had something of it open: see the constants.
    detached: AtomicU8,
}

/// It is to be seen.
const IN_SIGHT: u8 = 0;
/// It goes on until nobody uses it.
const LAZILY: u8 = 1;
/// It should be gone.
const NOW: u8 = 2;

/// What it shows.
enum What {
    One(Arc<Session>),
    All(Arc<PointsOfVm>),
}

impl Hub {
    /// Mounts a point at a folder.
    pub(super) async fn mount_folder(&self, id: String, path: &str, request: MountBackup) -> Result<Mount> {
        let backup = request.backup_id.clone().ok_or_else(|| Error::missing(Missing::Backup, ""))?;
        let record = self.point(&backup).await?;
        let place = place(path).await?;
        let session = match self.open_session(id.clone(), &record, &request, "mount").await {
            Ok(session) => Arc::new(session),
            Err(error) => {
                place.remove();
                return Err(error);
            }
        };
        let times = Arc::clone(session.times());
        self.serve(id, record.vm_name, What::One(session), times, place, &request).await
    }

    /// Mounts all points of a VM at a folder.
    pub(super) async fn mount_all(
        &self,
        id: String,
        vm_name: &VmName,
        path: &str,
        request: MountBackup,
    ) -> Result<Mount> {
        let vm = self.vm(vm_name).await?;
        let place = place(path).await?;
        let idle = request.idle_timeout_seconds.unwrap_or(DEFAULT_IDLE_SECONDS);
        let times = Arc::new(Times::new(Duration::from_secs(idle)));
        let points = PointsOfVm::new(
            self.clone(),
            id.clone(),
            vm.context_id,
            request.clone(),
            Arc::clone(&times),
            &place.path,
        );
        self.serve(id, vm.name, What::All(Arc::new(points)), times, place, &request).await
    }

    async fn serve(
        &self,
        id: String,
        vm_name: VmName,
        what: What,
        times: Arc<Times>,
        place: Place,
        request: &MountBackup,
    ) -> Result<Mount> {
        let shown = match &what {
            What::One(session) => Shown::One(Arc::clone(session) as Arc<dyn mount::Plant>),
            What::All(points) => Shown::Many(Arc::clone(points) as Arc<dyn mount::Forest>),
        };
        let options = Options {
            name: id.clone(),
            access: if request.allow_other { Access::Everybody } else { Access::Owner },
            // What the kernel answers by itself is use that nobody hears of.
            keep: (times.idle() / 4).clamp(Duration::from_secs(1), Duration::from_secs(600)),
        };
        let folder = Arc::new(Folder {
            id: id.clone(),
            vm_name,
            what,
            times,
            place,
            mounted: OnceLock::new(),
            detached: AtomicU8::new(IN_SIGHT),
        });
        let registry = &self.inner.mounts;
        let announced = registry.announce(Arc::clone(&folder) as Arc<dyn Lasting>).await;
        let path = folder.place.path.clone();
        let served = match announced {
            Ok(()) => {
                blocking::run("mount", move || {
                    mount::serve(shown, &path, &options).map_err(|e| refused(&path, e))
                })
                .await
            }
            Err(error) => Err(error),
        };
        match served {
            Ok(mounted) => {
                folder.mounted.get_or_init(|| Arc::new(mounted));
                Ok(folder.view())
            }
            Err(error) => {
                folder.clean_up().await;
                registry.forget(&id).await;
                Err(error)
            }
        }
    }
}

async fn place(path: &str) -> Result<Place> {
    let path = path.to_owned();
    blocking::run("mount", move || Place::prepare(&path)).await
}

/// Why a folder can't be mounted at.
fn refused(path: &std::path::Path, error: mount::Error) -> Error {
    let reason = error.to_string();
    if !std::path::Path::new("/dev/fuse").exists() {
        return Error::Unsupported {
            what: "FUSE, which a mount needs,".into(),
            hint: "load it (`modprobe fuse`; a container needs --device /dev/fuse), or use `backup ls` and `backup extract`"
                .into(),
        };
    }
    let kind = match &error {
        mount::Error::Io(error) => error.kind(),
        mount::Error::Busy => std::io::ErrorKind::ResourceBusy,
    };
    let denied = kind == std::io::ErrorKind::PermissionDenied;
    let (reason, hint) = if reason.contains("user_allow_other") {
        (
            "only root may let other users in (--allow-other), unless /etc/fuse.conf says user_allow_other"
                .into(),
            "have that line added to /etc/fuse.conf, or mount it without --allow-other",
        )
    } else if denied {
        (reason, "/dev/fuse must be readable and writable for this user, and the folder be this user's")
    } else if kind == std::io::ErrorKind::NotFound {
        (reason, "other users than root need fusermount3: install the package fuse3")
    } else {
        (reason, "choose another folder")
    };
    Error::Mount {
        path: path.display().to_string(),
        permission: denied || hint.contains("--allow-other"),
        reason,
        hint: hint.into(),
    }
}

/// A refusal to unmount, with who uses it.
pub(super) fn busy(id: &str, path: &std::path::Path) -> Error {
    let holders = mount::holders(path);
    let named: Vec<String> =
        holders.iter().take(5).map(|holder| format!("{} (process {})", holder.name, holder.pid)).collect();
    let lazily = format!("`sendense-ctl restore unmount {id} --lazy`");
    let (who, hint) = match named.len() {
        0 => {
            let text = path.to_string_lossy();
            let shown = model::shell_word(&text);
            (
                "a process that can't be seen from here".to_owned(),
                format!("`sudo fuser -vm {shown}` tells which; end that, or {lazily}"),
            )
        }
        _ if holders.len() > named.len() => {
            (format!("{} and others", named.join(", ")), format!("end these, or {lazily}"))
        }
        _ => (named.join(", "), format!("end that, or {lazily}")),
    };
    Error::InUse {
        message: format!("{} is in use by {who}", path.display()),
        hint,
        details: json!({ "mount_id": id, "holders": holders.iter().map(|holder| json!({ "pid": holder.pid, "name": holder.name })).collect::<Vec<_>>() }),
    }
}

impl Folder {
    /// Gives back the points and the folder.
    async fn clean_up(&self) {
        match &self.what {
            What::One(session) => session.release().await,
            What::All(points) => points.release().await,
        }
        self.place.remove();
    }
}

impl Lasting for Folder {
    fn view(&self) -> Mount {
        let view = match &self.what {
            What::One(session) => session.view(),
            What::All(points) => Mount {
                notes: points.open_names().into_iter().map(|name| format!("{name} is open")).collect(),
                ..bare_view(&self.id, MountKind::Fuse, &self.vm_name, &self.times)
            },
        };
        let status = match self.detached.load(Ordering::Relaxed) {
            IN_SIGHT => "mounted",
            LAZILY => "unmounting",
            _ => "ending",
        };
        Mount { kind: MountKind::Fuse, mount_path: self.path(), status: status.to_owned(), ..view }
    }

    fn path(&self) -> Option<String> {
        Some(self.place.text())
    }

    fn leftovers(&self) -> Value {
        Leftovers { folder: self.place.made.then(|| self.place.text()), device: None }.into_json()
    }

    fn session(self: Arc<Self>) -> Option<Arc<Session>> {
        match &self.what {
            What::One(session) => Some(Arc::clone(session)),
            What::All(_) => None,
        }
    }

    fn touch(&self) {
        self.times.touch();
    }

    fn is_over(&self) -> bool {
        self.mounted.get().is_some_and(|mounted| mounted.is_over())
    }

    fn tend(&self) -> Wait<'_, ()> {
        Box::pin(async move {
            if let What::All(points) = &self.what {
                points.close_unused().await;
            }
        })
    }

    fn close(&self, how: Closing) -> Wait<'_, Result<Ended>> {
        Box::pin(async move {
            // Not mounted yet: whoever is about to cleans up.
            let Some(mounted) = self.mounted.get().map(Arc::clone) else {
                return Err(busy(&self.id, &self.place.path));
            };
            let (id, path) = (self.id.clone(), self.place.path.clone());
            let waiting = self.detached.load(Ordering::Relaxed) != IN_SIGHT;
            let over = blocking::run("unmount", move || {
                let detach = match how {
                    Closing::IfUnused => Detach::IfUnused,
                    Closing::Lazily => Detach::Lazily,
                    Closing::Now | Closing::AtExit => Detach::Now,
                };
                match mounted.unmount(detach) {
                    Ok(()) => {}
                    Err(mount::Error::Busy) => return Err(busy(&id, &path)),
                    Err(mount::Error::Io(error)) => {
                        return Err(Error::Target {
                            target: path.display().to_string(),
                            reason: format!("it can't be unmounted: {error}"),
                            permission: error.kind() == std::io::ErrorKind::PermissionDenied,
                        });
                    }
                }
                let limit = match (waiting, how) {
                    (true, _) => Duration::ZERO,
                    (_, Closing::IfUnused) => END,
                    (_, Closing::Lazily | Closing::Now | Closing::AtExit) => Duration::from_millis(300),
                };
                Ok(mounted.wait(limit))
            })
            .await?;
            // What was not in use and is out of the table is gone for everybody here. Another namespace that was made meanwhile
            // (a container's) may keep the kernel from saying so for as long as it lives.
            if !over && matches!(how, Closing::Lazily | Closing::Now) {
                let now = if how == Closing::Now { NOW } else { LAZILY };
                self.detached.fetch_max(now, Ordering::Relaxed);
                return Ok(Ended::Later);
            }
            self.clean_up().await;
            Ok(Ended::Gone)
        })
    }
}
