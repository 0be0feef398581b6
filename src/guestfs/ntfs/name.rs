//! Names: UTF-16 on the disk, bytes outside, and how the volume compares them.

use crate::{Error, Result};
use std::cmp::Ordering;

/// The UTF-16 units of little-endian bytes.
pub fn units(bytes: &[u8]) -> Vec<u16> {
    bytes.chunks_exact(2).map(|two| u16::from_le_bytes([two[0], two[1]])).collect()
}

/// UTF-16 as WTF-8: UTF-8, and a surrogate without its other half as the three bytes that it would have. No two names
/// give the same bytes.
pub fn to_bytes(units: &[u16]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(units.len());
    for unit in char::decode_utf16(units.iter().copied()) {
        match unit {
            Ok(char) => bytes.extend(char.encode_utf8(&mut [0; 4]).as_bytes()),
            Err(lone) => {
                let unit = lone.unpaired_surrogate();
                bytes.extend([
                    0xe0 | (unit >> 12) as u8,
                    0x80 | (unit >> 6 & 0x3f) as u8,
                    0x80 | (unit & 0x3f) as u8,
                ]);
            }
        }
    }
    bytes
}

/// The other way. `None` for bytes that [`to_bytes`] never gives: no name on the disk can be meant.
pub fn from_bytes(bytes: &[u8]) -> Option<Vec<u16>> {
    let mut units = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while !rest.is_empty() {
        let (good, bad) = match std::str::from_utf8(rest) {
            Ok(text) => (text, &[][..]),
            Err(error) => {
                let (good, bad) = rest.split_at(error.valid_up_to());
                (std::str::from_utf8(good).ok()?, bad)
            }
        };
        units.extend(good.encode_utf16());
        rest = match bad {
            [] => bad,
            &[0xed, second @ 0xa0..=0xbf, third @ 0x80..=0xbf, ref after @ ..] => {
                units.push(0xd000 | u16::from(second & 0x3f) << 6 | u16::from(third & 0x3f));
                after
            }
            _ => return None,
        };
    }
    // Two lone halves that make a pair have another form.
    (to_bytes(&units) == bytes).then_some(units)
}

/// Text for a person: what is no text is replaced.
pub fn to_text(units: &[u16]) -> String {
    String::from_utf16_lossy(units)
}

/// The volume's table of capital letters: `$UpCase`.
pub struct UpCase(Vec<u16>);

impl UpCase {
    /// The most bytes that the table has.
    pub const MAX_BYTES: usize = 131_072;

    /// From the content of `$UpCase`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where it is no table.
    pub fn new(bytes: &[u8]) -> Result<Self> {
        if bytes.len() < 512 || bytes.len() > Self::MAX_BYTES || !bytes.len().is_multiple_of(2) {
            return Err(Error::corrupt("$UpCase", format!("it has {} bytes", bytes.len())));
        }
        Ok(UpCase(units(bytes)))
    }

    fn of(&self, unit: u16) -> u16 {
        self.0.get(usize::from(unit)).copied().unwrap_or(unit)
    }

    /// COLLATION_FILE_NAME as an index orders its entries: by the capitals, then by length. Names that differ in case
    /// only are equal here.
    pub fn compare(&self, a: &[u16], b: &[u16]) -> Ordering {
        let differing =
            a.iter().zip(b).map(|(&a, &b)| self.of(a).cmp(&self.of(b))).find(|order| order.is_ne());
        differing.unwrap_or_else(|| a.len().cmp(&b.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lone_halves_survive() {
        let name = [0x61, 0xd83d, 0xde00, 0xd83d, 0x62, 0xde00];
        let bytes = to_bytes(&name);
        assert_eq!(bytes, b"a\xf0\x9f\x98\x80\xed\xa0\xbdb\xed\xb8\x80");
        assert_eq!(from_bytes(&bytes).unwrap(), name);
        // A pair in two parts, an overlong form, half a sequence, Latin-1.
        for none in [&b"\xed\xa0\xbd\xed\xb8\x80"[..], b"\xc0\xaf", b"a\xf0\x9f", b"\xe4", b"\xed\xa0"] {
            assert_eq!(from_bytes(none), None, "{none:?}");
        }
    }

    proptest! {
        #[test]
        fn every_name_there_and_back(name in prop::collection::vec(any::<u16>(), 0..20)) {
            prop_assert_eq!(from_bytes(&to_bytes(&name)), Some(name));
        }

        #[test]
        fn every_bytes_back_and_there(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
            if let Some(units) = from_bytes(&bytes) {
                prop_assert_eq!(to_bytes(&units), bytes);
            }
        }
    }

    #[test]
    fn compares_by_capitals() {
        let mut table: Vec<u8> = (0..256u16).flat_map(u16::to_le_bytes).collect();
        for small in b'a'..=b'z' {
            table[2 * usize::from(small)] = small - 32;
        }
        let upcase = UpCase::new(&table).unwrap();
        let compare = |a: &str, b: &str| {
            upcase.compare(&a.encode_utf16().collect::<Vec<_>>(), &b.encode_utf16().collect::<Vec<_>>())
        };
        assert_eq!(compare("Abc", "aBC"), Ordering::Equal);
        assert_eq!(compare("ab", "abc"), Ordering::Less);
        assert_eq!(compare("_", "a"), Ordering::Greater, "capitals come before the underscore");
        assert_eq!(compare("語", "a"), Ordering::Greater);
        assert!(UpCase::new(&[0; 100]).is_err() && UpCase::new(&vec![0; 131_074]).is_err());
    }
}
