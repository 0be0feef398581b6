//! The header of LUKS1 (*LUKS1 On-Disk Format Specification*, version 1.2.3).

use super::cipher;
use super::derive::{Derivation, MAX_KEY};
use super::hash::Hash;
use super::opened::{Encryption, Opened, Segment};
use super::slot::{Proof, Slot};
use crate::device::Device;
use crate::{Error, Fields, Result};
use std::sync::Arc;

/// Bytes of the header.
pub const LENGTH: usize = 592;
/// Stripes of a slot: cryptsetup makes 4000.
const MAX_STRIPES: u32 = 65536;

/// A header of LUKS1.
#[derive(Debug)]
pub struct Header {
    /// The container's identity.
    pub uuid: String,
    cipher: String,
    key: usize,
    payload: u64,
    proof: Proof,
    slots: Vec<Slot>,
}

/// A string in a field that zeros fill up.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|&byte| byte == 0).next().unwrap_or_default()).into_owned()
}

impl Header {
    /// Reads the header; the magic number was checked.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for what is impossible; [`Error::Unsupported`] for a hash that nothing here has.
    pub fn parse(bytes: &[u8]) -> Result<Header> {
        let fields = Fields::new("the LUKS1 header", bytes);
        let cipher = format!("{}-{}", text(fields.bytes(8, 32)?), text(fields.bytes(40, 32)?));
        let hash = Hash::named(&text(fields.bytes(72, 32)?)).map_err(Error::Unsupported)?;
        let key = fields.be32(108)? as usize;
        if key == 0 || key > MAX_KEY {
            return Err(fields.corrupt(format!("a key of {key} bytes")));
        }
        let mut slots = Vec::new();
        for at in (208..LENGTH).step_by(48) {
            match fields.be32(at)? {
                0x00ac_71f3 => {}
                0x0000_dead => continue,
                other => return Err(fields.corrupt(format!("a key slot in the state {other:#x}"))),
            }
            let stripes = fields.be32(at + 44)?;
            if stripes == 0 || stripes > MAX_STRIPES {
                return Err(fields.corrupt(format!("a key slot of {stripes} stripes")));
            }
            slots.push(Slot {
                derivation: Derivation::Pbkdf2 { hash, iterations: u64::from(fields.be32(at + 4)?) },
                salt: fields.bytes(at + 8, 32)?.to_vec(),
                cipher: cipher.clone(),
                cipher_key: key,
                key,
                offset: u64::from(fields.be32(at + 40)?) * 512,
                stripes: stripes as usize,
                hash,
            });
        }
        Ok(Header {
            uuid: text(fields.bytes(168, 40)?),
            key,
            payload: u64::from(fields.be32(104)?) * 512,
            proof: Proof {
                derivation: Derivation::Pbkdf2 { hash, iterations: u64::from(fields.be32(164)?) },
                salt: fields.bytes(132, 32)?.to_vec(),
                digest: fields.bytes(112, 20)?.to_vec(),
            },
            cipher,
            slots,
        })
    }

    /// Opens the container with the first of `keys` that fits.
    ///
    /// # Errors
    /// Why none opens it, in a sentence.
    pub fn unlock(&self, device: &Device, keys: &[Vec<u8>]) -> std::result::Result<Device, String> {
        if self.payload == 0 || self.payload >= device.size() {
            return Err("its header is a detached one: the data is elsewhere".into());
        }
        // What can't be decrypted anyhow is told before a key is tried.
        cipher::new(&self.cipher, &vec![0; self.key])?;
        let key =
            super::find_key(device.as_ref(), keys, &self.slots.iter().collect::<Vec<_>>(), &self.proof)?;
        let encryption = Encryption { sectors: cipher::new(&self.cipher, &key)?, sector: 512, first: 0 };
        let length = (device.size() - self.payload) / 512 * 512;
        let segment = Segment { start: 0, length, offset: self.payload, encryption: Some(encryption) };
        Ok(Arc::new(Opened::new(device.clone(), vec![segment])))
    }
}
