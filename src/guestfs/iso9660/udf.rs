//! UDF, as far as it takes to know one (ECMA-167, 2/8 and 3/8; OSTA UDF 2.60).

use super::descriptor::SECTOR;
use crate::device::{ReadAt, read_exact};
use crate::{Fields, Result};

/// Whether the volume recognition sequence has a UDF in it.
pub(super) fn is_there(device: &dyn ReadAt) -> Result<bool> {
    let mut identifier = [0; 6];
    for number in 16..80 {
        if device.size() < (number + 1) * SECTOR {
            break;
        }
        read_exact(device, &mut identifier, number * SECTOR)?;
        match &identifier[1..] {
            b"NSR02" | b"NSR03" => return Ok(true),
            b"TEA01" => break,
            _ => {}
        }
    }
    Ok(false)
}

/// The name of the logical volume, where it is easily found.
pub(super) fn label(device: &dyn ReadAt) -> Option<String> {
    [2048, 512, 4096].into_iter().find_map(|sector| {
        let anchor = descriptor(device, 256 * sector, 2)?;
        let fields = Fields::new("an anchor", &anchor);
        let first = u64::from(fields.le32(20).ok()?);
        let volume = (first..first + 16).find_map(|number| descriptor(device, number * sector, 6))?;
        dstring(&volume[84..212])
    })
}

/// The descriptor at byte `at`, where it has this tag.
fn descriptor(device: &dyn ReadAt, at: u64, tag: u16) -> Option<[u8; 512]> {
    let mut bytes = [0; 512];
    device.read_at(&mut bytes, at).ok()?;
    let sum = bytes[..16]
        .iter()
        .enumerate()
        .filter(|(at, _)| *at != 4)
        .fold(0u8, |sum, (_, byte)| sum.wrapping_add(*byte));
    (bytes[..2] == tag.to_le_bytes() && bytes[4] == sum).then_some(bytes)
}

/// A string whose first byte says how many bits a character has, and whose last one how long it is.
fn dstring(bytes: &[u8]) -> Option<String> {
    let (&length, bytes) = bytes.split_last()?;
    let (&bits, text) = bytes.get(..usize::from(length))?.split_first()?;
    let text: String = match bits {
        8 => text.iter().map(|byte| char::from(*byte)).collect(),
        16 => {
            let units = text.as_chunks().0.iter().map(|unit| u16::from_be_bytes(*unit));
            char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
        }
        _ => return None,
    };
    (!text.is_empty()).then_some(text)
}
