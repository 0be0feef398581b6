//! A repository in a folder of this machine.
//!
//! The folder holds a marker ([`Identity`]), the points' files (`{vm}/disk-{n}/…`), and whatever else the
//! administrator put there, which is left alone. A [`LocalRepository`] is a door to it: it holds the root
//! open, knows nothing of jobs or catalogs, keeps nothing in memory, and may be cloned and used by any number
//! of threads and processes at once. What must be exclusive (one writer a VM) is the leases' business.

use crate::ballast;
use crate::gate::{EntryKind, Files, Gate};
use crate::manifest::{HashSheet, Manifest, ManifestWriter};
use crate::marker::{self, Identity};
use crate::path::{disk_folder, vm_folder};
use crate::recovery::{self, Recovery};
use crate::{DiskFiles, Error, RelPath, Result, Scan, Transaction, sidecar};
use model::{Backup, DiskIndex, Space, VmName};
use rustix::fs::{Access, AtFlags};
use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long a writer waits for a change that another process is applying; renames and fsyncs take far less.
const PATIENCE: Duration = Duration::from_secs(20);

/// A repository in a folder.
#[derive(Debug, Clone)]
pub struct LocalRepository {
    root: PathBuf,
    gate: Arc<Gate>,
    identity: Identity,
}

impl LocalRepository {
    /// Makes `root` a repository. The folder is made where it is missing (its parent must exist); what
    /// already lies in it stays and is in nobody's way.
    ///
    /// # Errors
    /// [`Error::Exists`] where it already is one, with its identity; [`Error::Missing`] where the parent does
    /// not exist; and those of [`open`](LocalRepository::open).
    pub fn create(root: &Path, identity: Identity) -> Result<Self> {
        match rustix::fs::mkdir(root, rustix::fs::Mode::from_raw_mode(0o700)) {
            Ok(()) => sync_parent(root)?,
            Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(unreachable_root(root, error.into())),
        }
        let gate = open_root(root)?;
        check_writable(root, &gate)?;
        gate.make_folder(&marker::folder()?).map_err(Error::io("create", marker::FOLDER))?;
        let written = match marker::read(&gate)? {
            Some(found) => Err(found),
            None => match marker::write(&gate, &identity) {
                Ok(()) => Ok(()),
                // Another process was faster.
                Err(error) => Err(marker::read(&gate)?.ok_or(error)?),
            },
        };
        if let Err(found) = written {
            return Err(Error::Exists { path: root.to_owned(), identity: Box::new(found) });
        }
        ballast::lay(&gate);
        Ok(LocalRepository { root: root.to_owned(), gate: Arc::new(gate), identity })
    }

    /// Opens a repository for reading and writing.
    ///
    /// # Errors
    /// One each for a root that is missing, no folder, not readable, not writable, on a read-only file
    /// system, without a marker, or of a newer version. Each has a [`hint`](Error::hint).
    pub fn open(root: &Path) -> Result<Self> {
        let repository = Self::open_for_reading(root)?;
        check_writable(root, &repository.gate)?;
        Ok(repository)
    }

    /// Opens a repository from which points are only read: it may lie on a read-only file system.
    ///
    /// # Errors
    /// As for [`open`](LocalRepository::open), but for those of writing.
    pub fn open_for_reading(root: &Path) -> Result<Self> {
        let gate = open_root(root)?;
        let identity = marker::read(&gate).map_err(|error| match error {
            Error::Io { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
                Error::NotReadable { path: root.to_owned() }
            }
            other => other,
        })?;
        match identity {
            Some(identity) => Ok(LocalRepository { root: root.to_owned(), gate: Arc::new(gate), identity }),
            None => Err(Error::NoMarker { path: root.to_owned() }),
        }
    }

