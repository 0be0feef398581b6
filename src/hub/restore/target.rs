//! Where a restore writes to, and what it must not write over.

use crate::control::Control;
use crate::{Error, Result};
use api::RestoreDisk;
use block::{BlockSink, DeviceSink, FileSink, Overwrite};
use model::{ImageFormat, Repository, SourceUri, VmName};
use qcow2::{Create, Writer};
use rustix::fs::FlockOperation;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Component, Path, PathBuf};

/// A target that was looked at.
#[derive(Debug, Clone)]
pub(super) enum Target {
    /// A file, new or to be replaced.
    File {
        /// Its absolute path.
        path: PathBuf,
        /// As asked for, for messages.
        name: String,
        /// Raw or QCOW2.
        format: ImageFormat,
        /// Whether it may replace what is there.
        overwrite: Overwrite,
    },
    /// A block device.
    Device {
        /// Its path.
        path: PathBuf,
        /// As asked for.
        name: String,
    },
    /// An NBD export.
    Export {
        /// Its URI.
        uri: nbd::Uri,
        /// As asked for.
        name: String,
    },
}

impl Target {
    /// Looks at the target of a request, which lies in one of the folders `only_in` if those are given. Blocks.
    ///
    /// # Errors
    /// [`Error::Forbidden`] outside of those folders;
    /// [`Error::Exists`] where `overwrite` is needed; [`Error::Conflict`] inside a repository, or the hub's own folder;
    /// [`Error::Invalid`] and [`Error::Unsupported`] for formats; [`Error::Target`] where it can't be.
    pub(super) fn examine(
        request: &RestoreDisk,
        only_in: Option<&[PathBuf]>,
        state_dir: &Path,
        repositories: &[Repository],
        sources: &[(VmName, SourceUri)],
    ) -> Result<Target> {
        let name = request.target.to_string();
        let (path, named) = match &request.target {
            SourceUri::Nbd(text) => {
                if let Some((vm, _)) = sources.iter().find(|(_, source)| *source == request.target)
                    && !request.overwrite
                {
                    return Err(in_use(&name, vm));
                }
                raw_only(request.format, "an NBD export")?;
                let uri: nbd::Uri = text.parse().map_err(|error| Error::invalid("target", error))?;
                if let nbd::Address::Unix(socket) = uri.address() {
                    within(only_in, socket, &name)?;
                }
                return Ok(Target::Export { uri, name });
            }
            SourceUri::Push => {
                return Err(Error::invalid(
                    "target",
                    "\"push\" is no place: name a file, a device or an export",
                ));
            }
            SourceUri::File { path, format } => (PathBuf::from(path), *format),
        };
        let refused = |reason: String| Error::Target { target: name.clone(), reason, permission: false };
        // Nobody learns what there is in places where they may not restore to.
        let unreachable =
            |reason: String| within(only_in, &path, &name).map_or_else(|error| error, |()| refused(reason));
        // Where the file is new its folder must exist; either way no link hides where it really lies.
        let real = match path.canonicalize() {
            Ok(real) => real,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let folder = path.parent().unwrap_or(Path::new("/"));
                let file = path.file_name().ok_or_else(|| unreachable("it has no file name".into()))?;
                let folder =
                    folder.canonicalize().map_err(|error| unreachable(format!("its folder: {error}")))?;
                folder.join(file)
            }
            Err(error) => return Err(unreachable(error.to_string())),
        };
        within(only_in, &real, &name)?;
        for repository in repositories {
            let root = Path::new(&repository.path);
            let root = root.canonicalize().unwrap_or_else(|_| root.to_owned());
            if real.starts_with(&root) {
                return Err(Error::Conflict {
                    message: format!("{name} lies inside repository {}", repository.name),
                    hint: "restore to a place outside of all repositories".into(),
                });
            }
        }
        if state_dir.canonicalize().is_ok_and(|state_dir| real.starts_with(state_dir)) {
            return Err(Error::Conflict {
                message: format!("{name} lies inside the hub's own folder"),
                hint: "restore to a place outside of it".into(),
            });
        }
        let source = sources.iter().find(|(_, source)| {
            source.path().is_some_and(|path| Path::new(path).canonicalize().is_ok_and(|path| path == real))
        });
        if let Some((vm, _)) = source
            && !request.overwrite
        {
            return Err(in_use(&name, vm));
        }
        let found = match fs::metadata(&real) {
            Ok(found) => Some(found.file_type()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(refused(error.to_string())),
        };
        if let Some(found) = found {
            if !found.is_file() && !found.is_block_device() {
                let what =
                    if found.is_dir() { "it is a folder" } else { "it is no file and no block device" };
                return Err(refused(what.into()));
            }
            if !request.overwrite {
                return Err(Error::Exists {
                    what: name.clone(),
                    hint: "choose another target, or write over it with --overwrite".into(),
                });
            }
            if found.is_block_device() {
                raw_only(request.format.or(named), "a block device")?;
                return Ok(Target::Device { path: real, name });
            }
        }
        let format = request.format.or(named).unwrap_or_else(|| ImageFormat::of_name(&name));
        if !matches!(format, ImageFormat::Raw | ImageFormat::Qcow2) {
            return Err(Error::Unsupported {
                what: format!("restoring to {format}"),
                hint: "restore to raw or qcow2 and convert that with qemu-img".into(),
            });
        }
        let overwrite = if request.overwrite { Overwrite::Replace } else { Overwrite::Refuse };
        Ok(Target::File { path: real, name, format, overwrite })
    }

