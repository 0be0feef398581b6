//! The hashes of LUKS, by the names of the kernel's crypto API.

use pbkdf2::pbkdf2_hmac;
use ripemd::Ripemd160;
use sha1::Sha1;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};
use whirlpool::Whirlpool;

/// A hash function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// 160 bits; LUKS1's old default.
    Sha1,
    /// 224 bits.
    Sha224,
    /// 256 bits; the default.
    Sha256,
    /// 384 bits.
    Sha384,
    /// 512 bits.
    Sha512,
    /// 160 bits.
    Ripemd160,
    /// 512 bits.
    Whirlpool,
}

macro_rules! with {
    ($hash:expr, $type:ident => $body:expr) => {
        match $hash {
            Hash::Sha1 => {
                type $type = Sha1;
                $body
            }
            Hash::Sha224 => {
                type $type = Sha224;
                $body
            }
            Hash::Sha256 => {
                type $type = Sha256;
                $body
            }
            Hash::Sha384 => {
                type $type = Sha384;
                $body
            }
            Hash::Sha512 => {
                type $type = Sha512;
                $body
            }
            Hash::Ripemd160 => {
                type $type = Ripemd160;
                $body
            }
            Hash::Whirlpool => {
                type $type = Whirlpool;
                $body
            }
        }
    };
}

impl Hash {
    /// The hash of this name.
    ///
    /// # Errors
    /// The name in a sentence, where it is not one of these.
    pub fn named(name: &str) -> Result<Self, String> {
        Ok(match name {
            "sha1" => Hash::Sha1,
            "sha224" => Hash::Sha224,
            "sha256" => Hash::Sha256,
            "sha384" => Hash::Sha384,
            "sha512" => Hash::Sha512,
            "ripemd160" => Hash::Ripemd160,
            "whirlpool" => Hash::Whirlpool,
            other => return Err(format!("the hash {other} is not supported")),
        })
    }

    /// The hash of `parts`, one after another.
    pub fn digest(self, parts: &[&[u8]]) -> Vec<u8> {
        with!(self, D => {
            let mut state = D::new();
            for part in parts {
                state.update(part);
            }
            state.finalize().to_vec()
        })
    }

    /// Bytes of a hash.
    pub fn length(self) -> usize {
        with!(self, D => <D as Digest>::output_size())
    }

    /// Fills `key` by PBKDF2 with HMAC of this hash (RFC 8018).
    pub fn pbkdf2(self, password: &[u8], salt: &[u8], iterations: u32, key: &mut [u8]) {
        with!(self, D => pbkdf2_hmac::<D>(password, salt, iterations, key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_names() {
        for (name, length) in [
            ("sha1", 20),
            ("sha224", 28),
            ("sha256", 32),
            ("sha384", 48),
            ("sha512", 64),
            ("ripemd160", 20),
            ("whirlpool", 64),
        ] {
            let hash = Hash::named(name).unwrap();
            assert_eq!((hash.length(), hash.digest(&[b"a", b"b"]).len()), (length, length));
            assert_eq!(hash.digest(&[b"a", b"b"]), hash.digest(&[b"ab"]));
        }
        assert_eq!(Hash::named("md5").unwrap_err(), "the hash md5 is not supported");
    }

    #[test]
    fn pbkdf2_as_in_rfc_6070() {
        let mut key = [0; 20];
        Hash::Sha1.pbkdf2(b"password", b"salt", 2, &mut key);
        assert_eq!(key[..6], [0xea, 0x6c, 0x01, 0x4d, 0xc7, 0x2d]);
    }
}
