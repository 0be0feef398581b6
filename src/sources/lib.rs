//! Opening a disk's source, and the rule by which its format is known.
//!
//! The format is what the URI says, or what the file's name promises; it is never guessed from the content,
//! because a guest can write any header into its own disk and have the hub follow it to files of the host.
//! One guess in the other direction is a trap too: a QCOW2 image without the extension would be saved as a
//! raw disk, byte for byte, and nobody would notice before the restore. So a file that is raw *by its name
//! only* and begins like an image is refused, once, when the source is first taken in ([`settle`]); the
//! settled source then names its format, and later content changes nothing.
//!
//! Used by the hub, which reads disks by itself, and by the agent, which pushes them. Opening blocks (files, sockets,
//! child processes): it is not for an executor.

use block::{BlockSource, Error, Result};
use model::{ImageFormat, SourceUri};
use std::path::Path;

/// Opens a source to be read. `interrupt` ends network reads that block.
///
/// # Errors
/// Where it can't be opened, has no bytes, or is of a format whose reader is not installed.
pub fn open(uri: &SourceUri, interrupt: &nbd::Interrupt) -> Result<Box<dyn BlockSource>> {
    let options = nbd::Options { interrupt: interrupt.clone(), ..nbd::Options::default() };
    let source: Box<dyn BlockSource> = match uri {
        SourceUri::Nbd(text) => {
            let parsed = text
                .parse::<nbd::Uri>()
                .map_err(|error| Error::Unsupported { name: text.clone(), reason: error.to_string() })?;
            Box::new(nbd::NbdSource::open(&parsed, &options)?)
        }
        SourceUri::Push => {
            let reason = "a client writes it, the hub can't read it".to_owned();
            return Err(Error::Unsupported { name: uri.to_string(), reason });
        }
        SourceUri::File { path, .. } => match uri.format() {
            ImageFormat::Raw => Box::new(block::WholeSectors::new(block::FileSource::open(Path::new(path))?)),
            ImageFormat::Qcow2 => Box::new(qcow2::Chain::open(Path::new(path), &qcow2::Anywhere)?),
            format @ (ImageFormat::Vmdk | ImageFormat::Vhdx | ImageFormat::Vdi) => {
                nbd::qemu_nbd::open(Path::new(path), format.as_str(), &options)?
            }
        },
    };
    if source.size() == 0 {
        return Err(Error::Unsupported { name: uri.to_string(), reason: "it is empty (0 bytes)".into() });
    }
    Ok(source)
}

/// Looks at a source that is taken in for the first time, and gives it back with its format named where only
/// its name told it. Exports are not connected to.
///
/// # Errors
/// Where a file can't be read, or is raw by its name only and begins like an image of another format.
pub fn settle(uri: SourceUri) -> Result<SourceUri> {
    let SourceUri::File { path, format } = &uri else { return Ok(uri) };
    let refuse = |source| Error::Open { operation: "open", name: path.clone(), source };
    let meta = std::fs::metadata(path).map_err(refuse)?;
    if meta.is_dir() {
        return Err(refuse(std::io::Error::other("it is a directory, not a disk")));
    }
    if meta.is_file() && meta.len() == 0 {
        return Err(refuse(std::io::Error::other("it is empty, a disk has at least one byte")));
    }
    if format.is_some() || uri.format() != ImageFormat::Raw {
        return Ok(uri);
    }
    if let Some(found) = block::sniff(Path::new(path))? {
        return Err(Error::Unsupported {
            name: path.clone(),
            reason: format!(
                "it begins like a {found} image, but its name does not say so: say \
                 file://{path}?format={found} to read it as such, or ?format=raw if these really are the \
                 disk's own bytes"
            ),
        });
    }
    Ok(SourceUri::File { path: path.clone(), format: Some(ImageFormat::Raw) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raw_name_over_an_image_is_refused_until_the_format_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.img");
        let text = path.to_str().unwrap();
        for (head, advice) in [
            (&b"QFI\xfb\0\0\0\x03"[..], "?format=qcow2"),
            (b"KDMV\x01", "?format=vmdk"),
            (b"vhdxfile", "?format=vhdx"),
        ] {
            std::fs::write(&path, head).unwrap();
            let error = settle(text.parse().unwrap()).unwrap_err().to_string();
            assert!(error.contains(advice) && error.contains("?format=raw"), "{error}");
            let said: SourceUri = format!("file://{text}?format=raw").parse().unwrap();
            assert_eq!(settle(said.clone()).unwrap(), said);
        }
        std::fs::write(&path, b"\xeb\x63\x90").unwrap();
        let settled = settle(text.parse().unwrap()).unwrap();
        assert_eq!(settled, SourceUri::File { path: text.into(), format: Some(ImageFormat::Raw) });
    }

    #[test]
    fn what_is_no_disk_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let text = |path: &Path| path.to_str().unwrap().parse::<SourceUri>().unwrap();
        let error = settle(text(folder.path())).unwrap_err().to_string();
        assert!(error.contains("directory"), "{error}");
        assert!(settle(text(&folder.path().join("none"))).is_err());
        let empty = folder.path().join("empty");
        std::fs::write(&empty, b"").unwrap();
        assert!(settle(text(&empty)).unwrap_err().to_string().contains("empty"));
        let opened = open(&text(&empty), &nbd::Interrupt::new());
        assert!(opened.err().unwrap().to_string().contains("empty"));
    }
}