    /// What messages call it.
    pub(super) fn name(&self) -> &str {
        match self {
            Target::File { name, .. } | Target::Device { name, .. } | Target::Export { name, .. } => name,
        }
    }

    /// In which format it is written.
    pub(super) fn format(&self) -> ImageFormat {
        match self {
            Target::File { format, .. } => *format,
            Target::Device { .. } | Target::Export { .. } => ImageFormat::Raw,
        }
    }

    /// Opens it for a disk of `size` bytes. Blocks.
    pub(super) fn open(&self, size: u64, control: &Control) -> block::Result<Box<dyn BlockSink>> {
        Ok(match self {
            Target::File { path, format: ImageFormat::Qcow2, overwrite, .. } => {
                Box::new(ImageSink::create(path, size, *overwrite)?)
            }
            Target::File { path, overwrite, .. } => Box::new(FileSink::create(path, size, *overwrite)?),
            Target::Device { path, name } => {
                let device = DeviceSink::open(path)?;
                if device.size() < size {
                    return Err(block::Error::Unsupported {
                        name: name.clone(),
                        reason: format!("it has {} bytes, the disk needs {size}", device.size()),
                    });
                }
                Box::new(device)
            }
            Target::Export { uri, .. } => {
                let options =
                    nbd::Options { interrupt: control.interrupt().clone(), ..nbd::Options::default() };
                Box::new(nbd::NbdSink::open(uri, size, &options)?)
            }
        })
    }
}

/// Removes the partial file of a restore whose process was killed.
pub(crate) fn remove_leftover(request: &serde_json::Value) {
    let Ok(request) = serde_json::from_value::<RestoreDisk>(request.clone()) else { return };
    let Some(path) = request.target.path() else { return };
    let path = Path::new(path);
    let real = path.canonicalize().ok();
    let beside = path.parent().and_then(|folder| folder.canonicalize().ok()).zip(path.file_name());
    let beside = beside.map(|(folder, name)| folder.join(name));
    for target in [real, beside].into_iter().flatten() {
        let partial = FileSink::partial_of(&target);
        if let Err(error) = remove_unlocked(&partial) {
            tracing::warn!(%error, file = %partial.display(), "what a killed restore has left stays");
        }
    }
}

/// Removes a partial file that is there and that nobody writes: whoever does holds a lock on it.
fn remove_unlocked(partial: &Path) -> std::io::Result<()> {
    let file = match fs::OpenOptions::new().write(true).open(partial) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    fs::remove_file(partial)
}

/// Whether a path lies in one of the folders, links resolved.
fn within(only_in: Option<&[PathBuf]>, path: &Path, name: &str) -> Result<()> {
    let Some(folders) = only_in else { return Ok(()) };
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let path = real(path);
    // One that does not exist lies where it says, unless it says so by a detour.
    let detour = path.components().any(|part| part == Component::ParentDir);
    if !detour && folders.iter().any(|folder| path.starts_with(real(folder))) {
        return Ok(());
    }
    let listed: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
    Err(Error::Forbidden {
        message: format!("target: only an administrator may restore to {name}"),
        hint: match listed.is_empty() {
            true => {
                "restore to an NBD export, or ask an administrator to list a folder of the hub's machine for \
                     restores (restore.folders)"
                    .into()
            }
            false => format!("restore to an NBD export, or into {}", listed.join(" or ")),
        },
    })
}

fn in_use(name: &str, vm: &VmName) -> Error {
    Error::Exists {
        what: format!("{name}, a disk of VM {vm},"),
        hint: "stop the VM first; --overwrite then writes over its disk".into(),
    }
}

fn raw_only(format: Option<ImageFormat>, what: &str) -> Result<()> {
    match format {
        None | Some(ImageFormat::Raw) => Ok(()),
        Some(format) => Err(Error::invalid("format", format!("{what} takes raw, not {format}"))),
    }
}

/// A new QCOW2 file that takes its name when it is complete.
struct ImageSink {
    writer: Writer,
    /// Tells others that the partial file is in work.
    _lock: fs::File,
    path: PathBuf,
    partial: PathBuf,
    overwrite: Overwrite,
}

impl ImageSink {
    fn create(path: &Path, size: u64, overwrite: Overwrite) -> block::Result<Self> {
        let partial = FileSink::partial_of(path);
        let failed =
            |operation, source| block::Error::Open { operation, name: partial.display().to_string(), source };
        // One that a killed process has left is garbage; one that is locked is another restore to this place.
        remove_unlocked(&partial).map_err(|error| failed("replace", error))?;
        let writer = Writer::create(&partial, &Create::new(size))?;
        let lock = fs::File::open(&partial).map_err(|error| failed("open", error))?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|error| failed("lock", error.into()))?;
        Ok(ImageSink { writer, _lock: lock, path: path.to_owned(), partial, overwrite })
    }
}

