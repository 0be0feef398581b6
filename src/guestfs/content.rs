//! The content of a guest's file: as a stream, as a hash, and as places on its device.
//!
//! Nothing here holds a file in memory: buffers have a fixed size, and holes are never read.
//!
//! Not here: which file ([`tree`](crate::tree)), archives, downloads.

use crate::device::{ReadAt, check_range};
use crate::{Error, FileKind, GuestFs, NodeId, Place, Result};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Bytes that are hashed at once.
const CHUNK: usize = 1 << 20;
/// How many runs one file has at most, as far as they are listed.
pub const MAX_RUNS: usize = 1 << 22;

/// A file that is read from its beginning, from anywhere, or by several at once.
pub struct FileReader {
    fs: Arc<dyn GuestFs>,
    node: NodeId,
    size: u64,
    position: u64,
}

impl FileReader {
    /// The file `node` of `fs`, at its beginning.
    ///
    /// # Errors
    /// [`Error::IsADirectory`]; [`Error::Unsupported`] for what is no regular file; why it can't be read.
    pub fn new(fs: Arc<dyn GuestFs>, node: NodeId) -> Result<Self> {
        let stat = fs.stat(node)?;
        match stat.kind {
            FileKind::File => Ok(FileReader { fs, node, size: stat.size, position: 0 }),
            FileKind::Directory => Err(Error::IsADirectory),
            _ => Err(Error::unsupported("reading what is no regular file")),
        }
    }

    /// The size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }
}

/// As an error of a stream, with the guest's error inside.
fn into_io(error: Error) -> io::Error {
    match error {
        Error::Io { source, .. } => source,
        other => io::Error::new(io::ErrorKind::InvalidData, other.to_string()),
    }
}

impl Read for FileReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.size.saturating_sub(self.position);
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
        if most == 0 {
            return Ok(0);
        }
        let read = self.fs.read_at(self.node, self.position, &mut buf[..most]).map_err(into_io)?;
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file ends before its size"));
        }
        self.position += read as u64;
        Ok(read)
    }
}

impl Seek for FileReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
        };
        self.position = position
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a position before the beginning"))?;
        Ok(self.position)
    }
}

impl ReadAt for FileReader {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        check_range(offset, buf.len(), self.size)?;
        let mut at = 0;
        while at < buf.len() {
            match self.fs.read_at(self.node, offset + at as u64, &mut buf[at..]).map_err(into_io)? {
                0 => return Err(io::Error::other("the file ends before its size")),
                read => at += read,
            }
        }
        Ok(())
    }
}

/// The BLAKE3 hash of the content of a file. Holes are hashed as the zeros they read as, without being read.
///
/// # Errors
/// As [`GuestFs::read_at`]; [`Error::Corrupt`] where the file ends before its size.
pub fn hash(fs: &dyn GuestFs, node: NodeId) -> Result<blake3::Hash> {
    let hash = hash_while(fs, node, &mut |_| ControlFlow::Continue(()))?;
    hash.ok_or_else(|| Error::Limit("the hash was stopped".into()))
}

/// As [`hash`], telling `progress` the bytes that were hashed so far, at least once each MiB. A file of a hostile image
/// may claim more bytes than anybody can wait for: where `progress` breaks, there is no hash.
///
/// # Errors
/// As [`hash`].
pub fn hash_while(
    fs: &dyn GuestFs,
    node: NodeId,
    progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<Option<blake3::Hash>> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    let mut hasher = blake3::Hasher::new();
    let mut buf = Vec::new();
    let size = fs.stat(node)?.size;
    let mut offset = 0;
    while let Some((length, place)) = run_at(fs, node, offset, size)? {
        let end = offset + length;
        while offset < end {
            let left = usize::try_from(end - offset).unwrap_or(usize::MAX);
            if place == Place::Hole {
                let length = left.min(ZEROS.len());
                hasher.update(&ZEROS[..length]);
                offset += length as u64;
            } else {
                let length = left.min(CHUNK);
                buf.resize(buf.len().max(length), 0);
                let read = fs.read_at(node, offset, &mut buf[..length])?;
                if read == 0 {
                    return Err(Error::corrupt("the file", "it ends before its size"));
                }
                hasher.update(&buf[..read]);
                offset += read as u64;
            }
            if progress(offset).is_break() {
                return Ok(None);
            }
        }
    }
    if offset != size {
        return Err(Error::corrupt("the file", format!("it has {size} bytes, and its runs end at {offset}")));
    }
    Ok(Some(hasher.finalize()))
}

/// The run at `offset`, which must be one.
fn run_at(fs: &dyn GuestFs, node: NodeId, offset: u64, size: u64) -> Result<Option<(u64, Place)>> {
    match fs.map(node, offset)? {
        None => Ok(None),
        Some(run) if run.length > 0 && offset.checked_add(run.length).is_some_and(|end| end <= size) => {
            Ok(Some((run.length, run.place)))
        }
        Some(run) => {
            Err(Error::corrupt("the file", format!("a run of {} bytes at {offset} of {size}", run.length)))
        }
    }
}

/// A run of a file's bytes that lies on its device as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceRange {
    /// Where in the file.
    pub file: u64,
    /// Where on the file system's first device.
    pub device: u64,
    /// Bytes, at least 1.
    pub length: u64,
}

/// Where a file's content lies.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeviceRanges {
    /// The runs on the device, in the order of the file, with neighbours joined.
    pub ranges: Vec<DeviceRange>,
    /// Whether all other bytes are holes. Where not, some are stored in another form, and equal clusters of the device
    /// do not show that the content is equal.
    pub complete: bool,
}

