//! What version 5 writes into every block of metadata: a checksum, its place, its file system, its owner.

use crate::xfs::superblock::Superblock;
use crate::{Error, Result};

/// CRC32c of `bytes` with the four bytes at `at` counted as zeros.
pub(super) fn checksum(bytes: &[u8], at: usize) -> u32 {
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..at]), &[0; 4]);
    crc32c::crc32c_append(crc, &bytes[at + 4..])
}

/// Checks the little-endian CRC32c at `at`.
pub(super) fn verify(bytes: &[u8], at: usize) -> Result<(), String> {
    let Some(stored) = bytes.get(at..at + 4) else {
        return Err("there is no room for its checksum".into());
    };
    let computed = checksum(bytes, at);
    if stored != computed.to_le_bytes() {
        return Err("its checksum does not match".into());
    }
    Ok(())
}

/// Writes the checksum at `at` anew.
pub(super) fn seal(bytes: &mut [u8], at: usize) {
    let computed = checksum(bytes, at);
    bytes[at..at + 4].copy_from_slice(&computed.to_le_bytes());
}

/// Where the fields of a header of version 5 lie; all sit at fixed places of their structure.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub crc: usize,
    pub block: usize,
    pub lsn: usize,
    pub uuid: usize,
    pub owner: usize,
}

impl Header {
    /// `xfs_dir3_blk_hdr`: blocks of data and free space of folders.
    pub const DIRECTORY: Header = Header { crc: 4, block: 8, lsn: 16, uuid: 24, owner: 40 };
    /// `xfs_da3_blkinfo`: nodes and leaves of folders and attributes.
    pub const NODE: Header = Header { crc: 12, block: 16, lsn: 24, uuid: 32, owner: 48 };
    /// `xfs_btree_lblock` with its long pointers.
    pub const LONG_BTREE: Header = Header { crc: 64, block: 24, lsn: 32, uuid: 40, owner: 56 };
    /// `xfs_btree_sblock`; its owner is an allocation group.
    pub const SHORT_BTREE: Header = Header { crc: 52, block: 16, lsn: 24, uuid: 32, owner: 48 };
    /// `xfs_dsymlink_hdr` and `xfs_attr3_rmt_hdr`.
    pub const REMOTE: Header = Header { crc: 12, block: 40, lsn: 48, uuid: 16, owner: 32 };

    /// Checks all of it: `bytes` is the block that was read at byte `offset` for inode `owner`.
    pub fn verify(
        &self,
        superblock: &Superblock,
        what: &str,
        bytes: &[u8],
        offset: u64,
        owner: u64,
    ) -> Result<()> {
        let structure = || format!("{what} of inode {owner} at byte {offset}");
        verify(bytes, self.crc).map_err(|reason| Error::corrupt(structure(), reason))?;
        let fields = crate::Fields::new("a block of metadata", bytes);
        if fields.array::<16>(self.uuid)? != superblock.meta_uuid {
            return Err(Error::corrupt(structure(), "it belongs to another file system"));
        }
        let place = fields.be64(self.block)?;
        if place != offset >> 9 {
            return Err(Error::corrupt(structure(), format!("it was written for sector {place}")));
        }
        let found = fields.be64(self.owner)?;
        if found != owner {
            return Err(Error::corrupt(structure(), format!("it belongs to inode {found}")));
        }
        Ok(())
    }
}
