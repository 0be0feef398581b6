//! What the fuzz targets do with hostile bytes: everything a caller could, in bounded time.
//!
//! A target decides which bytes make an image; this opens, checks, maps and reads it, and asserts what must
//! hold whatever the bytes are. A panic, a hang or a large allocation is the finding.

pub mod guest;

use block::BlockSource;
use qcow2::{Chain, Gate, MemoryStorage, Opened, Storage, check_storage};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Gives every name the same few bytes, some of them images again; a few times, because a chain of a
/// thousand files finds nothing that one of four doesn't.
struct Echo {
    bytes: Vec<u8>,
    opened: AtomicUsize,
}

impl Gate for Echo {
    fn open(&self, _referrer: &Path, name: &str) -> block::Result<Opened> {
        if self.opened.fetch_add(1, Ordering::Relaxed) == 3 {
            return Err(block::Error::Unsupported { name: name.to_owned(), reason: "enough".to_owned() });
        }
        let storage = Arc::new(MemoryStorage::new(name, self.bytes.clone()));
        Ok(Opened { storage, path: name.into() })
    }
}

/// Bytes read at one place.
const PART: u64 = 24 << 10;

/// Opens `bytes` as an image and uses it.
pub fn image(bytes: &[u8]) {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new("fuzz", bytes.to_vec()));
    if let Ok(report) = check_storage(storage.as_ref()) {
        assert!(report.findings.len() <= 64);
        assert!(report.is_sound() == report.first_error().is_none() || report.leaks > 0);
    }
    let gate = Echo { bytes: bytes[..bytes.len().min(16384)].to_vec(), opened: AtomicUsize::new(0) };
    let Ok(chain) = Chain::from_storage(storage, Path::new("fuzz"), &gate) else { return };
    let size = chain.size();
    let mut places = vec![0, size.saturating_sub(PART), size / 2];

    if let Ok(entries) = chain.map(0..(8 << 20).min(size)) {
        let mut at = 0;
        for entry in &entries {
            assert_eq!(entry.offset, at, "a map without gaps");
            assert!(entry.length > 0);
            at += entry.length;
        }
        assert_eq!(at, (8 << 20).min(size));
        places.extend(entries.iter().map(|entry| entry.offset).take(8));
    }
    let mut at = 0;
    for _ in 0..8 {
        let Ok(extents) = chain.extents(at..size, None) else { break };
        let Some(last) = extents.last() else { break };
        assert!(extents[0].offset == at && last.end() <= size && last.end() > at);
        at = last.end();
        if at == size {
            break;
        }
    }
    for place in places {
        let length = PART.min(size - place.min(size));
        let mut whole = vec![0xa5; length as usize];
        if chain.read_at(&mut whole, place).is_err() {
            continue;
        }
        // The same bytes, whichever way they are asked for.
        let mut parts = vec![0x5a; length as usize];
        let mut done = 0;
        for part in parts.chunks_mut(7777) {
            if chain.read_at(part, place + done).is_err() {
                panic!("a part of what was read can't be read");
            }
            done += part.len() as u64;
        }
        assert!(whole == parts, "two reads of the same bytes differ");
    }
}
