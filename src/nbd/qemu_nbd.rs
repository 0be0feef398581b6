//! Images in formats that only QEMU reads (VMDK, VHDX, VDI …), through a private `qemu-nbd`.
//!
//! The model: [`open`] starts `qemu-nbd --read-only` on a Unix socket in a fresh folder that only this user
//! may enter, connects to it, and removes the folder again: nobody else can connect, and nothing is left in
//! the file system while the disk is read. The source owns the child; dropping it disconnects, ends the
//! child and reaps it.
//!
//! The child can't outlive this process, however that ends: it leaves by itself when its last client is
//! gone, and the kernel kills it when the thread dies that started it (a thread of its own, because the
//! caller's may end earlier than the source). It is in a process group of its own, so a Ctrl-C at the
//! terminal reaches it only through this program.
//!
//! The image's path is given as the value of `file.filename` of the `file` driver, so no name can be taken
//! for an option, a protocol or a description of another image. What is *not* here: QCOW2 and raw, which
//! have readers of their own, and deciding which format a file has.

mod child;
mod death;

use crate::{NbdSource, Options, Uri};
use block::{BlockSource, ChangeId, Error, Extent, Result};
use child::Child;
use std::ffi::OsString;
use std::io;
use std::ops::Range;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// First and longest pause between two looks whether the child listens.
const GLANCE: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(50)];

/// Opens the image at `path`, whose format QEMU calls `format`, for reading. The time limits and the
/// interrupt of `options` hold; the child is never dialled again, because it never comes back.
///
/// # Errors
/// [`Error::Open`] where the image or `qemu-nbd` can't be started, [`Error::Unsupported`] where `qemu-nbd` is
/// not installed, [`Error::Peer`] with what it said where it does not open the image.
pub fn open(path: &Path, format: &str, options: &Options) -> Result<Box<dyn BlockSource>> {
    let name = path.display().to_string();
    let image = image_options(path, format)?;
    let folder = private_folder()?;
    let socket = folder.path().join("nbd");
    let options = Options { reconnect: Duration::ZERO, ..options.clone() };
    let mut arguments = vec![OsString::from("--read-only"), "--image-opts".into()];
    arguments.push(format!("--shared={}", options.most_connections()).into());
    arguments.push(OsString::from_vec([b"--socket=", socket.as_os_str().as_bytes()].concat()));
    arguments.push("--".into());
    arguments.push(image);
    let child = Child::spawn("qemu-nbd", &arguments).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => Error::Unsupported {
            name: name.clone(),
            reason: format!(
                "{format} images are read through qemu-nbd, which is not installed: install qemu-utils (Debian, Ubuntu), qemu-img (Fedora, RHEL) or qemu-tools (SUSE)"
            ),
        },
        _ => Error::Open { operation: "start qemu-nbd for", name: name.clone(), source },
    })?;
    let uri = Uri::unix(socket, "");
    let source = connect(&name, &uri, &options, &child)?;
    tracing::debug!(image = name, format, connections = source.connections(), "opened through qemu-nbd");
    Ok(Box::new(Image { source, child, name }))
}

/// The argument of `--image-opts` for an image.
fn image_options(path: &Path, format: &str) -> Result<OsString> {
    let name = path.display().to_string();
    let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if format.is_empty() || format.len() > 32 || !format.chars().all(known) {
        return Err(Error::Usage { name, reason: format!("'{}' is not a format", format.escape_debug()) });
    }
    let open = |source| Error::Open { operation: "open", name: name.clone(), source };
    let kind = std::fs::metadata(path).map_err(open)?.file_type();
    let driver = match (kind.is_file(), kind.is_block_device()) {
        (true, _) => "file",
        (_, true) => "host_device",
        _ if kind.is_dir() => return Err(open(io::ErrorKind::IsADirectory.into())),
        _ => {
            return Err(Error::Unsupported {
                name,
                reason: "it is neither a file nor a block device".into(),
            });
        }
    };
    let path = std::path::absolute(path).map_err(open)?;
    let mut text = format!("driver={format},file.driver={driver},file.filename=").into_bytes();
    for &byte in path.as_os_str().as_bytes() {
        text.push(byte);
        if byte == b',' {
            // The only character with a meaning inside a value; doubled, it stands for itself.
            text.push(byte);
        }
    }
    Ok(OsString::from_vec(text))
}

