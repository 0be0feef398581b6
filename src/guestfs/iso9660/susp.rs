//! The System Use Sharing Protocol: entries behind the name of a record, and in continuation areas (IEEE P1281).

use super::both::both32;
use crate::pages::Pages;
use crate::{Error, Fields, Result};

/// How many continuation areas one record may have.
const MAX_AREAS: usize = 32;

/// The largest continuation area, in bytes.
const MAX_AREA: u32 = 4096;

/// Calls `visit` with every entry of a record: its signature and all of it, header included.
///
/// # Errors
/// [`Error::Corrupt`] where entries don't fit, or there are more areas than allowed; those of `visit`.
pub(super) fn entries(
    disc: &Pages,
    block_size: u32,
    system_use: &[u8],
    visit: &mut dyn FnMut([u8; 2], Fields<'_>) -> Result<()>,
) -> Result<()> {
    let mut area = system_use.to_vec();
    for _ in 0..=MAX_AREAS {
        let mut next = None;
        let mut rest = &area[..];
        // At the end there may be up to three bytes that are no entry, and a sector's end in zeros.
        while let [first, second, length, _, ..] = *rest {
            if [first, second] == [0, 0] {
                break;
            }
            let length = usize::from(length);
            let Some((entry, after)) = rest.split_at_checked(length).filter(|_| length >= 4) else {
                return Err(Error::corrupt(
                    "a system use area",
                    format!("an entry of {length} bytes, where {} are left", rest.len()),
                ));
            };
            rest = after;
            let fields = Fields::new("a system use entry", entry);
            match [first, second] {
                [b'C', b'E'] => {
                    next = Some((both32(&fields, 4)?, both32(&fields, 12)?, both32(&fields, 20)?));
                }
                [b'S', b'T'] => break,
                signature => visit(signature, fields)?,
            }
        }
        let Some((block, offset, length)) = next else { return Ok(()) };
        if length > MAX_AREA {
            return Err(Error::corrupt("a system use area", format!("it is continued by {length} bytes")));
        }
        area = vec![0; length as usize];
        disc.read(u64::from(block) * u64::from(block_size) + u64::from(offset), &mut area)?;
    }
    Err(Error::corrupt("a system use area", format!("it is continued more than {MAX_AREAS} times")))
}

/// Whether a root folder's own record says that the protocol is used: where the entries begin in it, and in every other
/// record.
pub(super) fn announced(system_use: &[u8]) -> Option<(usize, usize)> {
    // Discs of the form CD-ROM XA have 14 bytes of their own there.
    [0, 14].into_iter().find_map(|at| match system_use.get(at..at + 7) {
        Some([b'S', b'P', length, 1, 0xBE, 0xEF, skipped]) if *length >= 7 => {
            Some((at, usize::from(*skipped)))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryDevice;
    use std::sync::Arc;

    fn both(number: u32) -> Vec<u8> {
        [number.to_le_bytes(), number.to_be_bytes()].concat()
    }

    fn continued(block: u32, offset: u32, length: u32) -> Vec<u8> {
        [b"CE\x1C\x01".to_vec(), both(block), both(offset), both(length)].concat()
    }

    fn all(disc: &[u8], area: &[u8]) -> Result<Vec<String>> {
        let length = disc.len() as u64;
        let pages = Pages::new(Arc::new(MemoryDevice(disc.to_vec())), 0, length, 2048, 1 << 16);
        let mut found = Vec::new();
        entries(&pages, 2048, area, &mut |signature, fields| {
            found.push(format!("{}{}", String::from_utf8_lossy(&signature), fields.len()));
            Ok(())
        })?;
        Ok(found)
    }

    #[test]
    fn entries_go_on_in_other_areas() {
        let mut disc = vec![0; 6000];
        disc[5000..5011].copy_from_slice(b"NM\x06\x01\0xAA\x05\x01\0");
        let area = [continued(2, 904, 11), b"PX\x04\x01\0\0".to_vec()].concat();
        assert_eq!(all(&disc, &area).unwrap(), ["PX4", "NM6", "AA5"]);
        assert_eq!(all(&disc, b"ST\x04\x01PX\x04\x01").unwrap(), [""; 0]);
        assert!(all(&disc, b"PX\x09\x01\0").is_err(), "too long");
        assert!(all(&disc, b"PX\x03\x01\0").is_err(), "too short");
        assert!(all(&disc, &continued(2, 904, 1 << 20)).is_err(), "too much");
        assert!(all(&disc, &continued(3, 0, 11)).is_err(), "past the end");
        let loops = continued(0, 0, 28);
        disc[..28].copy_from_slice(&loops);
        assert!(all(&disc, &loops).unwrap_err().to_string().contains("more than"), "a loop");
    }

    #[test]
    fn the_protocol_is_announced() {
        assert_eq!(announced(b"SP\x07\x01\xBE\xEF\x05"), Some((0, 5)));
        assert_eq!(announced(&[&[0; 14], &b"SP\x07\x01\xBE\xEF\x0E"[..]].concat()), Some((14, 14)));
        assert_eq!(announced(b"SP\x07\x01\xBE\xEE\x05"), None);
        assert_eq!(announced(b"SP"), None);
    }
}
