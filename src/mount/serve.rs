//! Mounting, and the life of a mount.

use crate::filesystem::Served;
use crate::point::{self, Detach};
use crate::{Result, Shown};
use fuser::{Config, MountOption, Session, SessionACL};
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// The most threads that answer for one mount.
const MAX_THREADS: usize = 4;

/// Who gets in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Access {
    /// The user that mounted it, who may read everything.
    #[default]
    Owner,
    /// Everybody, as far as the guest's owners and permissions let them. Needs `user_allow_other` in `/etc/fuse.conf`
    /// for users other than root.
    Everybody,
}

/// How something is mounted.
#[derive(Debug, Clone)]
pub struct Options {
    /// The mount's source in the kernel's table: unique, of letters, digits, `-` and `:`.
    pub name: String,
    /// Who gets in.
    pub access: Access,
    /// How long the kernel may answer by itself for what it has seen.
    pub keep: Duration,
}

/// Whether the mount has ended.
#[derive(Default)]
struct End {
    over: Mutex<bool>,
    told: Condvar,
}

/// Something mounted.
pub struct Mounted {
    name: String,
    end: Arc<End>,
}

/// Mounts `shown` at the folder `path`, and answers until it is unmounted.
///
/// # Errors
/// Where there is no FUSE here, the folder can't be mounted at, or the user may not.
pub fn serve(shown: Shown, path: &Path, options: &Options) -> Result<Mounted> {
    let cores = thread::available_parallelism().map_or(2, usize::from);
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::RO,
        MountOption::NoSuid,
        MountOption::NoDev,
        MountOption::FSName(options.name.clone()),
        MountOption::Subtype("sendense".to_owned()),
    ];
    if options.access == Access::Everybody {
        config.acl = SessionACL::All;
        config.mount_options.push(MountOption::DefaultPermissions);
    }
    config.n_threads = Some(cores.clamp(2, MAX_THREADS));
    config.clone_fd = true;
    let session = Session::new(Served::new(shown, options.keep), path, &config)?;
    let end = Arc::new(End::default());
    let told = Arc::clone(&end);
    let name = options.name.clone();
    thread::Builder::new().name("mount".to_owned()).spawn(move || {
        if let Err(error) = session.run() {
            tracing::warn!(%error, "{name} has ended");
        }
        *told.over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        told.told.notify_all();
    })?;
    // Asks for the root folder: not before there is somebody who answers.
    read_ahead(path);
    Ok(Mounted { name: options.name.clone(), end })
}

/// Lets the kernel read 1 MiB ahead instead of 128 KiB, where we may: root only.
fn read_ahead(path: &Path) {
    use std::os::unix::fs::MetadataExt;
    let Ok(found) = std::fs::metadata(path) else { return };
    let (major, minor) = (rustix::fs::major(found.dev()), rustix::fs::minor(found.dev()));
    // Slower without, and nothing else.
    drop(std::fs::write(format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb"), "1024"));
}

impl Mounted {
    /// Whether it is unmounted, and nobody has anything of it open any more.
    pub fn is_over(&self) -> bool {
        *self.end.over.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is still in the kernel's table: not where it was unmounted lazily, and is still in use.
    ///
    /// # Errors
    /// Where the table can't be read.
    pub fn is_visible(&self) -> io::Result<bool> {
        Ok(point::find(&self.name)?.is_some())
    }

    /// Unmounts it. Blocks for moments.
    ///
    /// # Errors
    /// [`Busy`](crate::Error::Busy) with [`Detach::IfUnused`]; what the system says.
    pub fn unmount(&self, how: Detach) -> Result<()> {
        point::detach(&self.name, how)
    }

    /// Waits until it [is over](Self::is_over), at most that long; whether it is.
    pub fn wait(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        let mut over = self.end.over.lock().unwrap_or_else(PoisonError::into_inner);
        while !*over {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            over = self.end.told.wait_timeout(over, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if !self.is_over()
            && let Err(error) = self.unmount(Detach::Lazily)
        {
            tracing::warn!(%error, "{} is not unmounted", self.name);
        }
    }
}