impl BlockSink for ImageSink {
    fn size(&self) -> u64 {
        self.writer.size()
    }

    fn granularity(&self) -> u64 {
        self.writer.granularity()
    }

    fn write_at(&self, data: &[u8], offset: u64) -> block::Result<()> {
        self.writer.write_at(data, offset)
    }

    fn zero(&self, offset: u64, length: u64) -> block::Result<()> {
        self.writer.zero(offset, length)
    }

    fn settled(&self, offset: u64) -> block::Result<()> {
        self.writer.settled(offset)
    }

    fn finish(self: Box<Self>) -> block::Result<()> {
        let ImageSink { writer, _lock, path, partial, overwrite } = *self;
        writer.finish_at()?;
        let named = match overwrite {
            // Fails where the name was taken meanwhile.
            Overwrite::Refuse => fs::hard_link(&partial, &path).and_then(|()| fs::remove_file(&partial)),
            Overwrite::Replace => fs::rename(&partial, &path),
        };
        let durable =
            named.and_then(|()| fs::File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all());
        durable.map_err(|source| {
            // Best effort: it would only be in the way.
            let _ = fs::remove_file(&partial);
            block::Error::Open { operation: "name", name: path.display().to_string(), source }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::repository;
    use model::BackupId;

    fn request(target: &Path, overwrite: bool) -> RestoreDisk {
        RestoreDisk {
            backup_id: BackupId::new("b").unwrap(),
            disk_id: None,
            target: target.to_str().unwrap().parse().unwrap(),
            format: None,
            verify: true,
            overwrite,
            bandwidth_limit_bps: None,
        }
    }

    #[test]
    fn nothing_is_written_over_unasked_and_nothing_into_a_repository_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("repo");
        fs::create_dir(&inside).unwrap();
        std::os::unix::fs::symlink(&inside, folder.path().join("link")).unwrap();
        let state = folder.path().join("state");
        fs::create_dir(&state).unwrap();
        fs::write(state.join("catalog.db"), b"x").unwrap();
        let disk = folder.path().join("disk.raw");
        fs::write(&disk, b"x").unwrap();
        let sources = [(VmName::new("pg").unwrap(), disk.to_str().unwrap().parse().unwrap())];
        let repositories = [repository(&inside)];
        let look = |path: &Path, overwrite| {
            Target::examine(&request(path, overwrite), None, &state, &repositories, &sources)
        };

        assert!(matches!(look(&disk, false), Err(Error::Exists { what, .. }) if what.contains("VM pg")));
        assert!(look(&disk, true).is_ok());
        for name in
            ["repo/x.raw", "link/x.raw", "repo/vm/../x.raw", "state/catalog.db", "repo/../state/new.raw"]
        {
            assert!(look(&folder.path().join(name), true).is_err(), "{name}");
        }
        assert!(matches!(
            look(&folder.path().join("new.qcow2"), false),
            Ok(Target::File { format: ImageFormat::Qcow2, .. })
        ));
        assert!(look(folder.path(), true).is_err());
        assert!(look(&folder.path().join("none/x"), false).is_err());
    }

    #[test]
    fn who_is_no_administrator_restores_into_listed_folders_and_over_the_network() {
        let folder = tempfile::tempdir().unwrap();
        let (state, listed) = (folder.path().join("state"), folder.path().join("listed"));
        fs::create_dir(&state).unwrap();
        fs::create_dir(&listed).unwrap();
        std::os::unix::fs::symlink(folder.path(), listed.join("out")).unwrap();
        std::os::unix::fs::symlink(&listed, folder.path().join("in")).unwrap();
        let only_in = [folder.path().join("in")];
        let look = |target: &str, only_in: &[PathBuf]| {
            let target = target.replace("{}", folder.path().to_str().unwrap());
            let request = RestoreDisk { target: target.parse().unwrap(), ..request(Path::new("/x"), true) };
            Target::examine(&request, Some(only_in), &state, &[], &[]).map(|_| ())
        };
        for allowed in ["{}/listed/x.raw", "{}/in/x.raw", "nbd+unix:///x?socket={}/listed/s", "nbd://host/x"]
        {
            assert!(look(allowed, &only_in).is_ok(), "{allowed}");
        }
        for refused in [
            "{}/x.raw",
            "{}/none/x.raw",
            "{}/listed/../none/x.raw",
            "{}/listed/../x.raw",
            "{}/listed/out/x.raw",
            "nbd+unix:///x?socket={}/s",
            "/dev/null",
        ] {
            let error = look(refused, &only_in).unwrap_err();
            assert!(matches!(error, Error::Forbidden { .. }), "{refused}: {error}");
        }
        assert!(matches!(look("{}/listed/x.raw", &[]), Err(Error::Forbidden { .. })));
        assert!(look("nbd://host/x", &[]).is_ok());
    }
}
