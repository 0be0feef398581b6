//! Sectors decrypted: AES, Serpent and Twofish in the modes XTS and CBC, with the initial vectors of dm-crypt (Linux
//! `Documentation/admin-guide/device-mapper/dm-crypt.rst`, IEEE 1619).

use super::hash::Hash;
use aes::{Aes128, Aes192, Aes256};
use cipher::array::Array;
use cipher::consts::U16;
use cipher::{BlockCipherDecrypt, BlockCipherEncrypt, BlockSizeUser, KeyInit};
use serpent::Serpent;
use twofish::Twofish;

type Block = Array<u8, U16>;

/// Blocks that are decrypted at once: enough for the processor's pipeline.
const BATCH: usize = 32;

/// What decrypts whole sectors.
pub trait Sectors: Send + Sync {
    /// Decrypts `sector`, whose number in units of 512 bytes is `number`, in place.
    fn decrypt(&self, sector: &mut [u8], number: u64);
}

/// The cipher that `spec` names as dm-crypt does (`aes-xts-plain64`), with its key.
///
/// # Errors
/// What of it is not supported, in a sentence.
pub fn new(spec: &str, key: &[u8]) -> Result<Box<dyn Sectors>, String> {
    let unsupported = || format!("the cipher {spec} with a key of {} bits is not supported", key.len() * 8);
    let mut parts = spec.splitn(3, '-');
    let (Some(name), Some(mode), Some(vector)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(unsupported());
    };
    let vector = match vector.split_once(':') {
        None if vector == "plain64" => Vector::Plain64,
        None if vector == "plain" => Vector::Plain,
        Some(("essiv", hash)) if mode == "cbc" => {
            // The hash of the key is the key of another one of the same cipher.
            let salt = zeroize::Zeroizing::new(Hash::named(hash)?.digest(&[key]));
            Vector::Essiv(one_block(name, &salt).ok_or_else(unsupported)?)
        }
        _ => return Err(unsupported()),
    };
    // XTS has a key for its tweak behind that for the data.
    let length = if mode == "xts" { key.len() / 2 } else { key.len() };
    match (name, length) {
        ("aes", 16) => build::<Aes128>(mode, vector, key),
        ("aes", 24) => build::<Aes192>(mode, vector, key),
        ("aes", 32) => build::<Aes256>(mode, vector, key),
        ("serpent", 16 | 24 | 32) => build::<Serpent>(mode, vector, key),
        ("twofish", 16 | 24 | 32) => build::<Twofish>(mode, vector, key),
        _ => None,
    }
    .ok_or_else(unsupported)
}

/// A cipher that encrypts single blocks.
trait OneBlock: Send + Sync {
    fn encrypt(&self, block: &mut Block);
}

impl<C: BlockCipherEncrypt<BlockSize = U16> + Send + Sync> OneBlock for C {
    fn encrypt(&self, block: &mut Block) {
        self.encrypt_block(block);
    }
}

fn one_block(name: &str, key: &[u8]) -> Option<Box<dyn OneBlock>> {
    Some(match (name, key.len()) {
        ("aes", 16) => Box::new(Aes128::new_from_slice(key).ok()?),
        ("aes", 24) => Box::new(Aes192::new_from_slice(key).ok()?),
        ("aes", 32) => Box::new(Aes256::new_from_slice(key).ok()?),
        ("serpent", 16 | 24 | 32) => Box::new(Serpent::new_from_slice(key).ok()?),
        ("twofish", 16 | 24 | 32) => Box::new(Twofish::new_from_slice(key).ok()?),
        _ => return None,
    })
}

fn build<C>(mode: &str, vector: Vector, key: &[u8]) -> Option<Box<dyn Sectors>>
where
    C: BlockCipherDecrypt
        + BlockCipherEncrypt
        + BlockSizeUser<BlockSize = U16>
        + KeyInit
        + Send
        + Sync
        + 'static,
{
    match mode {
        "xts" if key.len().is_multiple_of(2) => {
            let (data, tweak) = key.split_at(key.len() / 2);
            let (data, tweak) = (C::new_from_slice(data).ok()?, C::new_from_slice(tweak).ok()?);
            Some(Box::new(Xts { data, tweak, vector }))
        }
        "cbc" => Some(Box::new(Cbc { data: C::new_from_slice(key).ok()?, vector })),
        _ => None,
    }
}

/// How a sector's number becomes its initial vector.
enum Vector {
    /// The lower 32 bits, little-endian.
    Plain,
    /// 64 bits, little-endian.
    Plain64,
    /// The same, encrypted.
    Essiv(Box<dyn OneBlock>),
}

