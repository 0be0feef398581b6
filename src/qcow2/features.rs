//! Incompatible features: the bits of a header that say "don't open this unless you know what it means".
//!
//! Source: the QCOW2 specification, `incompatible_features` and "Feature name table". Compatible and
//! auto-clear features don't matter to a reader.

use crate::error::{corrupt, unsupported};
use block::Result;

/// Refcounts may be stale (lazy refcounts, not closed). The mapping is still true, so reading is safe.
pub(crate) const DIRTY: u64 = 1;
/// Found damaged by whoever wrote it.
pub(crate) const CORRUPT: u64 = 1 << 1;
/// The data lies in another file.
pub(crate) const EXTERNAL_DATA: u64 = 1 << 2;
/// Compressed clusters are not deflate.
pub(crate) const COMPRESSION_TYPE: u64 = 1 << 3;
/// L2 entries of 128 bits, with subclusters.
pub(crate) const EXTENDED_L2: u64 = 1 << 4;

const NAMES: [&str; 5] =
    ["dirty bit", "corrupt bit", "external data file", "compression type", "extended L2 entries"];
const ENTRY: usize = 48;

/// Refuses what can't be read, by name where the image's own table of names has one.
pub(crate) fn check(name: &str, incompatible: u64, table: &[u8]) -> Result<()> {
    if incompatible & CORRUPT != 0 {
        let reason = "it is marked as corrupt; repair a copy of it with qemu-img check -r all";
        return Err(corrupt(name, reason));
    }
    if incompatible & EXTERNAL_DATA != 0 {
        let reason = "its data is in an external data file; convert it with qemu-img convert";
        return Err(unsupported(name, reason));
    }
    let unknown = incompatible & !((1 << NAMES.len()) - 1);
    if unknown != 0 {
        let names: Vec<String> = (0..64)
            .filter(|bit| (unknown >> bit) & 1 != 0)
            .map(|bit| named(table, bit).unwrap_or_else(|| format!("feature bit {bit}")))
            .collect();
        return Err(unsupported(name, format!("it uses features that are not known: {}", names.join(", "))));
    }
    Ok(())
}

/// The table of names for images written by us, so that older programs can say what they lack.
pub(crate) fn table() -> Vec<u8> {
    let mut table = vec![0; NAMES.len() * ENTRY];
    for (bit, (entry, name)) in table.chunks_exact_mut(ENTRY).zip(NAMES).enumerate() {
        entry[1] = bit as u8;
        entry[2..2 + name.len()].copy_from_slice(name.as_bytes());
    }
    table
}

fn named(table: &[u8], bit: u8) -> Option<String> {
    let entry = table.chunks_exact(ENTRY).find(|entry| entry.starts_with(&[0, bit]))?;
    let text = String::from_utf8_lossy(entry.get(2..)?);
    let text: String = text.trim_end_matches('\0').chars().filter(|c| !c.is_control()).collect();
    (!text.is_empty()).then(|| format!("{text:?} (bit {bit})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_features_are_told_by_their_name() {
        let mut names = table();
        let mut entry = [0; ENTRY];
        entry[1] = 9;
        entry[2..7].copy_from_slice(b"turbo");
        names.extend_from_slice(&entry);
        let told = check("x", 1 << 9 | 1 << 40, &names).expect_err("unknown").to_string();
        assert!(told.contains("\"turbo\" (bit 9)") && told.contains("feature bit 40"), "{told}");
        assert!(check("x", DIRTY | COMPRESSION_TYPE | EXTENDED_L2, &[]).is_ok());
        assert!(matches!(check("x", CORRUPT, &[]), Err(block::Error::Corrupt { .. })));
        assert!(matches!(check("x", EXTERNAL_DATA, &[]), Err(block::Error::Unsupported { .. })));
    }
}
