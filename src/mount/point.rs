//! The kernel's table of mounts: what of ours is in it, and taking it out.
//!
//! A mount is known by its source, which is the name that [`serve`](crate::serve) was given: what somebody else has
//! mounted at the same folder since is left alone. As an ordinary user all of it goes through `fusermount3`.

use crate::{Error, Result};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How a mount is taken out of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detach {
    /// Only where nobody has anything of it open.
    IfUnused,
    /// At once; what is open can still be read.
    Lazily,
    /// At once, and what is open fails from now on, where the system lets us do that.
    Now,
}

/// Where the mount with that source is; `None` where there is none.
///
/// # Errors
/// Where the table can't be read.
pub fn find(source: &str) -> io::Result<Option<PathBuf>> {
    // Bytes: a folder's name need not be UTF-8.
    let table = fs::read("/proc/self/mountinfo")?;
    Ok(table.split(|&byte| byte == b'\n').find_map(|line| path_of(line, source)))
}

/// proc_pid_mountinfo(5): the mount point is field 5; type, source and options come after the field `-`.
fn path_of(line: &[u8], source: &str) -> Option<PathBuf> {
    let mut fields = line.split(|&byte| byte == b' ');
    let path = fields.by_ref().nth(4)?;
    let found = fields.skip_while(|field| *field != b"-").nth(2)?;
    (unescaped(found) == source.as_bytes()).then(|| PathBuf::from(OsString::from_vec(unescaped(path))))
}

/// Space, tab, newline and backslash stand as three octal digits after a backslash.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| byte == b'\\');
        let value = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match value {
            Some(value) => {
                plain.push(value);
                rest = &after[3..];
            }
            None => {
                plain.push(byte);
                rest = after;
            }
        }
    }
    plain
}

/// True where a mount stands at `path` whose process is gone ("Transport endpoint is not connected").
pub fn is_dead(path: &Path) -> bool {
    matches!(fs::symlink_metadata(path), Err(error) if error.raw_os_error() == Some(Errno::NOTCONN.raw_os_error()))
}

/// Takes the mount at `path` out of the table. Nothing is done, and that is no error, where the mount with the source
/// `source` is not there.
///
/// # Errors
/// [`Error::Busy`] with [`Detach::IfUnused`]; what the system says.
pub fn detach(source: &str, how: Detach) -> Result<()> {
    let Some(path) = find(source)? else { return Ok(()) };
    let flags = match how {
        Detach::IfUnused => UnmountFlags::NOFOLLOW,
        Detach::Lazily => UnmountFlags::NOFOLLOW | UnmountFlags::DETACH,
        Detach::Now => {
            // Ends the conversation with the kernel; the mount itself may still be busy.
            match rustix::mount::unmount(&path, UnmountFlags::NOFOLLOW | UnmountFlags::FORCE) {
                Ok(()) => return Ok(()),
                Err(_) => UnmountFlags::NOFOLLOW | UnmountFlags::DETACH,
            }
        }
    };
    match rustix::mount::unmount(&path, flags) {
        Ok(()) => Ok(()),
        Err(Errno::BUSY) => Err(Error::Busy),
        Err(Errno::PERM) => by_helper(&path, how),
        // Somebody was faster.
        Err(Errno::INVAL | Errno::NOENT) if find(source)?.is_none() => Ok(()),
        Err(error) => Err(io::Error::from(error).into()),
    }
}

fn by_helper(path: &Path, how: Detach) -> Result<()> {
    let mut command = Command::new("fusermount3");
    command.arg("-u").stdin(Stdio::null()).env("LC_ALL", "C");
    if how != Detach::IfUnused {
        command.arg("-z");
    }
    let output = command.arg("--").arg(path).output().map_err(|error| {
        io::Error::new(error.kind(), format!("fusermount3 can't be run ({error}): install the package fuse3"))
    })?;
    let said = String::from_utf8_lossy(&output.stderr);
    match () {
        () if output.status.success() => Ok(()),
        () if said.contains("busy") => Err(Error::Busy),
        () => Err(io::Error::other(said.trim().to_owned()).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_found_by_its_source_wherever_it_is() {
        let line =
            br"36 35 98:0 /root /mnt/a\040b\134c rw,noatime shared:1 master:2 - fuse.x mount-7 rw,user_id=0";
        assert_eq!(path_of(line, "mount-7"), Some(PathBuf::from(r"/mnt/a b\c")));
        assert_eq!(path_of(line, "mount-77"), None);
        for damaged in [&b""[..], b"36 35", b"36 35 98:0 / /mnt rw -", b"36 35 98:0 / /mnt rw - fuse"] {
            assert_eq!(path_of(damaged, "fuse"), None);
        }
        assert_eq!(unescaped(br"\04"), br"\04");
        assert_eq!(find("no-such-mount").unwrap(), None);
        assert!(detach("no-such-mount", Detach::IfUnused).is_ok());
    }
}
