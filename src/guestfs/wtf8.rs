//! UTF-16 names as bytes: UTF-8, and unpaired surrogates as WTF-8 (three bytes each), so that two names never
//! become one.

/// The bytes of the code units `units`.
pub(crate) fn from_utf16(units: impl IntoIterator<Item = u16>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut buf = [0; 4];
    for unit in char::decode_utf16(units) {
        match unit {
            Ok(character) => bytes.extend_from_slice(character.encode_utf8(&mut buf).as_bytes()),
            Err(error) => {
                let unit = error.unpaired_surrogate();
                bytes.extend_from_slice(&[
                    0xE0 | (unit >> 12) as u8,
                    0x80 | (unit >> 6 & 0x3F) as u8,
                    0x80 | (unit & 0x3F) as u8,
                ]);
            }
        }
    }
    bytes
}

/// The code units of a name in UTF-8 or WTF-8. `None` where it is neither: then no UTF-16 name is meant by it.
pub(crate) fn to_utf16(bytes: &[u8]) -> Option<Vec<u16>> {
    let mut units = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    let mut buf = [0; 2];
    loop {
        let (valid, after) = match std::str::from_utf8(rest) {
            Ok(text) => (text, None),
            Err(error) => {
                let (valid, after) = rest.split_at(error.valid_up_to());
                (std::str::from_utf8(valid).ok()?, Some(after))
            }
        };
        valid.chars().for_each(|character| units.extend_from_slice(character.encode_utf16(&mut buf)));
        match after {
            None => return Some(units),
            Some([0xED, second @ 0xA0..=0xBF, third @ 0x80..=0xBF, after @ ..]) => {
                units.push(0xD000 | u16::from(second & 0x3F) << 6 | u16::from(third & 0x3F));
                rest = after;
            }
            Some(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_name_comes_back(units in prop::collection::vec(
            prop_oneof![any::<u16>(), 0xD7F0u16..0xE010, 0x20u16..0x7F], 0..20)) {
            prop_assert_eq!(to_utf16(&from_utf16(units.iter().copied())), Some(units));
        }

        #[test]
        fn any_bytes_do(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
            to_utf16(&bytes);
        }
    }

    #[test]
    fn surrogates_stay_apart() {
        assert_eq!(from_utf16([0xD83D, 0xDE00]), "😀".as_bytes());
        assert_eq!(from_utf16([0xD83D, 0x61]), [0xED, 0xA0, 0xBD, b'a']);
        assert_eq!(to_utf16(b"a\xff"), None);
        assert_eq!(to_utf16(b"\xed\xa0"), None);
    }
}
