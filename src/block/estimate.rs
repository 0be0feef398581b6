//! How much there is to copy, before it is copied.

use crate::{BlockSource, ExtentKind, Result};
use std::time::{Duration, Instant};

/// How long an estimate may take. A badly fragmented disk of many TiB takes longer; what is then left counts
/// as data, so an estimate is never too small because of its haste.
const LIMIT: Duration = Duration::from_secs(2);

/// How much is asked for at once.
const WINDOW: u64 = 1 << 30;

/// The bytes that `source` says are data: what a full backup stores at most, before compression. Zeros that
/// are stored as data count too.
///
/// # Errors
/// Where the source can't tell.
pub fn estimate(source: &dyn BlockSource) -> Result<u64> {
    within(source, LIMIT)
}

fn within(source: &dyn BlockSource, limit: Duration) -> Result<u64> {
    let started = Instant::now();
    let size = source.size();
    let mut data: u64 = 0;
    let mut at = 0;
    while at < size {
        if started.elapsed() >= limit {
            return Ok(data.saturating_add(size - at));
        }
        let asked_from = at;
        for extent in source.extents(at..at.saturating_add(WINDOW).min(size), None)? {
            if matches!(extent.kind, ExtentKind::Data | ExtentKind::Unchanged) {
                data = data.saturating_add(extent.length);
            }
            at = extent.offset.saturating_add(extent.length).max(at);
        }
        if at == asked_from {
            // No answer at all is against the rules; take all that is left for data rather than ask for ever.
            return Ok(data.saturating_add(size - at));
        }
    }
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FileSource;
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    #[test]
    fn holes_do_not_count_unless_there_is_no_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        let file = File::create(&path).unwrap();
        file.set_len(5 << 30).unwrap();
        file.write_all_at(&[1; 1 << 20], 3 << 30).unwrap();
        let source = FileSource::open(&path).unwrap();
        assert_eq!(estimate(&source).unwrap(), 1 << 20);
        assert_eq!(within(&source, Duration::ZERO).unwrap(), 5 << 30);
    }
}
