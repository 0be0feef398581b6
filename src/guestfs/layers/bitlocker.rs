//! BitLocker volumes, told by the signatures of their boot sectors (libyal's *BitLocker Drive Encryption format*,
//! "Volume header"). They are named, never opened.

use crate::Result;
use crate::device::{self, ReadAt};
use crate::layers::guid;
use crate::volume::Content;

/// The identity of the volume header since Windows 7, in the bytes' order.
const GUID: [u8; 16] =
    [0x3b, 0xd6, 0x67, 0x49, 0x29, 0x2e, 0xd8, 0x4a, 0x83, 0x99, 0xf6, 0xa3, 0x39, 0xe3, 0xd0, 0x01];
/// The same where only the used space is encrypted.
const GUID_USED_ONLY: [u8; 16] =
    [0x3b, 0x4d, 0xa8, 0x92, 0x80, 0xdd, 0x0e, 0x4d, 0x9e, 0x4e, 0xb1, 0xe3, 0x28, 0x4e, 0xae, 0xd8];

/// The volume as locked, where it is one of BitLocker or BitLocker To Go.
///
/// # Errors
/// Those of the reader below.
pub fn recognise(device: &dyn ReadAt) -> Result<Option<Content>> {
    if device.size() < 512 {
        return Ok(None);
    }
    let sector = device::read_vec(device, 0, 512)?;
    let guid_at = |at: usize| sector[at..at + 16] == GUID || sector[at..at + 16] == GUID_USED_ONLY;
    let fixed = &sector[3..11] == b"-FVE-FS-";
    let to_go = &sector[3..11] == b"MSWIN4.1" && guid_at(0x1a8);
    if !fixed && !to_go {
        return Ok(None);
    }
    // Where the first of three metadata blocks is, in bytes; before Windows 7 it was counted in clusters elsewhere.
    let at = match (to_go, guid_at(0xa0)) {
        (true, _) => Some(number(&sector[0x1b8..0x1c0])),
        (false, true) => Some(number(&sector[0xb0..0xb8])),
        (false, false) => None,
    };
    let uuid = match at {
        Some(at) if at.checked_add(96).is_some_and(|end| end <= device.size()) => {
            let block = device::read_vec(device, at, 96)?;
            // The block's header is 64 bytes long; the volume's identity is 16 bytes into the one after it.
            let mut volume = [0; 16];
            volume.copy_from_slice(&block[80..96]);
            (&block[0..8] == b"-FVE-FS-").then(|| guid::mixed(&volume))
        }
        _ => None,
    };
    let reason = "volumes of BitLocker are not opened".to_owned();
    Ok(Some(Content::Locked { kind: "BitLocker", uuid, reason }))
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryDevice;

    fn kind(image: Vec<u8>) -> Option<Option<String>> {
        match recognise(&MemoryDevice(image)).unwrap() {
            Some(Content::Locked { kind: "BitLocker", uuid, .. }) => Some(uuid),
            None => None,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn named_with_its_identity_where_that_is_found() {
        assert_eq!(kind(vec![0; 100]), None);
        assert_eq!(kind(vec![0; 4096]), None);
        let mut image = vec![0; 4096];
        image[3..11].copy_from_slice(b"-FVE-FS-");
        assert_eq!(kind(image.clone()), Some(None), "of Windows Vista");
        image[0xa0..0xb0].copy_from_slice(&GUID);
        image[0xb0..0xb8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(kind(image.clone()), Some(None), "its metadata is outside");
        image[0xb0..0xb8].copy_from_slice(&1024u64.to_le_bytes());
        image[1024..1032].copy_from_slice(b"-FVE-FS-");
        image[1024 + 80..1024 + 96].copy_from_slice(&[7; 16]);
        assert_eq!(kind(image), Some(Some("07070707-0707-0707-0707-070707070707".into())));
        let mut image = vec![0; 4096];
        image[3..11].copy_from_slice(b"MSWIN4.1");
        assert_eq!(kind(image.clone()), None, "a FAT of Windows 98");
        image[0x1a8..0x1b8].copy_from_slice(&GUID_USED_ONLY);
        assert_eq!(kind(image), Some(None), "To Go");
    }
}
