//! A disk of a point that gives no byte it is not sure of.
//!
//! Whatever is read of it is compared with the hashes that were made when it was backed up, a granule (64 KiB) at a
//! time: a bit that has rotted in the repository is an error here, never somebody's file. Small reads of one granule
//! are served from the copy that was compared, so that walking through a file system does not hash it again and again;
//! large ones go straight into the caller's buffer.
//!
//! What nobody has hashed is let through, as a restore does: the granule that a changed size of the disk cuts in two.
//!
//! Memory: `KEPT` granules a disk (4 MiB; 64 MiB for walks), and what [`ChainLookup`] takes. All files are open from the
//! start: what happens to their names afterwards does not matter.

use crate::points::OpenDisk;
use block::{BlockSource, ChangeId, Error, Extent, GRANULE, Granule, Result, is_zero};
use lru::LruCache;
use qcow2::Chain;
use repository::{Bottom, ChainLookup, Manifest};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

/// How many granules are kept that small reads have asked for.
const KEPT: NonZeroUsize = NonZeroUsize::new(64).unwrap();
/// The same where all folders of the disk are walked, in the order in which the guest has them: 64 MiB.
const KEPT_FOR_WALKS: NonZeroUsize = NonZeroUsize::new(1024).unwrap();
/// How many granules are looked up at once.
const BATCH: usize = 64;

/// A chain, and what it must read as.
pub(crate) struct CheckedDisk {
    chain: Chain,
    hashes: ChainLookup,
    name: String,
    kept: Mutex<LruCache<u64, Arc<[u8]>>>,
}

impl CheckedDisk {
    /// The disk; `name` is for messages.
    pub(crate) fn new(open: OpenDisk, name: String) -> Self {
        let size = open.manifests.first().map_or(0, Manifest::virtual_size);
        CheckedDisk {
            chain: open.chain,
            hashes: ChainLookup::new(open.manifests, Bottom::Full, size),
            name,
            kept: Mutex::new(LruCache::new(KEPT)),
        }
    }

    /// Keeps as much as a walk through all of its folders is quicker with.
    pub(crate) fn for_walks(mut self) -> Self {
        self.kept = Mutex::new(LruCache::new(KEPT_FOR_WALKS));
        self
    }

    /// Fills `buf`, which holds whole granules from `offset` on, but for the disk's last one.
    fn read_whole(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.chain.read_at(buf, offset)?;
        let mut expected = [Granule::Unknown; BATCH];
        let mut at = offset;
        for batch in buf.chunks(BATCH * GRANULE as usize) {
            let first = at / GRANULE;
            let expected = &mut expected[..batch.len().div_ceil(GRANULE as usize)];
            self.hashes.granules(first, expected)?;
            for (bytes, expected) in batch.chunks(GRANULE as usize).zip(expected) {
                let same = match expected {
                    Granule::Unknown => true,
                    Granule::Zero => is_zero(bytes),
                    Granule::Hash(hash) => blake3::hash(bytes) == *hash,
                };
                if !same {
                    return Err(Error::Mismatch { name: self.name.clone(), offset: at });
                }
                at += bytes.len() as u64;
            }
        }
        Ok(())
    }

    /// One granule, compared.
    fn granule(&self, number: u64) -> Result<Arc<[u8]>> {
        // Held granules are whole, whoever panicked while he held the lock.
        let lock = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = lock().get(&number) {
            return Ok(Arc::clone(kept));
        }
        let start = number * GRANULE;
        let mut bytes = vec![0; (self.size() - start).min(GRANULE) as usize];
        self.read_whole(&mut bytes, start)?;
        let bytes: Arc<[u8]> = bytes.into();
        lock().put(number, Arc::clone(&bytes));
        Ok(bytes)
    }
}

impl BlockSource for CheckedDisk {
    fn size(&self) -> u64 {
        self.chain.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        let size = self.size();
        if offset.checked_add(buf.len() as u64).is_none_or(|end| end > size) {
            let reason = format!("{} bytes at {offset} are not inside of {size} bytes", buf.len());
            return Err(Error::Usage { name: self.name.clone(), reason });
        }
        let (mut rest, mut at) = (buf, offset);
        while !rest.is_empty() {
            let within = (at % GRANULE) as usize;
            let left = (size - at).min(GRANULE - within as u64) as usize;
            let taken = if within == 0 && rest.len() >= left {
                let whole = rest.len() - rest.len() % GRANULE as usize;
                // What is shorter than a granule is the disk's last one.
                let whole = if at + rest.len() as u64 == size { rest.len() } else { whole };
                self.read_whole(&mut rest[..whole], at)?;
                whole
            } else {
                let length = rest.len().min(left);
                let granule = self.granule(at / GRANULE)?;
                rest[..length].copy_from_slice(&granule[within..within + length]);
                length
            };
            rest = &mut rest[taken..];
            at += taken as u64;
        }
        Ok(())
    }

    fn extents(&self, range: Range<u64>, since: Option<&ChangeId>) -> Result<Vec<Extent>> {
        self.chain.extents(range, since)
    }

