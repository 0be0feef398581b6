//! A raw file or block device as a source.
//!
//! The size is what it was at opening. What grows later is not seen; what shrinks is an error that names the
//! file, never zeros. A file that is deleted while it is open can be read to its end.

use crate::{BlockSource, ChangeId, Error, Extent, ExtentKind, FullReadReason, Result};
use rustix::fs::{Advice, Mode, OFlags, SeekFrom, fadvise, seek};
use rustix::io::Errno;
use std::fs::{File, Metadata};
use std::io::{self, Seek};
use std::ops::Range;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// The most extents in one answer: a file may have one in every block.
const MOST_EXTENTS: usize = 4096;

/// Reads at once that still help: page-cache copies use the cores, fast disks a few requests.
const PARALLELISM: usize = 8;

/// A raw disk: a regular file, with its holes, or a block device.
#[derive(Debug)]
pub struct FileSource {
    file: File,
    name: String,
    size: u64,
    device: bool,
    /// The last stretch of data that was found. It may go far beyond what was asked for, and finding its
    /// end again from each further question would make a long stretch cost its length squared.
    data: Mutex<Range<u64>>,
}

impl FileSource {
    /// Opens `path` for reading.
    ///
    /// # Errors
    /// [`Error::Open`] where it can't be opened, [`Error::Unsupported`] where it is neither a regular file
    /// nor a block device, or is empty.
    pub fn open(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let refuse = |reason: &str| Error::Unsupported { name: name.clone(), reason: reason.to_owned() };
        let failed = |operation, source| Error::Open { operation, name: name.clone(), source };
        // Not blocking: opening a FIFO would otherwise wait for a writer. Files and disks don't care.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file =
            rustix::fs::open(path, flags, Mode::empty()).map_err(|error| failed("open", error.into()))?;
        let mut file = File::from(file);
        let metadata = file.metadata().map_err(|error| failed("stat", error))?;
        let device = kind(&metadata).map_err(refuse)?;
        let size = if device {
            file.seek(io::SeekFrom::End(0)).map_err(|error| failed("find the size of", error))?
        } else {
            metadata.len()
        };
        if size == 0 {
            return Err(refuse("it is empty, a disk has at least one byte"));
        }
        // A hint: where it is not taken, nothing is lost.
        let _ = fadvise(&file, 0, None, Advice::Sequential);
        Ok(FileSource { file, name, size, device, data: Mutex::new(0..0) })
    }

    /// True for a block device.
    pub fn is_device(&self) -> bool {
        self.device
    }

    /// The end of the data that begins at `at`, and whether the file system can tell.
    fn data_end(&self, at: u64) -> Result<Option<u64>> {
        let mut data = self.data.lock().unwrap_or_else(PoisonError::into_inner);
        if data.contains(&at) {
            return Ok(Some(data.end));
        }
        match seek(&self.file, SeekFrom::Hole(at)) {
            Ok(end) if end > at => {
                *data = at..end.min(self.size);
                Ok(Some(data.end))
            }
            // Written and cut off between two questions: let the read find out.
            Ok(_) | Err(Errno::NXIO) => Ok(None),
            Err(error) => Err(self.failed("find holes in", at, error.into())),
        }
    }

    /// Where the next data at or after `at` begins; the disk's end where there is none; `None` where the
    /// file system can't tell.
    fn data_start(&self, at: u64) -> Result<Option<u64>> {
        if self.data.lock().unwrap_or_else(PoisonError::into_inner).contains(&at) {
            return Ok(Some(at));
        }
        match seek(&self.file, SeekFrom::Data(at)) {
            Ok(start) if start >= at => Ok(Some(start.min(self.size))),
            Err(Errno::NXIO) => Ok(Some(self.size)),
            Ok(_) | Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(None),
            Err(error) => Err(self.failed("find data in", at, error.into())),
        }
    }

    /// An error where the file has become shorter than it was: its lost end would look like a hole.
    fn check_size(&self, at: u64) -> Result<()> {
        if self.device {
            return Ok(());
        }
        let now = self.file.metadata().map_err(|error| self.failed("stat", at, error))?.len();
        if now < self.size {
            return Err(self.shrunk("find data in", at, now));
        }
        Ok(())
    }

    fn shrunk(&self, operation: &'static str, at: u64, now: u64) -> Error {
        let reason = format!("it had {} bytes when the copy began and has {now} now", self.size);
        self.failed(operation, at, io::Error::new(io::ErrorKind::UnexpectedEof, reason))
    }

    fn failed(&self, operation: &'static str, offset: u64, source: io::Error) -> Error {
        Error::Io { operation, name: self.name.clone(), offset, source }
    }

    fn check_range(&self, offset: u64, length: u64) -> Result<()> {
        match offset.checked_add(length) {
            Some(end) if end <= self.size => Ok(()),
            _ => Err(Error::Usage {
                name: self.name.clone(),
                reason: format!("{length} bytes from {offset} on a disk of {} bytes", self.size),
            }),
        }
    }
}

