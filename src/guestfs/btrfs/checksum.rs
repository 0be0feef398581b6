//! The four checksums of btrfs, over metadata blocks and sectors of data, and the hash of names.

use crate::{Error, Result};
use blake2::Blake2b;
use blake2::digest::Digest;
use blake2::digest::consts::U32;
use sha2::Sha256;
use twox_hash::XxHash64;

/// Which checksum a file system uses (`csum_type` of the superblock).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksum {
    Crc32c,
    XxHash64,
    Sha256,
    /// BLAKE2b with 32 bytes of output.
    Blake2b,
}

/// A checksum's bytes, the rest of the 32 being zero.
pub type Sum = [u8; 32];

impl Checksum {
    /// # Errors
    /// [`Error::Unsupported`] for a number that is not known.
    pub fn from_number(number: u16) -> Result<Self> {
        Ok(match number {
            0 => Checksum::Crc32c,
            1 => Checksum::XxHash64,
            2 => Checksum::Sha256,
            3 => Checksum::Blake2b,
            _ => return Err(Error::unsupported(format!("btrfs with the checksum of number {number}"))),
        })
    }

    /// How many bytes of a [`Sum`] count.
    pub fn length(self) -> usize {
        match self {
            Checksum::Crc32c => 4,
            Checksum::XxHash64 => 8,
            Checksum::Sha256 | Checksum::Blake2b => 32,
        }
    }

    /// The checksum of `bytes`.
    pub fn of(self, bytes: &[u8]) -> Sum {
        let mut sum = [0; 32];
        match self {
            Checksum::Crc32c => sum[..4].copy_from_slice(&crc32c::crc32c(bytes).to_le_bytes()),
            Checksum::XxHash64 => sum[..8].copy_from_slice(&XxHash64::oneshot(0, bytes).to_le_bytes()),
            Checksum::Sha256 => sum.copy_from_slice(&Sha256::digest(bytes)),
            Checksum::Blake2b => sum.copy_from_slice(&Blake2b::<U32>::digest(bytes)),
        }
        sum
    }
}

/// The hash under which an entry of a folder or an extended attribute is stored: a CRC32c from the state `!1`, without
/// the last inversion.
pub fn name_hash(name: &[u8]) -> u64 {
    u64::from(!crc32c::crc32c_append(1, name))
}

/// The hash under which a further name of an inode is stored (`INODE_EXTREF`).
pub fn extref_hash(parent: u64, name: &[u8]) -> u64 {
    u64::from(!crc32c::crc32c_append(!(parent as u32), name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_hashes_are_those_of_the_kernel() {
        // From `btrfs inspect-internal dump-tree` of any file system: the entry of the default subvolume.
        assert_eq!(name_hash(b"default"), 2378154706);
        assert_eq!(name_hash(b""), 0xffff_fffe);
    }

    #[test]
    fn checksums_are_those_of_their_specifications() {
        assert_eq!(Checksum::Crc32c.of(b"123456789")[..4], 0xe306_9283_u32.to_le_bytes());
        assert_eq!(Checksum::XxHash64.of(b"")[..8], 0xef46_db37_51d8_e999_u64.to_le_bytes());
        assert_eq!(Checksum::Sha256.of(b"abc")[..4], [0xba, 0x78, 0x16, 0xbf]);
        assert_eq!(Checksum::Blake2b.of(b"")[..4], [0x0e, 0x57, 0x51, 0xc0]);
    }
}
