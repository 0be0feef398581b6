//! Keys from passphrases: PBKDF2 and Argon2 (RFC 8018, RFC 9106), bounded in time and memory.

use super::hash::Hash;
use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::Zeroizing;

/// Rounds of PBKDF2: two seconds of a fast machine are ten million.
const MAX_ITERATIONS: u64 = 200_000_000;
/// KiB of memory of Argon2: cryptsetup's own bound.
const MAX_MEMORY: u64 = 4 << 20;
/// Passes times KiB: about a minute.
const MAX_WORK: u64 = 64 << 20;
/// Bytes of a derived key: two keys of 256 bits for XTS, and room.
pub const MAX_KEY: usize = 512;

/// How a key comes from a passphrase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Derivation {
    /// PBKDF2.
    Pbkdf2 {
        /// Of which hash.
        hash: Hash,
        /// Rounds.
        iterations: u64,
    },
    /// Argon2i or Argon2id.
    Argon2 {
        /// Whether it is Argon2id.
        id: bool,
        /// Passes.
        time: u64,
        /// KiB.
        memory: u64,
        /// Lanes.
        lanes: u64,
    },
}

impl Derivation {
    /// The key of `length` bytes.
    ///
    /// # Errors
    /// Which bound it exceeds, in a sentence.
    pub fn key(&self, passphrase: &[u8], salt: &[u8], length: usize) -> Result<Zeroizing<Vec<u8>>, String> {
        if length == 0 || length > MAX_KEY {
            return Err(format!("a key of {length} bytes is not supported"));
        }
        let mut key = Zeroizing::new(vec![0; length]);
        match *self {
            Derivation::Pbkdf2 { hash, iterations } => {
                let iterations =
                    u32::try_from(iterations).ok().filter(|&n| n > 0 && u64::from(n) <= MAX_ITERATIONS);
                let iterations = iterations.ok_or("its key derivation has an impossible number of rounds")?;
                hash.pbkdf2(passphrase, salt, iterations, &mut key);
            }
            Derivation::Argon2 { id, time, memory, lanes } => {
                if memory > MAX_MEMORY || time.checked_mul(memory).is_none_or(|work| work > MAX_WORK) {
                    return Err(format!("its key derivation asks for {} MiB in {time} passes", memory >> 10));
                }
                let number = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
                let params = Params::new(number(memory), number(time), number(lanes), Some(length))
                    .map_err(|error| format!("its key derivation is impossible: {error}"))?;
                let mut blocks: Vec<Block> = Vec::new();
                blocks
                    .try_reserve_exact(params.block_count())
                    .map_err(|_| format!("its key derivation asks for {} MiB", memory >> 10))?;
                blocks.resize(params.block_count(), Block::default());
                let algorithm = if id { Algorithm::Argon2id } else { Algorithm::Argon2i };
                Argon2::new(algorithm, Version::V0x13, params)
                    .hash_password_into_with_memory(passphrase, salt, &mut key, &mut blocks[..])
                    .map_err(|error| format!("its key derivation failed: {error}"))?;
            }
        }
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_image_asks_for_is_bounded() {
        let argon = |time, memory, lanes| Derivation::Argon2 { id: true, time, memory, lanes };
        let salt = [1; 32];
        for derivation in [
            argon(4, MAX_MEMORY + 1, 1),
            argon(1 << 40, 1 << 10, 1),
            argon(u64::MAX, u64::MAX, 1),
            argon(1, 8, 1 << 30),
            argon(0, 8, 1),
            Derivation::Pbkdf2 { hash: Hash::Sha256, iterations: u64::from(u32::MAX) },
            Derivation::Pbkdf2 { hash: Hash::Sha256, iterations: 0 },
        ] {
            assert!(derivation.key(b"secret", &salt, 32).is_err(), "{derivation:?}");
        }
        let one = argon(1, 32, 4).key(b"secret", &salt, 32).unwrap();
        assert_ne!(one, argon(2, 32, 4).key(b"secret", &salt, 32).unwrap());
        assert!(argon(1, 32, 4).key(b"secret", &salt, MAX_KEY + 1).is_err());
    }
}
