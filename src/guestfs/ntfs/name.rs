//! Names: UTF-16 on the disk, and how the volume compares them. As bytes they are WTF-8 ([`wtf8`](crate::wtf8)).

use crate::{Error, Result};
use std::cmp::Ordering;

/// The UTF-16 units of little-endian bytes.
pub fn units(bytes: &[u8]) -> Vec<u16> {
    bytes.chunks_exact(2).map(|two| u16::from_le_bytes([two[0], two[1]])).collect()
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
