//! Hashes of granules that come in any order and may come again, until they can be written as a manifest.
//!
//! A table on disk, 32 bytes a granule at the granule's place, sparse where nothing was kept. Its file has no name from
//! the moment it is made, so nothing of it is left whatever happens. Which granules it has hashes of is known to its
//! user, not to it.

use super::format::HASH;
use crate::gate::{Files, Gate};
use crate::{Error, RelPath, Result};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// A table of hashes in work.
#[derive(Debug)]
pub struct HashSheet {
    file: File,
    name: String,
}

impl HashSheet {
    /// A sheet on the file system of the manifest `path`, which is not made by this.
    pub(crate) fn create(gate: &Gate, path: &RelPath) -> Result<Self> {
        let partial = path.partial();
        let file = gate.create_new(&partial).map_err(Error::io("create", &partial))?;
        gate.remove(&partial).map_err(Error::io("remove", &partial))?;
        Ok(HashSheet { file, name: format!("the hashes for {path}") })
    }

    /// Keeps the hashes of granules from `first` on.
    ///
    /// # Errors
    /// Where they can't be kept.
    pub fn keep(&self, first: u64, hashes: &[[u8; HASH]]) -> block::Result<()> {
        let offset = self.place("write", first)?;
        let kept = self.file.write_all_at(hashes.as_flattened(), offset);
        kept.map_err(|source| self.failed("write", offset, source))
    }

    /// The hashes of `out.len()` granules from `first` on; anything for those that were not kept.
    ///
    /// # Errors
    /// Where they can't be read.
    pub fn read(&self, first: u64, out: &mut [[u8; HASH]]) -> block::Result<()> {
        let mut rest = out.as_flattened_mut();
        let mut offset = self.place("read", first)?;
        while !rest.is_empty() {
            match self.file.read_at(rest, offset) {
                // Behind the last one that was kept.
                Ok(0) => break,
                Ok(read) => {
                    rest = &mut rest[read..];
                    offset += read as u64;
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(source) => return Err(self.failed("read", offset, source)),
            }
        }
        Ok(())
    }

    fn place(&self, operation: &'static str, first: u64) -> block::Result<u64> {
        let too_far = || self.failed(operation, u64::MAX, std::io::ErrorKind::InvalidInput.into());
        first.checked_mul(HASH as u64).filter(|at| *at <= i64::MAX as u64).ok_or_else(too_far)
    }

    fn failed(&self, operation: &'static str, offset: u64, source: std::io::Error) -> block::Error {
        block::Error::Io { operation, name: self.name.clone(), offset, source }
    }
}
