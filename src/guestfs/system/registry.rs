//! Registry hives of Windows: keys and values by path, read-only (regf; M. Suhanov, *Windows registry file format
//! specification*; no official document exists).
//!
//! A hive is a base block of 4096 bytes and cells behind it, which refer to each other by their offsets from byte 4096.
//! Keys (`nk`) have lists of subkeys (`lf`, `lh`, `li`, and `ri` over those) and of values (`vk`), whose data is in a
//! cell of its own, inside of the `vk` where it has at most four bytes, or in pieces (`db`) where it is large.
//!
//! Everything is bounded: the size of a cell, the number of subkeys and values looked at, the data of a value. Nothing
//! recurses but `ri` into the lists it names. A transaction log beside the hive is not applied:
//! [`dirty`](Hive::dirty) tells that there may be one.

mod cell;
mod key;
mod value;

#[cfg(test)]
pub(super) mod tests;

pub use key::Key;
pub use value::{Kind, Value};

use crate::cache::Cache;
use crate::{Device, Error, Fields, Result, read_vec};
use std::sync::Arc;

/// Where the cells begin: the size of the base block.
const CELLS: u64 = 4096;
/// Bytes that are read at once.
const BLOCK: u64 = 16 << 10;
/// Bytes of a hive that are kept in memory.
const CACHE: usize = 4 << 20;

/// An opened hive.
pub struct Hive {
    device: Device,
    /// The end of the last cell, from the beginning of the file.
    end: u64,
    root: u32,
    dirty: bool,
    /// Whether large values are in pieces: since version 1.4.
    pieces: bool,
    blocks: Cache<u64, Arc<Vec<u8>>>,
}

impl Hive {
    /// Opens a hive and finds its root key.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where it is none, or its base block is damaged; [`Error::Unsupported`] for a version that
    /// nobody has seen.
    pub fn open(device: Device) -> Result<Hive> {
        let head = read_vec(&*device, 0, 512)?;
        let fields = Fields::new("the base block of the hive", &head);
        if fields.bytes(0, 4)? != b"regf" {
            return Err(fields.corrupt("it does not begin with `regf`"));
        }
        let mut sum = (0..508).step_by(4).try_fold(0, |sum, at| Ok::<_, Error>(sum ^ fields.le32(at)?))?;
        sum = match sum {
            0 => 1,
            u32::MAX => u32::MAX - 1,
            sum => sum,
        };
        if sum != fields.le32(508)? {
            return Err(fields.corrupt("its checksum is wrong"));
        }
        let (major, minor) = (fields.le32(20)?, fields.le32(24)?);
        if major != 1 || !(2..=6).contains(&minor) {
            return Err(Error::unsupported(format!("version {major}.{minor} of the registry")));
        }
        let bins = u64::from(fields.le32(40)?);
        let end = CELLS.saturating_add(bins).min(device.size());
        let root = fields.le32(36)?;
        let dirty = fields.le32(4)? != fields.le32(8)?;
        Ok(Hive { device, end, root, dirty, pieces: minor > 3, blocks: Cache::new(CACHE) })
    }

    /// Whether the hive was not written to its end: its log may hold something newer.
    pub fn dirty(&self) -> bool {
        self.dirty
    }

    /// The root key.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where it is damaged.
    pub fn root(&self) -> Result<Key> {
        self.key_at(self.root)
    }

    /// The key that `path` names, with `\` between its names and none at its ends; case does not count.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is none; [`Error::Corrupt`] where something on the way is damaged.
    pub fn key(&self, path: &str) -> Result<Key> {
        let mut key = self.root()?;
        for name in path.split('\\').filter(|name| !name.is_empty()) {
            key = self.subkey(&key, name)?;
        }
        Ok(key)
    }

    /// `length` bytes at `offset` of the file, which must end with the cells.
    fn bytes(&self, offset: u64, length: usize) -> Result<Vec<u8>> {
        let end = offset.checked_add(length as u64).filter(|&end| end <= self.end);
        let end = end
            .ok_or_else(|| Error::corrupt("the hive", format!("it points outside of itself, to {offset}")))?;
        let mut out = Vec::with_capacity(length);
        let mut at = offset;
        while at < end {
            let start = at - at % BLOCK;
            let block = self.blocks.get_or(start, || {
                let size = (self.end - start).min(BLOCK) as usize;
                let block = read_vec(&*self.device, start, size)?;
                Ok::<_, Error>((Arc::new(block), size))
            })?;
            let from = (at - start) as usize;
            let to = block.len().min((end - start) as usize);
            out.extend_from_slice(&block[from..to]);
            at = start + to as u64;
        }
        Ok(out)
    }
}
