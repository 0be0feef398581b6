//! The up-case table: how a volume compares names (specification, section 7.2).

use crate::fat::clusters::Clusters;
use crate::{Error, Result, wtf8};

/// The largest table: all code units, not compressed.
const MAX_BYTES: u64 = 1 << 17;

/// The capital of every code unit.
pub(super) struct UpCase(Box<[u16]>);

impl UpCase {
    /// No letter has a capital: names are compared as they are.
    pub(super) fn none() -> Self {
        UpCase((0..=u16::MAX).collect())
    }

    /// Reads the table that the slot `slot` of the root folder points to.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where its place, its size or its checksum is wrong; [`Error::Io`].
    pub(super) fn read(clusters: &Clusters, slot: &[u8; 32]) -> Result<UpCase> {
        let fields = crate::Fields::new("the up-case table", slot);
        let (sum, first, size) = (fields.le32(4)?, fields.le32(20)?, fields.le64(24)?);
        if size == 0 || size > MAX_BYTES || !size.is_multiple_of(2) {
            return Err(fields.corrupt(format!("it has {size} bytes")));
        }
        let mut bytes = vec![0; size as usize];
        let chain = clusters.chain(first)?;
        clusters.read(&chain, 0, &mut bytes)?;
        let found = bytes.iter().fold(0u32, |sum, byte| sum.rotate_right(1).wrapping_add(u32::from(*byte)));
        if found != sum {
            return Err(Error::corrupt("the up-case table", "its checksum does not fit"));
        }
        Ok(UpCase::decode(bytes.as_chunks().0.iter().map(|unit| u16::from_le_bytes(*unit))))
    }

    /// Undoes the compression: `0xFFFF` and a number stand for so many units that are their own capitals.
    fn decode(units: impl Iterator<Item = u16>) -> UpCase {
        let UpCase(mut table) = UpCase::none();
        let mut index = 0usize;
        let mut skip = false;
        for unit in units {
            if skip {
                index = index.saturating_add(usize::from(unit));
                skip = false;
            } else if unit == 0xFFFF && index != 0xFFFF {
                skip = true;
            } else if let Some(capital) = table.get_mut(index) {
                *capital = unit;
                index += 1;
            }
        }
        UpCase(table)
    }

    /// A name as names are compared; `None` where it is nothing that a name can be.
    pub(super) fn fold(&self, name: &[u8]) -> Option<Vec<u8>> {
        let units = wtf8::to_utf16(name)?;
        Some(units.iter().flat_map(|unit| self.capital(*unit).to_le_bytes()).collect())
    }

    fn capital(&self, unit: u16) -> u16 {
        self.0.get(usize::from(unit)).copied().unwrap_or(unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compressed_table_is_the_same_as_a_whole_one() {
        let whole: Vec<u16> =
            (0..=u16::MAX).map(|unit| if (0x61..=0x7A).contains(&unit) { unit - 32 } else { unit }).collect();
        let mut compressed = vec![0xFFFF, 0x61];
        compressed.extend(0x41..=0x5A);
        compressed.extend([0xFFFF, 0xFF00]);
        let tables = [UpCase::decode(whole.into_iter()), UpCase::decode(compressed.into_iter())];
        assert_eq!(tables[0].0, tables[1].0);
        assert_eq!(tables[1].fold(b"aZ{x"), tables[1].fold(b"Az{X"));
        assert_ne!(tables[1].fold("ä".as_bytes()), tables[1].fold("Ä".as_bytes()));
        assert_eq!(tables[1].fold(b"\xff"), None);
        // More than there are code units.
        UpCase::decode([0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF, 1, 2, 3].into_iter());
    }
}
