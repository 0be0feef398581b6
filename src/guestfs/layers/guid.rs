//! Identities as `blkid` writes them.

use std::fmt::Write;

/// Sixteen bytes in the order in which they are written: `8-4-4-4-12` small hexadecimal digits (RFC 9562).
pub fn plain(bytes: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        // Writing to a string can't fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// A GUID of Microsoft's and UEFI's layout: the first three parts are little-endian (UEFI 2.10, appendix A).
pub fn mixed(bytes: &[u8; 16]) -> String {
    let mut swapped = *bytes;
    swapped[0..4].reverse();
    swapped[4..6].reverse();
    swapped[6..8].reverse();
    plain(&swapped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_both_orders() {
        let bytes: [u8; 16] = std::array::from_fn(|index| index as u8);
        assert_eq!(plain(&bytes), "00010203-0405-0607-0809-0a0b0c0d0e0f");
        assert_eq!(mixed(&bytes), "03020100-0504-0706-0809-0a0b0c0d0e0f");
    }
}
