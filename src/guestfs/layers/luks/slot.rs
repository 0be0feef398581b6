//! A key slot: the volume key, encrypted by a key from a passphrase and split over stripes.

use super::cipher;
use super::derive::{Derivation, MAX_KEY};
use super::hash::Hash;
use super::split;
use crate::device::{self, ReadAt};
use zeroize::Zeroizing;

/// Bytes of the material of one slot: 4000 stripes of 64 bytes are 250 KiB.
const MAX_MATERIAL: usize = 4 << 20;

/// A key slot of either version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// How its key comes from a passphrase.
    pub derivation: Derivation,
    /// The salt of that.
    pub salt: Vec<u8>,
    /// What the material is encrypted with, as dm-crypt names it.
    pub cipher: String,
    /// Bytes of the key for that.
    pub cipher_key: usize,
    /// Bytes of the volume key.
    pub key: usize,
    /// Where the material is.
    pub offset: u64,
    /// Its stripes.
    pub stripes: usize,
    /// The hash that splits it.
    pub hash: Hash,
}

/// What proves a volume key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// How the digest comes from the key.
    pub derivation: Derivation,
    /// The salt of that.
    pub salt: Vec<u8>,
    /// The digest.
    pub digest: Vec<u8>,
}

impl Slot {
    /// The volume key that `passphrase` gives: not proved yet.
    ///
    /// # Errors
    /// Why the slot can't be tried, in a sentence.
    pub fn open(&self, device: &dyn ReadAt, passphrase: &[u8]) -> Result<Zeroizing<Vec<u8>>, String> {
        let length =
            self.key.checked_mul(self.stripes).filter(|&length| length > 0 && length <= MAX_MATERIAL);
        let length = length.filter(|_| self.key <= MAX_KEY).ok_or("a key slot has an impossible size")?;
        let key = self.derivation.key(passphrase, &self.salt, self.cipher_key)?;
        let sectors = cipher::new(&self.cipher, &key)?;
        let mut material = Zeroizing::new(vec![0; length.next_multiple_of(512)]);
        device::read_exact(device, &mut material, self.offset).map_err(|error| error.to_string())?;
        for (number, sector) in material.chunks_exact_mut(512).enumerate() {
            sectors.decrypt(sector, number as u64);
        }
        Ok(split::merge(&material, self.key, self.stripes, self.hash))
    }
}

impl Proof {
    /// Whether `key` is the volume key.
    pub fn accepts(&self, key: &[u8]) -> bool {
        !self.digest.is_empty()
            && self
                .derivation
                .key(key, &self.salt, self.digest.len())
                .is_ok_and(|digest| *digest == self.digest)
    }
}
