//! Where the content of a file lies on the disks of its point.

use super::{Unchanged, all_unchanged};
use crate::content::device_ranges;
use crate::tree::{Node, Tree};
use crate::{FileKind, Origin, Result};

/// A file in more pieces than this has no layout that is worth keeping.
const MAX_PARTS: usize = 4096;

/// A file's size, and what decides each of its bytes. What no part covers reads as zeros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    size: u64,
    /// In the order of the file: where a run begins, how long it is, and how many of the origins are its own.
    runs: Box<[(u64, u64, u32)]>,
    origins: Box<[Origin]>,
}

impl Layout {
    /// Whether the file has the same content at the other point: both have it in the same places, and these are
    /// unchanged. False says nothing.
    pub fn is_same_as(&self, other: &Layout, known: &dyn Unchanged) -> bool {
        self == other && all_unchanged(&self.origins, known)
    }

    /// Bytes of memory that it takes.
    pub fn cost(&self) -> usize {
        size_of::<Layout>() + size_of_val(&*self.runs) + size_of_val(&*self.origins)
    }
}

/// The layout of a regular file. `None` where the disks alone do not decide its content as it is (it is stored inside of
/// metadata, compressed, or in a journal), or where it lies in too many pieces.
///
/// # Errors
/// Why the file can't be read.
pub fn layout(tree: &Tree, node: Node) -> Result<Option<Layout>> {
    let (fs, id) = tree.file(node)?;
    let stat = fs.stat(id)?;
    if stat.kind != FileKind::File {
        return Ok(None);
    }
    let device = tree.volume_of(node).and_then(|volume| volume.devices.first());
    let ranges = device_ranges(&*fs, id)?;
    let Some(device) = device.filter(|_| ranges.complete && ranges.ranges.len() <= MAX_PARTS) else {
        return Ok(None);
    };
    let (mut runs, mut origins) = (Vec::with_capacity(ranges.ranges.len()), Vec::new());
    for range in ranges.ranges {
        let before = origins.len();
        if !device.origins(range.device, range.length, &mut origins) || origins.len() > MAX_PARTS {
            return Ok(None);
        }
        runs.push((range.file, range.length, (origins.len() - before) as u32));
    }
    Ok(Some(Layout { size: stat.size, runs: runs.into(), origins: origins.into() }))
}