impl Vector {
    fn of(&self, number: u64) -> Block {
        let mut block = Block::default();
        match self {
            Vector::Plain => block[..4].copy_from_slice(&(number as u32).to_le_bytes()),
            Vector::Plain64 | Vector::Essiv(_) => block[..8].copy_from_slice(&number.to_le_bytes()),
        }
        if let Vector::Essiv(cipher) = self {
            cipher.encrypt(&mut block);
        }
        block
    }
}

fn xor(block: &mut Block, other: &Block) {
    let bytes = |block: &Block| u128::from_ne_bytes((*block).into());
    *block = (bytes(block) ^ bytes(other)).to_ne_bytes().into();
}

/// XEX with a tweak for each block; sectors are whole blocks, so nothing is stolen.
struct Xts<C> {
    data: C,
    tweak: C,
    vector: Vector,
}

impl<C> Sectors for Xts<C>
where
    C: BlockCipherDecrypt + BlockCipherEncrypt + BlockSizeUser<BlockSize = U16> + Send + Sync,
{
    fn decrypt(&self, sector: &mut [u8], number: u64) {
        let mut start = self.vector.of(number);
        self.tweak.encrypt_block(&mut start);
        let mut tweak = u128::from_le_bytes(start.into());
        let (blocks, _) = Block::slice_as_chunks_mut(sector);
        let mut tweaks = [Block::default(); BATCH];
        for batch in blocks.chunks_mut(BATCH) {
            for (block, kept) in batch.iter_mut().zip(&mut tweaks) {
                *kept = tweak.to_le_bytes().into();
                xor(block, kept);
                // Multiplication by x in GF(2^128).
                tweak = (tweak << 1) ^ (0x87 & (tweak >> 127).wrapping_neg());
            }
            self.data.decrypt_blocks(batch);
            for (block, kept) in batch.iter_mut().zip(&tweaks) {
                xor(block, kept);
            }
        }
    }
}

/// Each block depends on the one before it.
struct Cbc<C> {
    data: C,
    vector: Vector,
}

impl<C> Sectors for Cbc<C>
where
    C: BlockCipherDecrypt + BlockSizeUser<BlockSize = U16> + Send + Sync,
{
    fn decrypt(&self, sector: &mut [u8], number: u64) {
        let mut before = self.vector.of(number);
        let (blocks, _) = Block::slice_as_chunks_mut(sector);
        let mut encrypted = [Block::default(); BATCH];
        for batch in blocks.chunks_mut(BATCH) {
            let encrypted = &mut encrypted[..batch.len()];
            encrypted.copy_from_slice(batch);
            self.data.decrypt_blocks(batch);
            for (block, encrypted) in batch.iter_mut().zip(encrypted) {
                xor(block, &before);
                before = *encrypted;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_supported_is_named() {
        for (spec, key) in [
            ("aes-xts-plain64", 24),
            ("aes-xts-essiv:sha256", 32),
            ("aes-cbc-essiv:md5", 32),
            ("aes-cbc-essiv:sha1", 32),
            ("aes-lrw-benbi", 32),
            ("cipher_null-ecb", 0),
            ("capi:adiantum(xchacha12,aes)-plain64", 32),
            ("aes-xts-random", 32),
            ("camellia-xts-plain64", 64),
            ("", 32),
        ] {
            let reason = new(spec, &vec![1; key]).err().unwrap();
            assert!(reason.ends_with("is not supported"), "{spec}: {reason}");
        }
    }

    #[test]
    fn xts_as_in_ieee_1619() {
        // Vector 2 of annex B: keys of 0x11 and 0x22, sector 0x3333333333, 32 bytes of 0x44.
        let mut key = [0x11; 32];
        key[16..].fill(0x22);
        let mut sector: [u8; 32] = [
            0xc4, 0x54, 0x18, 0x5e, 0x6a, 0x16, 0x93, 0x6e, 0x39, 0x33, 0x40, 0x38, 0xac, 0xef, 0x83, 0x8b,
            0xfb, 0x18, 0x6f, 0xff, 0x74, 0x80, 0xad, 0xc4, 0x28, 0x93, 0x82, 0xec, 0xd6, 0xd3, 0x94, 0xf0,
        ];
        new("aes-xts-plain64", &key).unwrap().decrypt(&mut sector, 0x33_3333_3333);
        assert_eq!(sector, [0x44; 32]);
    }
}