    /// Who it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Makes sure that its path still leads to the folder that is open. To be asked before a change is
    /// committed: the open folder takes everything, even where nobody would ever find it.
    ///
    /// # Errors
    /// [`Error::Moved`]; [`Error::Missing`] and the like where there is nothing at the path.
    pub fn check_in_place(&self) -> Result<()> {
        let there = open_root(&self.root)?;
        let identity = |gate: &Gate| {
            let stat = rustix::fs::fstat(gate.root());
            stat.map(|stat| (stat.st_dev, stat.st_ino))
                .map_err(|error| Error::io("stat", self.root.display())(error.into()))
        };
        if identity(&there)? == identity(&self.gate)? {
            return Ok(());
        }
        Err(Error::Moved { path: self.root.clone() })
    }

    /// Its folder, as it was given.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The room of its file system.
    ///
    /// # Errors
    /// Where the file system can't be asked.
    pub fn space(&self) -> Result<Space> {
        crate::probe::space(&self.gate)
    }

    /// The absolute path of a file, for messages and for programs that take no open file. Everything else
    /// goes through [`open_file`](LocalRepository::open_file).
    pub fn absolute(&self, path: &RelPath) -> PathBuf {
        self.root.join(path.as_str())
    }

    /// The path below the root of an absolute path that [`absolute`](LocalRepository::absolute) could give.
    ///
    /// # Errors
    /// [`Error::BadPath`] where it is not below the root.
    pub fn relative(&self, path: &Path) -> Result<RelPath> {
        match path.strip_prefix(&self.root).ok().and_then(Path::to_str) {
            Some(path) => RelPath::new(path),
            None => Err(Error::BadPath {
                path: path.display().to_string().chars().take(120).collect(),
                reason: "it does not lie in the repository",
            }),
        }
    }

    /// Opens a file for reading, never outside the root and never anything but a regular file.
    ///
    /// # Errors
    /// [`Error::Io`]; ask [`is_not_found`](Error::is_not_found).
    pub fn open_file(&self, path: &RelPath) -> Result<File> {
        self.gate.open_read(path).map_err(Error::io("open", path))
    }

