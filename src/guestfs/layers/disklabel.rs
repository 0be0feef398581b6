//! Tables of other systems that are told by name and not read: the Apple partition map (*Inside Macintosh: Devices*,
//! chapter 3) and the BSD disklabel (FreeBSD `sys/disklabel.h`).

/// The name of the table that the first 1024 bytes of a range begin.
pub fn recognise(sectors: &[u8]) -> Option<&'static str> {
    let at = |offset: usize, magic: &[u8]| sectors.get(offset..offset + magic.len()) == Some(magic);
    // The driver descriptor map, and the map's entry for itself.
    if at(0, b"ER") && at(512, b"PM") {
        return Some("an Apple partition map");
    }
    // The magic number stands twice: at the beginning and after the geometry, in either byte order.
    for base in [0, 64, 128, 512] {
        for magic in [0x8256_4557_u32.to_le_bytes(), 0x8256_4557_u32.to_be_bytes()] {
            if at(base, &magic) && at(base + 132, &magic) {
                return Some("a BSD disklabel");
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_both_by_name() {
        let mut sectors = vec![0; 1024];
        assert_eq!(recognise(&sectors), None);
        assert_eq!(recognise(&[]), None);
        sectors[512..516].copy_from_slice(&0x8256_4557_u32.to_le_bytes());
        sectors[644..648].copy_from_slice(&0x8256_4557_u32.to_le_bytes());
        assert_eq!(recognise(&sectors), Some("a BSD disklabel"));
        let mut sectors = vec![0; 1024];
        sectors[0..2].copy_from_slice(b"ER");
        sectors[512..514].copy_from_slice(b"PM");
        assert_eq!(recognise(&sectors), Some("an Apple partition map"));
    }
}
