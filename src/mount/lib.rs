//! A guest's files as a folder of this machine: FUSE, read-only, over [`guestfs::tree::Tree`].
//!
//! [`serve`] mounts [`Shown`] at a folder and answers the kernel on threads of its own until somebody unmounts it. What is
//! shown is one tree, or many by their names ([`Forest`]), each of which is only asked for when somebody goes into it.
//!
//! - Nothing that is shown ever changes, so the kernel may keep names, attributes and pages for long. Only the top
//!   folder of a forest is asked for again and again.
//! - Everything in a tree is hostile. What can't be read is an error number for who asked and a line in the log; a fault of
//!   a reader ends the one request, not the mount.
//! - The mount is `nosuid` and `nodev`: a guest's device nodes and setuid programs are shown as what they are, and do
//!   nothing. Only who mounted it gets in, unless [`Access::Everybody`] is asked for; then the guest's permissions count.
//! - A mount ends when it is unmounted, by [`Mounted::unmount`] or by anybody with `umount`. Dropping [`Mounted`] takes
//!   it out of sight; files that are open stay readable until they are closed or the process ends. A process that is
//!   killed leaves a dead mount, which [`detach`] removes.
//!
//! Not here: points, chains, leases, idle times and who may ask for a mount (`hub`).

mod attributes;
mod errors;
mod filesystem;
mod folder;
mod holders;
mod inodes;
mod point;
mod serve;
mod shown;
mod table;

pub use holders::{Process, holders};
pub use point::{Detach, detach, find, is_dead};
pub use serve::{Access, Mounted, Options, serve};
pub use shown::{Forest, Grove, Plant, Shown};

use std::io;

/// Why something can't be mounted or unmounted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody has a file or folder of it open.
    #[error("it is in use")]
    Busy,
    /// The system refused.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// The result of everything here.
pub type Result<T, E = Error> = std::result::Result<T, E>;