    /// Makes `….partial` of this final name, for reading and writing; it must not exist.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create_partial(&self, path: &RelPath) -> Result<File> {
        let partial = path.partial();
        self.gate.create_new(&partial).map_err(Error::io("create", &partial))
    }

    /// True where a file of that name is there.
    ///
    /// # Errors
    /// Where that can't be told.
    pub fn exists(&self, path: &RelPath) -> Result<bool> {
        self.gate.exists(path).map_err(Error::io("look for", path))
    }

    /// Length of a file in bytes.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn file_size(&self, path: &RelPath) -> Result<u64> {
        let metadata = self.open_file(path)?.metadata().map_err(Error::io("stat", path))?;
        Ok(metadata.len())
    }

    /// Makes the folders of a disk, durable. Changes that dead processes left are completed first, so that
    /// none of them can take a new partial file for its own.
    ///
    /// # Errors
    /// [`Error::Busy`] where such a change can't be completed; [`Error::Io`].
    pub fn prepare(&self, vm: &VmName, disk: DiskIndex) -> Result<()> {
        self.settle(Some(vm))?;
        for folder in [vm_folder(vm), disk_folder(vm, disk)] {
            self.gate.make_folder(&folder).map_err(Error::io("create", &folder))?;
            if !self.gate.is_on_root_device(&folder).map_err(Error::io("stat", &folder))? {
                return Err(Error::OtherFileSystem { path: folder.to_string() });
            }
        }
        Ok(())
    }

    /// Begins a change of completed points.
    ///
    /// # Errors
    /// Where its file can't be made.
    pub fn begin(&self) -> Result<Transaction> {
        Transaction::begin(self.gate.clone())
    }

    /// Completes the changes of processes that died; cheap where there are none (one folder is listed).
    /// Several processes may do it at once; a live process's change is left to it.
    ///
    /// # Errors
    /// Where the repository can't be looked through. A change that can't be completed is in the report.
    pub fn recover(&self) -> Result<Recovery> {
        recovery::recover(self.gate.as_ref(), Duration::ZERO)
    }

    /// The files in work of a VM: of a live backup, or left by a crash.
    ///
    /// # Errors
    /// Where a folder can't be read.
    pub fn partials(&self, vm: &VmName) -> Result<Vec<RelPath>> {
        let mut found = Vec::new();
        let mut folders = vec![vm_folder(vm)];
        while let Some(folder) = folders.pop() {
            let entries = match self.gate.list(Some(&folder)) {
                Ok(entries) => entries,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(Error::io("list", &folder)(error)),
            };
            for entry in entries {
                let Some(path) = entry.name.to_str().and_then(|name| folder.join(name).ok()) else {
                    continue;
                };
                match entry.kind {
                    EntryKind::File if path.is_partial() => found.push(path),
                    EntryKind::Folder if path.parts().count() == 2 => folders.push(path),
                    _ => {}
                }
            }
        }
        found.sort();
        Ok(found)
    }

    /// Removes the files in work of a VM, and its folders where nothing else is in them; tells which files
    /// went. Only for whoever holds this VM's lease. Files that a committed change still needs are left to
    /// it: such changes are completed first.
    ///
    /// # Errors
    /// [`Error::Busy`]; [`Error::Io`].
    pub fn remove_partials(&self, vm: &VmName) -> Result<Vec<RelPath>> {
        self.settle(Some(vm))?;
        let mut removed = Vec::new();
        for path in self.partials(vm)? {
            match self.gate.remove(&path) {
                Ok(()) => removed.push(path),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io("remove", &path)(error)),
            }
        }
        self.remove_empty_folders(vm)?;
        Ok(removed)
    }

    /// Removes the folders of a VM in which nothing is. Only for whoever holds this VM's lease.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn remove_empty_folders(&self, vm: &VmName) -> Result<()> {
        let top = vm_folder(vm);
        let entries = match self.gate.list(Some(&top)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::io("list", &top)(error)),
        };
        let disks = entries.iter().filter(|entry| entry.kind == EntryKind::Folder);
        let disks = disks.filter_map(|entry| top.join(entry.name.to_str()?).ok());
        for folder in disks.chain([top.clone()]) {
            match self.gate.remove_folder(&folder) {
                Ok(()) => {}
                Err(error) if matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::NotFound) => {}
                Err(error) => return Err(Error::io("remove the folder", &folder)(error)),
            }
        }
        Ok(())
    }

    /// Begins the manifest of a disk file that is being written; `path` is the final `.b3` name.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create_manifest(&self, path: &RelPath, virtual_size: u64) -> Result<ManifestWriter> {
        ManifestWriter::create(self.gate.clone(), path, virtual_size)
    }

    /// Begins a table of hashes for a manifest whose disk does not come in order.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create_hash_sheet(&self, path: &RelPath) -> Result<HashSheet> {
        HashSheet::create(&self.gate, path)
    }

    /// Opens a manifest.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Damaged`] where it is none.
    pub fn open_manifest(&self, path: &RelPath) -> Result<Manifest> {
        let file = self.open_file(path)?;
        Manifest::open(file, path.as_str()).map_err(|error| match error {
            block::Error::Io { operation, source, .. } => Error::io(operation, path)(source),
            block::Error::Corrupt { reason, .. } => Error::damaged(path, reason),
            other => Error::damaged(path, other.to_string()),
        })
    }

    /// Reads a sidecar.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Newer`], [`Error::Damaged`].
    pub fn read_sidecar(&self, path: &RelPath) -> Result<Backup> {
        sidecar::read(&self.gate, path)
    }

    /// Replaces the sidecars of a point, all together: how tags, notes and protection are changed.
    ///
    /// # Errors
    /// Those of [`Transaction::commit`].
    pub fn rewrite_sidecars(&self, backup: &Backup) -> Result<()> {
        let mut transaction = self.begin()?;
        transaction.put_sidecars(backup)?;
        transaction.commit()
    }

    /// Looks through everything: points and problems, VM by VM.
    ///
    /// # Errors
    /// Where the root can't be listed; what can't be read below it is a problem in the stream.
    pub fn scan(&self) -> Result<Scan> {
        Scan::new(self.gate.clone())
    }

    /// Gives the folder up: the marker and the repository's own folder go, whatever else lies there stays.
    ///
    /// # Errors
    /// [`Error::NotEmpty`] where an image of any point is left; [`Error::Busy`]; [`Error::Io`].
    pub fn remove_marker(&self) -> Result<()> {
        self.settle(None)?;
        if let Some(path) = self.first_image()? {
            return Err(Error::NotEmpty { path: path.to_string() });
        }
        let folder = marker::folder()?;
        // The marker first: without it the rest is no repository any more.
        let marker = marker::path()?;
        self.gate.remove(&marker).map_err(Error::io("remove", &marker))?;
        for entry in self.gate.list(Some(&folder)).map_err(Error::io("list", &folder))? {
            if let Some(path) = entry.name.to_str().and_then(|name| folder.join(name).ok()) {
                self.gate.remove(&path).map_err(Error::io("remove", &path))?;
            }
        }
        self.gate.remove_folder(&folder).map_err(Error::io("remove the folder", &folder))?;
        self.gate.sync_folder(None).map_err(Error::io("sync the folder", "."))
    }

    /// All committed changes of this VM (of all, without one) are applied when this returns.
    fn settle(&self, vm: Option<&VmName>) -> Result<()> {
        let report = recovery::recover(self.gate.as_ref(), PATIENCE)?;
        for problem in &report.problems {
            tracing::warn!(repository = %self.identity.id, problem, "while completing earlier changes");
        }
        match recovery::awaited(self.gate.as_ref(), vm)? {
            None => Ok(()),
            Some(path) => Err(Error::Busy {
                path: path.to_string(),
                reason: report.pending.first().cloned().unwrap_or_else(|| "another process is at it".into()),
            }),
        }
    }

    fn first_image(&self) -> Result<Option<RelPath>> {
        let list = |folder: Option<&RelPath>| {
            let name = folder.map_or(".".to_owned(), RelPath::to_string);
            self.gate.list(folder).map_err(Error::io("list", name))
        };
        let folders = |entries: Vec<crate::gate::Entry>| {
            entries
                .into_iter()
                .filter(|e| e.kind == EntryKind::Folder)
                .filter_map(|e| e.name.into_string().ok())
        };
        for vm in folders(list(None)?).filter(|name| name != marker::FOLDER) {
            let vm = RelPath::new(vm)?;
            for disk in folders(list(Some(&vm))?) {
                let disk = vm.join(&disk)?;
                for entry in list(Some(&disk))? {
                    let Some(path) = entry.name.to_str().and_then(|name| disk.join(name).ok()) else {
                        continue;
                    };
                    if DiskFiles::of_image(&path).is_ok() {
                        return Ok(Some(path));
                    }
                }
            }
        }
        Ok(None)
    }
}

