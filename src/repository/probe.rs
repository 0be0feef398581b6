//! Trying a repository out: can it be reached, written, is there room, how fast is it, and does its file
//! system do what the transactions rely on.
//!
//! Everything is tried for real on temporary files in `.sendense` (or in the root, before there is one), which
//! are gone afterwards. No more than 32 MiB are written, and less where the storage is slow.

use crate::gate::{Files, Gate};
use crate::local::{check_writable, open_root};
use crate::marker;
use crate::{Error, RelPath, Result};
use model::{ByteSize, Space};
use rustix::fs::{Advice, FlockOperation, SeekFrom};
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// One thing that was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Stable word: `reachable`, `marker`, `writable`, `space`, `speed`, `file_system`, `holes`, `rename`,
    /// `locks`, `long_names`.
    pub name: &'static str,
    /// True where all is well.
    pub ok: bool,
    /// What was found, for a person.
    pub detail: String,
}

const SPEED_BYTES: usize = 32 << 20;
const SPEED_TIME: Duration = Duration::from_millis(700);
const PIECE: usize = 1 << 20;

/// Room of the file system that a repository lies on.
pub(crate) fn space(gate: &Gate) -> Result<Space> {
    let stat = rustix::fs::fstatvfs(gate.root()).map_err(|e| Error::io("ask the space of", ".")(e.into()))?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Ok(Space { total: bytes(stat.f_blocks), available: bytes(stat.f_bavail) })
}

/// Tries a folder out, whether it is a repository yet or not. `reserve` is what must stay free;
/// [`Space::default_reserve`] where it is `None`. The checks after a failed one that they rely on are left out.
pub fn probe(root: &Path, reserve: Option<u64>) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut note = |name, outcome: std::result::Result<String, String>| {
        let ok = outcome.is_ok();
        checks.push(Check { name, ok, detail: outcome.unwrap_or_else(|reason| reason) });
        ok
    };
    let gate = match open_root(root) {
        Ok(gate) => gate,
        Err(error) => {
            note("reachable", Err(format!("{error}: {}", error.hint())));
            return checks;
        }
    };
    note("reachable", Ok(format!("{} is a folder", root.display())));
    note("marker", describe_marker(&gate));
    let writable = check_writable(root, &gate).map_err(|error| format!("{error}: {}", error.hint()));
    let tried =
        writable.and_then(|()| Scratch::new(&gate).and_then(|s| s.write()).map_err(|e| e.to_string()));
    if note("writable", tried) {
        note("space", describe_space(&gate, reserve));
        let scratch = |probe: fn(Scratch<'_>) -> io::Result<String>| {
            Scratch::new(&gate).and_then(probe).map_err(|error| error.to_string())
        };
        note("speed", scratch(|scratch| scratch.speed()));
        note("holes", scratch(|scratch| scratch.holes()));
        note("rename", scratch(|scratch| scratch.rename()));
        note("locks", scratch(|scratch| scratch.locks()));
        note("long_names", scratch(|scratch| scratch.long_names()));
    } else {
        note("space", describe_space(&gate, reserve));
    }
    note("file_system", file_system(&gate).map_err(|error| error.to_string()));
    checks
}

fn describe_marker(gate: &Gate) -> std::result::Result<String, String> {
    match marker::read(gate) {
        Ok(Some(identity)) => Ok(format!("repository {} ({})", identity.name, identity.id)),
        Ok(None) => Ok("no repository yet".into()),
        Err(error) => Err(error.to_string()),
    }
}

fn describe_space(gate: &Gate, reserve: Option<u64>) -> std::result::Result<String, String> {
    let space = space(gate).map_err(|error| error.to_string())?;
    let reserve = reserve.unwrap_or(space.default_reserve());
    let (free, total, kept) = (ByteSize(space.available), ByteSize(space.total), ByteSize(reserve));
    if space.available > reserve {
        Ok(format!("{free} of {total} free, {kept} are kept free"))
    } else {
        Err(format!("only {free} of {total} free, {kept} must stay free"))
    }
}

/// The kernel's name of the file system, by `statfs(2)`'s magic numbers (`linux/magic.h`).
fn file_system(gate: &Gate) -> io::Result<String> {
    let kind = rustix::fs::fstatfs(gate.root())?.f_type as u64 & 0xffff_ffff;
    let name = match kind {
        0xef53 => "ext4",
        0x5846_5342 => "XFS",
        0x9123_683e => "btrfs",
        0x2fc1_2fc1 => "ZFS",
        0xf2f5_2010 => "F2FS",
        0xca45_1a4e => "bcachefs",
        0x0102_1994 => "tmpfs: its content is gone after a reboot",
        0x794c_7630 => "overlayfs",
        0x6969 => "NFS",
        0xff53_4d42 | 0xfe53_4d42 => "SMB",
        0x6573_5546 => "FUSE",
        0x4d44 => "FAT: no holes, no files of 4 GiB and more",
        0x2011_bab0 => "exFAT: no holes",
        0x5346_544e | 0x7366_746e => "NTFS",
        other => return Ok(format!("type {other:#x}")),
    };
    Ok(name.to_owned())
}

