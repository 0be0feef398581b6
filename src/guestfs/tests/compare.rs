//! A tree as a reader shows it against the same tree as a mount shows it.

use guestfs::{Error, FileKind, GuestFs, NodeId, Place, ReadAt, Stat, Timestamp};
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// What of a mount can be compared. All of it, unless the program behind the mount shows less.
#[derive(Debug, Clone, Copy)]
pub struct Compared {
    /// Owner, group, mode.
    pub owners: bool,
    /// Number of names.
    pub links: bool,
    /// Change time of the inode.
    pub changed: bool,
    /// Last access (a mount that is not `noatime` moves it).
    pub accessed: bool,
    /// Extended attributes.
    pub xattrs: bool,
    /// Whether an attribute of this value that only the mount shows was another file's, which the inode belonged to before.
    pub stale_xattr: fn(&Path, &[u8]) -> bool,
    /// Sizes of folders.
    pub directory_sizes: bool,
    /// Times of the root folder, which FAT stores nowhere.
    pub root_times: bool,
    /// Times are rounded down to this many nanoseconds before they are compared.
    pub time_grain: i128,
}

impl Default for Compared {
    fn default() -> Self {
        Compared {
            owners: true,
            links: true,
            changed: true,
            accessed: false,
            xattrs: true,
            stale_xattr: |_, _| false,
            directory_sizes: true,
            root_times: true,
            time_grain: 1,
        }
    }
}

/// What was compared: so that a test can say that it was not nothing.
#[derive(Debug, Default)]
pub struct Count {
    pub files: usize,
    pub directories: usize,
    pub links: usize,
    pub others: usize,
    pub bytes: u64,
    pub holes: u64,
    pub xattrs: usize,
}

/// Compares every name, byte, owner, mode, time, link and extended attribute below the root. `device` is what `fs` was
/// opened from, for checking [`GuestFs::map`].
///
/// # Panics
/// With the path and both sides at everything that differs (the first twenty).
#[track_caller]
pub fn assert_same(fs: &dyn GuestFs, device: &dyn ReadAt, mounted: &Path, what: Compared) -> Count {
    let mut comparison =
        Comparison { fs, device, what, count: Count::default(), wrong: Vec::new(), inodes: HashMap::new() };
    comparison.node(fs.root(), mounted, &PathBuf::from("/"));
    let wrong = comparison.wrong;
    assert!(
        wrong.is_empty(),
        "{} differences, {:?}:\n{}",
        wrong.len(),
        comparison.count,
        wrong.iter().take(20).cloned().collect::<Vec<_>>().join("\n")
    );
    comparison.count
}

/// What a folder's names are.
pub type Entries = BTreeMap<Vec<u8>, (NodeId, Option<FileKind>)>;

/// All entries of a folder, read twice: at once, and from every entry's `next` on.
pub fn entries(fs: &dyn GuestFs, dir: NodeId) -> Result<Entries, Error> {
    let mut all = BTreeMap::new();
    let mut order = Vec::new();
    fs.readdir(dir, 0, &mut |entry| {
        assert!(entry.next != 0 && !entry.name.is_empty() && !entry.name.contains(&b'/'));
        assert!(entry.name != b"." && entry.name != b"..");
        let old = all.insert(entry.name.to_vec(), (entry.node, entry.kind));
        assert!(old.is_none(), "{:?} twice", String::from_utf8_lossy(entry.name));
        order.push((entry.name.to_vec(), entry.next));
        ControlFlow::Continue(())
    })?;
    let step = (order.len() / 7).max(1);
    for index in (0..order.len()).step_by(step) {
        let mut after = None;
        fs.readdir(dir, order[index].1, &mut |entry| {
            after = Some(entry.name.to_vec());
            ControlFlow::Break(())
        })?;
        assert_eq!(after.as_ref(), order.get(index + 1).map(|(name, _)| name), "goes on after an entry");
    }
    Ok(all)
}

