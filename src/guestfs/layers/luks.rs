//! LUKS1 and LUKS2: containers opened with a passphrase or the content of a key file.
//!
//! The volume key comes out of the first slot that a key fits, is proved by the header's digest, and is overwritten
//! when the container is closed. Reads decrypt exactly the sectors that are asked for. Refused by name: detached headers,
//! reencryption in progress, integrity protection, ciphers that are not AES, Serpent or Twofish in XTS or CBC.

mod cipher;
mod derive;
mod hash;
mod opened;
mod slot;
mod split;
mod version1;
mod version2;

use crate::device::{self, Device, ReadAt};
use crate::{Error, Fields, Result};
use slot::{Proof, Slot};
use zeroize::Zeroizing;

/// A container as its header describes it.
#[derive(Debug)]
pub enum Container {
    /// LUKS1.
    One(Box<version1::Header>),
    /// LUKS2.
    Two(Box<version2::Header>),
    /// One with a header that is whole, but needs something that is not supported.
    Refused(&'static str, String),
}

/// Whether a container begins on the device.
///
/// # Errors
/// Those of the reader below.
pub fn begins(device: &dyn ReadAt) -> Result<bool> {
    Ok(device.size() >= 4096 && device::read_vec(device, 0, 6)? == b"LUKS\xba\xbe")
}

/// The container that begins on the device.
///
/// # Errors
/// [`Error::Corrupt`] where its header is damaged; those of the reader below.
pub fn read(device: &dyn ReadAt) -> Result<Container> {
    let bytes = device::read_vec(device, 0, version1::LENGTH)?;
    let fields = Fields::new("the LUKS header", &bytes);
    let (kind, container) = match fields.be16(6)? {
        1 => ("LUKS1", version1::Header::parse(&bytes).map(|header| Container::One(Box::new(header)))),
        2 => ("LUKS2", version2::read(device).map(|header| Container::Two(Box::new(header)))),
        other => return Err(fields.corrupt(format!("version {other}"))),
    };
    match container {
        Err(Error::Unsupported(reason)) => Ok(Container::Refused(kind, reason)),
        container => container,
    }
}

/// A container of LUKS2 of which only the second header is left. To be asked last: where something else was written
/// over the container, that header may still be there.
///
/// # Errors
/// Those of the reader below.
pub fn read_second(device: &dyn ReadAt) -> Result<Option<Container>> {
    Ok(version2::second_alone(device)?.map(|header| Container::Two(Box::new(header))))
}

impl Container {
    /// `LUKS1` or `LUKS2`.
    pub fn kind(&self) -> &'static str {
        match self {
            Container::One(_) => "LUKS1",
            Container::Two(_) => "LUKS2",
            Container::Refused(kind, _) => kind,
        }
    }

    /// The identity.
    pub fn uuid(&self) -> Option<String> {
        let uuid = match self {
            Container::One(header) => &header.uuid,
            Container::Two(header) => &header.uuid,
            Container::Refused(..) => return None,
        };
        (!uuid.is_empty()).then(|| uuid.clone())
    }

    /// Opens the container with the first of `keys` that fits.
    ///
    /// # Errors
    /// Why none opens it, in a sentence.
    pub fn unlock(&self, device: &Device, keys: &[Vec<u8>]) -> std::result::Result<Device, String> {
        match self {
            Container::One(header) => header.unlock(device, keys),
            Container::Two(header) => header.unlock(device, keys),
            Container::Refused(_, reason) => Err(reason.clone()),
        }
    }
}

/// The volume key that one of `keys` gives in one of `slots`, and that `proof` accepts.
fn find_key(
    device: &dyn ReadAt,
    keys: &[Vec<u8>],
    slots: &[&Slot],
    proof: &Proof,
) -> std::result::Result<Zeroizing<Vec<u8>>, String> {
    if keys.is_empty() {
        return Err("no key was given".into());
    }
    let mut refused = None;
    for key in keys {
        for slot in slots {
            match slot.open(device, key) {
                Ok(found) if proof.accepts(&found) => return Ok(found),
                Ok(_) => {}
                Err(reason) => refused = Some(reason),
            }
        }
    }
    Err(refused.unwrap_or_else(|| "no key that was given fits".into()))
}