/// A temporary file name that is gone when it is dropped.
struct Scratch<'a> {
    gate: &'a Gate,
    path: RelPath,
    other: RelPath,
}

impl<'a> Scratch<'a> {
    fn new(gate: &'a Gate) -> io::Result<Self> {
        let own = marker::folder().map_err(io::Error::other)?;
        let prefix = if gate.exists(&own)? { format!("{}/", marker::FOLDER) } else { String::new() };
        let name = |ending: &str| {
            let text = format!("{prefix}probe-{}{ending}.partial", uuid::Uuid::new_v4());
            RelPath::new(text).map_err(io::Error::other)
        };
        Ok(Scratch { gate, path: name("")?, other: name("-2")? })
    }

    fn write(&self) -> io::Result<String> {
        self.gate.write_new(&self.path, b"sendense")?;
        self.gate.sync_folder(self.path.parent().as_ref())?;
        let mut content = Vec::new();
        self.gate.open_read(&self.path)?.read_to_end(&mut content)?;
        if content != b"sendense" {
            return Err(io::Error::other("what was written is not what is read back"));
        }
        Ok("a file was written, made durable, read back and removed".into())
    }

    fn speed(&self) -> io::Result<String> {
        let mut file = self.gate.create_new(&self.path)?;
        // Not zeros: a file system may compress or drop those.
        let mut piece = vec![0; PIECE];
        blake3::Hasher::new().finalize_xof().fill(&mut piece);
        let started = Instant::now();
        let mut written = 0;
        while written < SPEED_BYTES && started.elapsed() < SPEED_TIME {
            file.write_all(&piece)?;
            written += PIECE;
        }
        file.sync_all()?;
        let write_time = started.elapsed();
        // Otherwise the page cache answers the reads.
        rustix::fs::fadvise(&file, 0, None, Advice::DontNeed)?;
        let started = Instant::now();
        let mut read = 0;
        while read < written && started.elapsed() < SPEED_TIME {
            file.read_exact_at(&mut piece, read as u64)?;
            read += PIECE;
        }
        let mut text = String::new();
        for (what, bytes, time) in [("write", written, write_time), ("read", read, started.elapsed())] {
            let rate = bytes as f64 / time.as_secs_f64().max(1e-6);
            let _ = write!(text, "{what} {}/s, ", ByteSize(rate as u64));
        }
        let _ = write!(text, "with {} in one stream", ByteSize(written as u64));
        Ok(text)
    }

    fn holes(&self) -> io::Result<String> {
        const LENGTH: u64 = 16 << 20;
        let file = self.gate.create_new(&self.path)?;
        file.set_len(LENGTH)?;
        file.write_all_at(&[1], LENGTH - 1)?;
        file.sync_all()?;
        match rustix::fs::seek(&file, SeekFrom::Data(0)) {
            // No harm to a repository: images are not sparse.
            Ok(0) => Ok("files have no holes here: sparse files take their full size".into()),
            Ok(_) => Ok("files may have holes, and the holes can be found".into()),
            Err(error) => Err(error.into()),
        }
    }

    fn rename(&self) -> io::Result<String> {
        self.gate.write_new(&self.path, b"new")?;
        self.gate.write_new(&self.other, b"old")?;
        let before = self.gate.open_read(&self.other)?;
        self.gate.rename(&self.path, &self.other)?;
        self.gate.sync_folder(self.other.parent().as_ref())?;
        let (mut old, mut new) = (String::new(), String::new());
        (&before).read_to_string(&mut old)?;
        self.gate.open_read(&self.other)?.read_to_string(&mut new)?;
        if (old.as_str(), new.as_str()) != ("old", "new") {
            return Err(io::Error::other("renaming over a file that is being read disturbs the reader"));
        }
        Ok("a rename replaces a file at once and leaves its readers alone".into())
    }

    fn locks(&self) -> io::Result<String> {
        let _held = self.gate.create_locked(&self.path)?;
        let other = self.gate.open_write(&self.path)?;
        match rustix::fs::flock(&other, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => Ok("files can be locked".into()),
            Ok(()) => Err(io::Error::other("locks are given to two holders at once")),
            Err(error) => Err(error.into()),
        }
    }

    fn long_names(&self) -> io::Result<String> {
        let long = format!("{:-<255}", self.other.file_name());
        let path = match self.other.parent() {
            Some(folder) => folder.join(&long),
            None => RelPath::new(long),
        };
        let path = path.map_err(io::Error::other)?;
        let made = self.gate.write_new(&path, b"");
        let gone = self.gate.remove(&path);
        made.and(gone)?;
        Ok("names of 255 bytes".into())
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        for path in [&self.path, &self.other] {
            // It may not have been made.
            let _ = self.gate.remove(path);
        }
    }
}