struct Comparison<'a> {
    fs: &'a dyn GuestFs,
    device: &'a dyn ReadAt,
    what: Compared,
    count: Count,
    wrong: Vec<String>,
    /// The mount's inode numbers and ours: the same file on one side is the same on the other.
    inodes: HashMap<u64, NodeId>,
}

impl Comparison<'_> {
    fn wrong(&mut self, path: &Path, field: &str, ours: impl std::fmt::Debug, theirs: impl std::fmt::Debug) {
        self.wrong.push(format!("{}: {field} is {ours:?}, the mount shows {theirs:?}", path.display()));
    }

    fn node(&mut self, node: NodeId, real: &Path, path: &Path) {
        let stat = match self.fs.stat(node) {
            Ok(stat) => stat,
            Err(error) => return self.wrong(path, "stat", error, "a node"),
        };
        let theirs = match fs::symlink_metadata(real) {
            Ok(theirs) => theirs,
            Err(error) => return self.wrong(path, "stat", "a node", error),
        };
        self.metadata(&stat, &theirs, path);
        if theirs.nlink() > 1 && stat.kind == FileKind::File {
            let first = *self.inodes.entry(theirs.ino()).or_insert(node);
            if first != node {
                self.wrong(path, "the node of a hard link", node, first);
            }
        }
        if self.what.xattrs {
            self.xattrs(node, real, path);
        }
        match stat.kind {
            FileKind::Directory => {
                self.count.directories += 1;
                self.directory(node, real, path);
            }
            FileKind::File => {
                self.count.files += 1;
                if let Err(error) = self.content(node, &stat, real, path) {
                    self.wrong(path, "content", error, "bytes");
                }
            }
            FileKind::Symlink => {
                self.count.links += 1;
                let theirs = fs::read_link(real).unwrap();
                match self.fs.readlink(node) {
                    Ok(ours) if ours == theirs.as_os_str().as_bytes() => {}
                    ours => self.wrong(path, "link", ours, theirs),
                }
            }
            _ => self.count.others += 1,
        }
    }

    fn metadata(&mut self, ours: &Stat, theirs: &fs::Metadata, path: &Path) {
        let kind = theirs.file_type();
        let kind = if kind.is_dir() {
            FileKind::Directory
        } else if kind.is_symlink() {
            FileKind::Symlink
        } else if kind.is_char_device() {
            FileKind::CharDevice
        } else if kind.is_block_device() {
            FileKind::BlockDevice
        } else if kind.is_fifo() {
            FileKind::Fifo
        } else if kind.is_socket() {
            FileKind::Socket
        } else {
            FileKind::File
        };
        if ours.kind != kind {
            return self.wrong(path, "kind", ours.kind, kind);
        }
        if (kind != FileKind::Directory || self.what.directory_sizes) && ours.size != theirs.size() {
            self.wrong(path, "size", ours.size, theirs.size());
        }
        if self.what.owners {
            if ours.mode != theirs.mode() & 0o7777 {
                self.wrong(path, "mode", format!("{:o}", ours.mode), format!("{:o}", theirs.mode() & 0o7777));
            }
            if (ours.uid, ours.gid) != (theirs.uid(), theirs.gid()) {
                self.wrong(path, "owner", (ours.uid, ours.gid), (theirs.uid(), theirs.gid()));
            }
        }
        if self.what.links && ours.links != theirs.nlink() {
            self.wrong(path, "links", ours.links, theirs.nlink());
        }
        if let Some((major, minor)) = ours.device {
            let device = (rustix::fs::major(theirs.rdev()), rustix::fs::minor(theirs.rdev()));
            if (major, minor) != device {
                self.wrong(path, "device", (major, minor), device);
            }
        }
        if !self.what.root_times && path == Path::new("/") {
            return;
        }
        self.time(path, "modified", ours.modified, theirs.mtime(), theirs.mtime_nsec());
        if self.what.changed {
            self.time(path, "changed", ours.changed, theirs.ctime(), theirs.ctime_nsec());
        }
        if self.what.accessed {
            self.time(path, "accessed", ours.accessed, theirs.atime(), theirs.atime_nsec());
        }
    }

    fn time(&mut self, path: &Path, field: &str, ours: Timestamp, seconds: i64, nanos: i64) {
        let grain = self.what.time_grain;
        let left = i128::from(ours.seconds) * 1_000_000_000 + i128::from(ours.nanos);
        let right = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        if ours.nanos >= 1_000_000_000 || left.div_euclid(grain) != right.div_euclid(grain) {
            self.wrong(path, field, ours, (seconds, nanos));
        }
    }

    fn directory(&mut self, node: NodeId, real: &Path, path: &Path) {
        let ours = match entries(self.fs, node) {
            Ok(ours) => ours,
            Err(error) => return self.wrong(path, "entries", error, "names"),
        };
        let theirs: BTreeMap<Vec<u8>, ()> = fs::read_dir(real)
            .unwrap()
            .map(|entry| (entry.unwrap().file_name().as_bytes().to_vec(), ()))
            .collect();
        for name in theirs.keys().filter(|name| !ours.contains_key(*name)) {
            self.wrong(path, "an entry", "not there", String::from_utf8_lossy(name));
        }
        for (name, (child, kind)) in ours {
            let name_of_os = OsStr::from_bytes(&name);
            if !theirs.contains_key(&name) {
                self.wrong(path, "an entry", name_of_os, "not there");
                continue;
            }
            match self.fs.lookup(node, &name) {
                Ok(found) if found == child => {}
                found => self.wrong(&path.join(name_of_os), "lookup", found, child),
            }
            if let (Some(kind), Ok(stat)) = (kind, self.fs.stat(child))
                && kind != stat.kind
            {
                self.wrong(&path.join(name_of_os), "the entry's kind", kind, stat.kind);
            }
            self.node(child, &real.join(name_of_os), &path.join(name_of_os));
        }
        if !matches!(self.fs.lookup(node, b"no such name, surely"), Err(Error::NotFound)) {
            self.wrong(path, "lookup of nothing", "something", "not found");
        }
    }

    fn xattrs(&mut self, node: NodeId, real: &Path, path: &Path) {
        let mut theirs = BTreeMap::new();
        let mut names = vec![0u8; 65536];
        let length = match rustix::fs::llistxattr(real, &mut names[..]) {
            Ok(length) => length,
            Err(rustix::io::Errno::OPNOTSUPP) => 0,
            Err(error) => return self.wrong(path, "xattrs", "ours", error),
        };
        for name in names[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
            let mut value = vec![0u8; guestfs::MAX_XATTR];
            let length = rustix::fs::lgetxattr(real, OsStr::from_bytes(name), &mut value[..]).unwrap();
            value.truncate(length);
            theirs.insert(name.to_vec(), value);
        }
        let ours: BTreeMap<_, _> = match self.fs.xattrs(node) {
            Ok(ours) => ours.into_iter().map(|xattr| (xattr.name, xattr.value)).collect(),
            Err(error) => return self.wrong(path, "xattrs", error, theirs.len()),
        };
        self.count.xattrs += ours.len();
        theirs.retain(|name, value| ours.contains_key(name) || !(self.what.stale_xattr)(path, value));
        if ours != theirs {
            let shown = |map: &BTreeMap<Vec<u8>, Vec<u8>>| {
                map.iter()
                    .map(|(name, value)| {
                        let head = &value[..value.len().min(40)];
                        format!(
                            "{}={} bytes {:?}",
                            String::from_utf8_lossy(name),
                            value.len(),
                            String::from_utf8_lossy(head)
                        )
                    })
                    .collect::<Vec<_>>()
            };
            self.wrong(path, "xattrs", shown(&ours), shown(&theirs));
        }
    }

    /// Runs of data are compared byte by byte, and every byte of the mount that is not in one has to be zero.
    fn content(&mut self, node: NodeId, stat: &Stat, real: &Path, path: &Path) -> Result<(), Error> {
        let file = File::open(real).unwrap();
        let mut offset = 0;
        let mut runs = 0u32;
        while let Some(run) = self.fs.map(node, offset)? {
            assert!(run.length > 0, "{}: an empty run at {offset}", path.display());
            let end = offset + run.length;
            assert!(end <= stat.size, "{}: a run past the end", path.display());
            match run.place {
                Place::Hole => {
                    self.count.holes += run.length;
                    if !reads_as_zeros(&file, offset, end) {
                        self.wrong(path, "a hole", offset..end, "data");
                    }
                    let mut buf = [1u8; 700];
                    let read = self.fs.read_at(node, offset, &mut buf)?;
                    let inside = (run.length as usize).min(read);
                    assert!(
                        buf[..inside].iter().all(|&byte| byte == 0),
                        "{}: a hole reads as data",
                        path.display()
                    );
                }
                place => self.run(node, &file, offset..end, place, path)?,
            }
            offset = end;
            runs += 1;
            assert!(runs < 10_000_000, "{}: no end of runs", path.display());
        }
        if offset != stat.size {
            self.wrong(path, "the end of the last run", offset, stat.size);
        }
        // Beyond the end, and over it.
        let mut buf = [0u8; 64];
        if self.fs.read_at(node, stat.size, &mut buf)? != 0 {
            self.wrong(path, "a read at the end", "bytes", "nothing");
        }
        let before = stat.size.saturating_sub(10);
        let length = self.fs.read_at(node, before, &mut buf)?;
        let mut theirs = [0u8; 64];
        let expected = file.read_at(&mut theirs, before).unwrap();
        if buf[..length] != theirs[..expected] {
            self.wrong(path, "the last bytes", &buf[..length], &theirs[..expected]);
        }
        Ok(())
    }

    fn run(
        &mut self,
        node: NodeId,
        file: &File,
        range: std::ops::Range<u64>,
        place: Place,
        path: &Path,
    ) -> Result<(), Error> {
        // An odd length, so that reads begin and end anywhere.
        let mut ours = vec![0u8; 150_001];
        let mut theirs = vec![0u8; 150_001];
        let mut raw = vec![0u8; 150_001];
        let mut offset = range.start;
        while offset < range.end {
            let length = (range.end - offset).min(ours.len() as u64) as usize;
            file.read_exact_at(&mut theirs[..length], offset).unwrap();
            let read = self.fs.read_at(node, offset, &mut ours[..length])?;
            if read != length || ours[..length] != theirs[..length] {
                let at = ours[..read].iter().zip(&theirs).position(|(a, b)| a != b);
                self.wrong(path, "content", (read, at.map(|at| offset + at as u64)), (offset, length));
                return Ok(());
            }
            if let Place::Device(start) = place {
                self.device.read_at(&mut raw[..length], start + (offset - range.start)).unwrap();
                if raw[..length] != theirs[..length] {
                    self.wrong(path, "the place on the device", place, offset);
                    return Ok(());
                }
            }
            self.count.bytes += length as u64;
            offset += length as u64;
        }
        Ok(())
    }
}

/// Whether a range of a mounted file is zeros; what the mount itself calls a hole is believed.
fn reads_as_zeros(file: &File, mut offset: u64, end: u64) -> bool {
    use rustix::fs::SeekFrom;
    let mut buf = vec![0u8; 1 << 16];
    while offset < end {
        offset = match rustix::fs::seek(file, SeekFrom::Data(offset)) {
            Ok(data) => data.max(offset),
            Err(rustix::io::Errno::NXIO) => return true,
            Err(_) => offset,
        };
        if offset >= end {
            return true;
        }
        let length = (end - offset).min(buf.len() as u64) as usize;
        file.read_exact_at(&mut buf[..length], offset).unwrap();
        if buf[..length].iter().any(|&byte| byte != 0) {
            return false;
        }
        offset += length as u64;
    }
    true
}