impl BlockSource for FileSource {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.check_range(offset, buf.len() as u64)?;
        self.file.read_exact_at(buf, offset).map_err(|error| {
            let now = self.file.metadata().map(|metadata| metadata.len());
            match now {
                Ok(now) if error.kind() == io::ErrorKind::UnexpectedEof => self.shrunk("read", offset, now),
                _ => self.failed("read", offset, error),
            }
        })
    }

    fn extents(&self, range: Range<u64>, since: Option<&ChangeId>) -> Result<Vec<Extent>> {
        if since.is_some() {
            return Err(Error::FullReadRequired(FullReadReason::NotTracked));
        }
        self.check_range(range.start, range.end.saturating_sub(range.start))?;
        self.check_size(range.start)?;
        let mut extents = Vec::new();
        let mut at = range.start;
        while at < range.end && extents.len() < MOST_EXTENTS {
            let start = if self.device { None } else { self.data_start(at)? };
            let Some(start) = start.map(|start| start.min(range.end)) else {
                extents.push(Extent::new(at..range.end, ExtentKind::Data));
                break;
            };
            if start > at {
                extents.push(Extent::new(at..start, ExtentKind::Hole));
            }
            if start < range.end {
                let end = self.data_end(start)?.unwrap_or(range.end).min(range.end);
                extents.push(Extent::new(start..end, ExtentKind::Data));
                at = end;
            } else {
                at = start;
            }
        }
        // Once more: what was cut off meanwhile would have been told as holes.
        self.check_size(range.start)?;
        Ok(extents)
    }

    fn parallelism(&self) -> usize {
        PARALLELISM
    }
}

/// True for a block device, false for a regular file, else why it is refused.
fn kind(metadata: &Metadata) -> Result<bool, &'static str> {
    let kind = metadata.file_type();
    if kind.is_block_device() {
        Ok(true)
    } else if kind.is_file() {
        Ok(false)
    } else if kind.is_dir() {
        Err("it is a folder, not a disk image or block device")
    } else {
        Err("it is neither a regular file nor a block device")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use tempfile::tempdir;

    fn failure(path: &Path) -> Error {
        FileSource::open(path).expect_err("should be refused")
    }

    #[test]
    fn what_is_no_disk_is_refused_by_name() {
        let folder = tempdir().unwrap();
        assert!(failure(folder.path()).to_string().contains("it is a folder"));
        let missing = folder.path().join("missing disk");
        assert!(failure(&missing).to_string().contains("missing disk"));
        assert!(
            matches!(failure(&missing), Error::Open { source, .. } if source.kind() == io::ErrorKind::NotFound)
        );
        let empty = folder.path().join("empty");
        File::create(&empty).unwrap();
        assert!(failure(&empty).to_string().contains("it is empty"));
        assert!(failure(Path::new("/dev/null")).to_string().contains("neither"));
        let fifo = folder.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, Mode::RUSR).unwrap();
        assert!(failure(&fifo).to_string().contains("neither"));
    }

    #[test]
    fn holes_are_told_lazily_and_truthfully() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("disk");
        let file = File::create(&path).unwrap();
        file.set_len((8 << 20) + 100).unwrap();
        file.write_all_at(&[1; 4096], 1 << 20).unwrap();
        file.write_all_at(&[1; 1 << 20], 4 << 20).unwrap();
        let source = FileSource::open(&path).unwrap();
        let size = source.size();
        let extents = source.extents(0..size, None).unwrap();
        let data: u64 = extents.iter().filter(|e| e.kind == ExtentKind::Data).map(|e| e.length).sum();
        assert!(((1 << 20) + 4096..2 << 20).contains(&data), "{extents:?}");
        assert_eq!(extents.last().unwrap().end(), size);
        let inside = (4 << 20) + 5..(4 << 20) + 7;
        let data = Extent::new(inside.clone(), ExtentKind::Data);
        assert_eq!(source.extents(inside, None).unwrap(), [data]);
        assert_eq!(
            source.extents(size - 50..size, None).unwrap(),
            [Extent::new(size - 50..size, ExtentKind::Hole)]
        );
    }

    #[test]
    fn a_file_that_shrinks_is_an_error_that_names_it() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("shrinking");
        fs::write(&path, vec![7; 1 << 20]).unwrap();
        let source = FileSource::open(&path).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(1000).unwrap();
        let mut buf = [0; 4096];
        source.read_at(&mut buf[..100], 900).unwrap();
        let error = source.read_at(&mut buf, 0).unwrap_err().to_string();
        assert!(error.contains("shrinking") && error.contains("has 1000 now"), "{error}");
        let error = source.extents(0..1 << 20, None).unwrap_err().to_string();
        assert!(error.contains("shrinking") && error.contains("has 1000 now"), "{error}");
    }

    #[test]
    fn a_deleted_file_can_be_read_to_its_end() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("disk");
        fs::write(&path, [7; 5000]).unwrap();
        let source = FileSource::open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let mut buf = [0; 5000];
        source.read_at(&mut buf, 0).unwrap();
        assert_eq!(buf, [7; 5000]);
    }

    #[test]
    fn nothing_outside_the_disk_is_read() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("disk");
        fs::write(&path, [7; 5000]).unwrap();
        let source = FileSource::open(&path).unwrap();
        assert!(matches!(source.read_at(&mut [0; 2], 4999), Err(Error::Usage { .. })));
        assert!(matches!(source.read_at(&mut [0; 2], u64::MAX), Err(Error::Usage { .. })));
        assert!(matches!(source.extents(0..5001, None), Err(Error::Usage { .. })));
    }

    #[test]
    fn changes_are_not_tracked() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("disk");
        fs::write(&path, [7; 5000]).unwrap();
        let source = FileSource::open(&path).unwrap();
        assert!(matches!(
            source.extents(0..5000, Some(&ChangeId("x".to_owned()))),
            Err(Error::FullReadRequired(FullReadReason::NotTracked))
        ));
    }
}