    fn parallelism(&self) -> usize {
        self.chain.parallelism()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use block::{Baseline, Ledger};
    use proptest::prelude::*;
    use qcow2::{Backing, BackingFormat, Create, Inside, Writer};
    use repository::ChainBaseline;
    use std::os::unix::fs::FileExt;
    use std::path::Path;

    /// A disk of `size` bytes in two layers, the upper one `grown` bytes larger, and its content.
    fn disk(folder: &Path, size: u64, grown: u64, seed: u64) -> (OpenDisk, Vec<u8>) {
        let total = size + grown;
        let mut content = vec![0; total as usize];
        let mut manifests = Vec::new();
        for (layer, layer_size) in [(0, size), (1, total)] {
            let image = folder.join(format!("{layer}.qcow2"));
            let backing =
                (layer == 1).then(|| Backing { file_name: "0.qcow2".into(), format: BackingFormat::Qcow2 });
            let writer = Writer::create(&image, &Create { backing, ..Create::new(layer_size) }).unwrap();
            let identity = repository::Identity {
                id: "repo-test".parse().unwrap(),
                name: "test".parse().unwrap(),
                created_at: jiff::Timestamp::UNIX_EPOCH,
            };
            let root = folder.join(format!("repository-{layer}"));
            let repository = repository::LocalRepository::create(&root, identity).unwrap();
            repository.prepare(&"vm".parse().unwrap(), model::DiskIndex(0)).unwrap();
            let path = repository::RelPath::new("vm/disk-0/x.b3").unwrap();
            let mut manifest = repository.create_manifest(&path, layer_size).unwrap();
            for granule in 0..layer_size.div_ceil(GRANULE) {
                let start = granule * GRANULE;
                let length = (layer_size - start).min(GRANULE) as usize;
                let kind = (seed >> ((granule * 2 + layer) % 60)) % 4;
                let bytes: Vec<u8> =
                    (0..length as u64).map(|at| (at * 31 + granule + layer + seed) as u8 | 1).collect();
                match kind {
                    0 | 1 => {
                        use block::BlockSink;
                        writer.write_at(&bytes, start).unwrap();
                        let hash = Granule::Hash(*blake3::hash(&bytes).as_bytes());
                        manifest.record(granule, &[hash]).unwrap();
                        content[start as usize..start as usize + length].copy_from_slice(&bytes);
                    }
                    2 if layer == 1 => {
                        use block::BlockSink;
                        writer.zero(start, length as u64).unwrap();
                        manifest.record(granule, &[Granule::Zero]).unwrap();
                        content[start as usize..start as usize + length].fill(0);
                    }
                    _ => {}
                }
            }
            writer.finish_at().unwrap();
            manifest.finish().unwrap();
            let file = std::fs::File::open(root.join("vm/disk-0/x.b3.partial")).unwrap();
            manifests.insert(0, Manifest::open(file, "x").unwrap());
        }
        let top = folder.join("1.qcow2");
        let chain = Chain::open(&top, &Inside::new(folder).unwrap()).unwrap();
        (OpenDisk { chain, manifests, lineage: Vec::new() }, content)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_read_is_what_was_written_or_an_error(
            size in prop_oneof![Just(10 * GRANULE), 8 * GRANULE..11 * GRANULE],
            grown in prop_oneof![Just(0), 0..3 * GRANULE],
            seed in any::<u64>(),
            reads in prop::collection::vec((0.0..1.0f64, 0.0..1.0f64), 1..12),
            flip in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let folder = tempfile::tempdir_in("/dev/shm").unwrap();
            let (open, content) = disk(folder.path(), size, grown, seed);
            if let Some(flip) = flip {
                // One bit of the data, behind the tables.
                let path = folder.path().join("1.qcow2");
                let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
                let length = file.metadata().unwrap().len();
                let at = flip.index(length as usize) as u64;
                let mut byte = [0];
                file.read_exact_at(&mut byte, at).unwrap();
                byte[0] ^= 4;
                file.write_all_at(&byte, at).unwrap();
            }
            let unknown: Vec<bool> = {
                let mut expected = vec![Granule::Zero; content.len().div_ceil(GRANULE as usize)];
                ChainBaseline::new(open.manifests.clone(), Bottom::Full, content.len() as u64)
                    .next(0, &mut expected).unwrap();
                expected.iter().map(|granule| *granule == Granule::Unknown).collect()
            };
            let disk = CheckedDisk::new(open, "disk 0".into());
            for (start, length) in reads {
                let start = (start * content.len() as f64) as usize;
                let length = (length * length * (content.len() - start) as f64) as usize;
                let mut buf = vec![0xee; length];
                match disk.read_at(&mut buf, start as u64) {
                    Ok(()) => {
                        for (at, byte) in (start..).zip(&buf) {
                            let same = *byte == content[at] || unknown[at / GRANULE as usize];
                            prop_assert!(same, "byte {at} is wrong and was given away");
                        }
                    }
                    Err(error) => prop_assert!(flip.is_some(), "{error}"),
                }
            }
            let past = disk.read_at(&mut [0; 2], content.len() as u64 - 1);
            let refused = matches!(past, Err(Error::Usage { .. }));
            prop_assert!(refused, "a read past the end");
        }
    }
}