/// Opens the root folder, with an error that says what it is instead.
pub(crate) fn open_root(root: &Path) -> Result<Gate> {
    Gate::open(root).map_err(|error| unreachable_root(root, error))
}

fn unreachable_root(root: &Path, error: std::io::Error) -> Error {
    let path = root.to_owned();
    match error.kind() {
        ErrorKind::NotFound => Error::Missing { path },
        ErrorKind::NotADirectory => Error::NotAFolder { path },
        ErrorKind::PermissionDenied => Error::NotReadable { path },
        ErrorKind::ReadOnlyFilesystem => Error::ReadOnly { path },
        _ => Error::Io { operation: "open the folder", path: root.display().to_string(), source: error },
    }
}

/// Asks the kernel, with this process's effective rights, whether the root can be written.
pub(crate) fn check_writable(root: &Path, gate: &Gate) -> Result<()> {
    let path = root.to_owned();
    match rustix::fs::accessat(gate.root(), ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::ROFS) => Err(Error::ReadOnly { path }),
        Err(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM) => Err(Error::NotWritable { path }),
        Err(error) => Err(Error::io("access", root.display())(error.into())),
    }
}

fn sync_parent(root: &Path) -> Result<()> {
    let parent = match root.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Ok(()),
    };
    let synced = File::open(parent).and_then(|folder| folder.sync_all());
    synced.map_err(Error::io("sync the folder", parent.display()))
}
