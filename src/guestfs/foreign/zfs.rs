//! A device of a ZFS pool (*ZFS On-Disk Specification*, 2006, sections 1.2 and 1.3).

use super::{Foreign, peek};
use crate::device::ReadAt;
use crate::{Fields, Result};

/// The magic number of an uberblock, in either byte order.
const MAGIC: u64 = 0x00BA_B10C;

/// How many uberblocks are believed, as `blkid` does.
const WANTED: usize = 4;

/// A label, of which there are two at the beginning.
const LABEL: u64 = 256 << 10;

/// Where a label keeps the description of the pool.
const PAIRS: u64 = 16 << 10;

/// The first pairs of a label are looked through for the pool's name.
const PAIRS_LENGTH: usize = 4096;

/// A member of a pool, with the pool's name and number.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io).
pub(super) fn recognise(device: &dyn ReadAt) -> Result<Option<Foreign>> {
    let mut found = 0;
    for label in [0, LABEL] {
        let Some(blocks) = peek(device, label + LABEL / 2, LABEL as usize / 2)? else { break };
        found += blocks
            .chunks(1024)
            .filter_map(|block| block.first_chunk())
            .filter(|magic| u64::from_le_bytes(**magic) == MAGIC || u64::from_be_bytes(**magic) == MAGIC)
            .count();
        if found >= WANTED {
            let mut foreign = Foreign::of("zfs_member");
            if let Some(pairs) = peek(device, label + PAIRS, PAIRS_LENGTH)? {
                // What can't be read of it is left out.
                let _ = describe(&Fields::new("the pairs of a ZFS label", &pairs), &mut foreign);
            }
            return Ok(Some(foreign));
        }
    }
    Ok(None)
}

/// Looks for the pool's name and number in a list of pairs: encoding (4 bytes), version and flags, and of each pair its
/// size, its size in memory, its name, its type and its number of values, all as XDR writes them.
fn describe(pairs: &Fields<'_>, foreign: &mut Foreign) -> Result<()> {
    let mut at = 12;
    loop {
        let size = pairs.be32(at)? as usize;
        if size < 20 {
            return Ok(());
        }
        let pair = pairs.part(at, size)?;
        let length = pair.be32(8)? as usize;
        let name = pair.bytes(12, length)?;
        let value = 12 + length.next_multiple_of(4);
        match (name, pair.be32(value)?) {
            (b"name", 9) => {
                let length = pair.be32(value + 8)? as usize;
                foreign.label = Some(String::from_utf8_lossy(pair.bytes(value + 12, length)?).into_owned());
            }
            (b"pool_guid", 8) => foreign.uuid = Some(pair.be64(value + 8)?.to_string()),
            _ => {}
        }
        at += size;
    }
}