/// Where the content of a file lies on the file system's first device: for a comparison of two points that looks only
/// at what differs between their disks.
///
/// # Errors
/// As [`GuestFs::map`]; [`Error::Limit`] for more than [`MAX_RUNS`] runs.
pub fn device_ranges(fs: &dyn GuestFs, node: NodeId) -> Result<DeviceRanges> {
    let size = fs.stat(node)?.size;
    let mut found = DeviceRanges { ranges: Vec::new(), complete: true };
    let mut offset = 0;
    let mut runs = 0;
    while let Some((length, place)) = run_at(fs, node, offset, size)? {
        match place {
            Place::Hole => {}
            Place::Inside => found.complete = false,
            Place::Device(device) => match found.ranges.last_mut() {
                Some(last)
                    if last.file + last.length == offset
                        && last.device.checked_add(last.length) == Some(device) =>
                {
                    last.length += length;
                }
                _ => found.ranges.push(DeviceRange { file: offset, device, length }),
            },
        }
        offset += length;
        runs += 1;
        if runs > MAX_RUNS {
            return Err(Error::Limit(format!("the file has more than {MAX_RUNS} runs")));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::memory::{Body, Memory};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn file(size: u64, runs: Vec<(u64, Vec<u8>, Place)>) -> (Arc<dyn GuestFs>, NodeId) {
        let mut fs = Memory::new("ext4");
        let runs: BTreeMap<_, _> = runs.into_iter().map(|(at, bytes, place)| (at, (bytes, place))).collect();
        let node = fs.put("/f", Body::File(size, runs));
        (Arc::new(fs), node)
    }

    #[test]
    fn the_hash_is_that_of_all_bytes() {
        let (fs, node) = file(
            3_000_000,
            vec![
                (5, vec![1; 10], Place::Inside),
                (100_000, vec![2; 70_000], Place::Device(4096)),
                (2_999_999, vec![3], Place::Device(0)),
            ],
        );
        let mut all = vec![0; 3_000_000];
        all[5..15].fill(1);
        all[100_000..170_000].fill(2);
        all[2_999_999] = 3;
        assert_eq!(hash(&*fs, node).unwrap(), blake3::hash(&all));
        let mut read = Vec::new();
        FileReader::new(fs.clone(), node).unwrap().read_to_end(&mut read).unwrap();
        assert!(read == all);
        let (endless, node) = file(u64::MAX, vec![]);
        let mut steps = 0;
        let stopped = hash_while(&*endless, node, &mut |_| {
            steps += 1;
            if steps < 10 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        assert_eq!((stopped.unwrap(), steps), (None, 10));
        let (empty, node) = file(0, vec![]);
        assert_eq!(hash(&*empty, node).unwrap(), blake3::hash(b""));
        assert!(matches!(FileReader::new(empty.clone(), empty.root()), Err(Error::IsADirectory)));
        let mut fs = Memory::new("ext4");
        let device = fs.put("/dev/null", Body::Other(FileKind::CharDevice));
        assert!(matches!(FileReader::new(Arc::new(fs), device), Err(Error::Unsupported(_))));
    }

    #[test]
    fn neighbours_on_the_device_are_one_range() {
        let (fs, node) = file(
            500,
            vec![
                (0, vec![1; 100], Place::Device(1000)),
                (100, vec![1; 50], Place::Device(1100)),
                (200, vec![1; 50], Place::Device(1200)),
                (300, vec![1; 50], Place::Device(5000)),
            ],
        );
        let range = |file, device, length| DeviceRange { file, device, length };
        let ranges = vec![range(0, 1000, 150), range(200, 1200, 50), range(300, 5000, 50)];
        assert_eq!(device_ranges(&*fs, node).unwrap(), DeviceRanges { ranges, complete: true });
        let (fs, node) = file(500, vec![(10, vec![1; 100], Place::Inside)]);
        assert_eq!(device_ranges(&*fs, node).unwrap(), DeviceRanges { ranges: vec![], complete: false });
    }

    proptest! {
        #[test]
        fn a_reader_is_a_file(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            moves in prop::collection::vec((0u8..3, -250i64..250, 0usize..100), 0..20),
        ) {
            let (fs, node) = file(bytes.len() as u64, vec![(0, bytes.clone(), Place::Inside)].into_iter()
                .filter(|run| !run.1.is_empty()).collect());
            let mut ours = FileReader::new(fs, node).unwrap();
            let mut model = io::Cursor::new(bytes.clone());
            for (how, by, length) in moves {
                let to = match how {
                    0 => SeekFrom::Start(by.unsigned_abs()),
                    1 => SeekFrom::Current(by),
                    _ => SeekFrom::End(by),
                };
                prop_assert_eq!(ours.seek(to).ok(), model.seek(to).ok());
                let (mut one, mut other) = (vec![0; length], vec![0; length]);
                prop_assert_eq!(ours.read(&mut one).unwrap(), model.read(&mut other).unwrap());
                prop_assert_eq!(&one, &other);
                let at = by.unsigned_abs();
                let fits = at + length as u64 <= bytes.len() as u64;
                prop_assert_eq!(ReadAt::read_at(&ours, &mut one, at).is_ok(), fits);
                if fits {
                    prop_assert_eq!(&one[..], &bytes[at as usize..at as usize + length]);
                }
            }
        }
    }
}
