//! Code page 437, in which short names are read.
//!
//! A volume does not say which code page its short names are in: that is the guest's. 437 is what Linux mounts with by
//! default. Names that a guest wrote with letters of another code page stand beside a long name as a rule, which is
//! Unicode; where there is none, the name that is shown here is the one that Linux would show.

/// The characters of bytes 128 to 255.
const UPPER_HALF: &str = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{A0}";

/// The character of a byte.
pub(super) fn character(byte: u8) -> char {
    match byte.checked_sub(128) {
        None => char::from(byte),
        Some(index) => UPPER_HALF.chars().nth(usize::from(index)).unwrap_or(char::REPLACEMENT_CHARACTER),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_byte_has_a_character_of_its_own() {
        assert_eq!((0..=255).map(character).collect::<BTreeSet<_>>().len(), 256);
        assert_eq!([0x41, 0x80, 0x9A, 0xE1, 0xFF].map(character), ['A', 'Ç', 'Ü', 'ß', '\u{A0}']);
    }
}