/// A folder that only this user may enter, with a path short enough for a socket in it.
fn private_folder() -> Result<tempfile::TempDir> {
    let temporary = std::env::temp_dir();
    let parent = if temporary.as_os_str().len() <= 80 { temporary } else { PathBuf::from("/tmp") };
    tempfile::Builder::new()
        .prefix("sendense-")
        .permissions(std::fs::Permissions::from_mode(0o700))
        .tempdir_in(&parent)
        .map_err(|source| Error::Open {
            operation: "make a folder in",
            name: parent.display().to_string(),
            source,
        })
}

/// Connects as soon as the child listens, if it does before the handshake's time limit.
fn connect(name: &str, uri: &Uri, options: &Options, child: &Child) -> Result<NbdSource> {
    let deadline = Instant::now() + options.handshake_timeout;
    let [mut pause, longest] = GLANCE;
    loop {
        let error = match NbdSource::open_named(name.to_owned(), uri, options) {
            Ok(source) => return Ok(source),
            Err(error) => error,
        };
        if let Some(said) = child.last_words() {
            return Err(refused(name, &said));
        }
        let not_yet = matches!(&error, Error::Open { source, .. }
            if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused));
        if !not_yet {
            // If it is dying just now, what it says is worth more than the broken connection.
            return Err(child
                .last_words_within(Duration::from_millis(200))
                .map_or(error, |said| refused(name, &said)));
        }
        if Instant::now() >= deadline {
            let reason =
                format!("qemu-nbd did not open it within {} seconds", options.handshake_timeout.as_secs());
            return Err(Error::Peer { name: name.to_owned(), reason, transient: false });
        }
        if options.interrupt.pause(pause).is_err() {
            return Err(Error::Cancelled);
        }
        pause = (pause * 2).min(longest);
    }
}

fn refused(name: &str, said: &str) -> Error {
    let said = if said.is_empty() { "it ended without a word" } else { said };
    Error::Peer { name: name.to_owned(), reason: format!("qemu-nbd: {said}"), transient: false }
}

/// An image and the child that reads it. The connections go first, then the child.
struct Image {
    source: NbdSource,
    child: Child,
    name: String,
}

impl Image {
    /// Where the child is gone, that is the cause.
    fn explain(&self, error: Error) -> Error {
        if !matches!(error, Error::Peer { .. } | Error::Open { .. }) {
            return error;
        }
        match self.child.last_words_within(Duration::from_millis(200)) {
            Some(said) if said.is_empty() => refused(&self.name, "it was killed"),
            Some(said) => refused(&self.name, &said),
            None => error,
        }
    }
}

impl BlockSource for Image {
    fn size(&self) -> u64 {
        self.source.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.source.read_at(buf, offset).map_err(|error| self.explain(error))
    }

    fn extents(&self, range: Range<u64>, since: Option<&ChangeId>) -> Result<Vec<Extent>> {
        self.source.extents(range, since).map_err(|error| self.explain(error))
    }

    fn parallelism(&self) -> usize {
        self.source.parallelism()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_can_not_become_an_option() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a,driver=raw, b\nc");
        std::fs::write(&path, b"x").expect("a file");
        let text = image_options(&path, "vmdk").expect("options").into_string().expect("UTF-8");
        assert!(text.starts_with("driver=vmdk,file.driver=file,file.filename=/"), "{text}");
        assert!(text.ends_with("/a,,driver=raw,, b\nc"), "{text}");
    }

    #[test]
    fn what_is_no_image_is_named() {
        let missing = open(Path::new("/nonexistent/x.vmdk"), "vmdk", &Options::default());
        assert!(matches!(missing, Err(Error::Open { .. })));
        let folder = open(Path::new("/tmp"), "vmdk", &Options::default());
        assert!(folder.is_err_and(|e| e.to_string().contains("directory")));
        let format = open(Path::new("/etc/hostname"), "vmdk,x=y", &Options::default());
        assert!(matches!(format, Err(Error::Usage { .. })));
    }
}
