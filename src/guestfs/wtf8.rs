//! UTF-16 names as bytes: UTF-8, and unpaired surrogates as WTF-8 (three bytes each), so that two names never
//! become one, and no name has two forms.

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

/// The code units of a name in UTF-8 or WTF-8. `None` for bytes that [`from_utf16`] never gives (two halves that make a
/// pair are written as the pair): then no UTF-16 name is meant.
pub(crate) fn to_utf16(bytes: &[u8]) -> Option<Vec<u16>> {
    let mut units = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while !rest.is_empty() {
        let (valid, after) = match std::str::from_utf8(rest) {
            Ok(text) => (text, &[][..]),
            Err(error) => {
                let (valid, after) = rest.split_at(error.valid_up_to());
                (std::str::from_utf8(valid).ok()?, after)
            }
        };
        units.extend(valid.encode_utf16());
        rest = match after {
            [] => after,
            &[0xED, second @ 0xA0..=0xBF, third @ 0x80..=0xBF, ref after @ ..] => {
                units.push(0xD000 | u16::from(second & 0x3F) << 6 | u16::from(third & 0x3F));
                after
            }
            _ => return None,
        };
    }
    (from_utf16(units.iter().copied()) == bytes).then_some(units)
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
        fn all_bytes_that_are_taken_come_back(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
            if let Some(units) = to_utf16(&bytes) {
                prop_assert_eq!(from_utf16(units), bytes);
            }
        }
    }

    #[test]
    fn surrogates_stay_apart() {
        assert_eq!(from_utf16([0xD83D, 0xDE00]), "😀".as_bytes());
        assert_eq!(from_utf16([0xD83D, 0x61]), [0xED, 0xA0, 0xBD, b'a']);
        let name = [0x61, 0xD83D, 0xDE00, 0xD83D, 0x62, 0xDE00];
        let bytes = from_utf16(name);
        assert_eq!(bytes, b"a\xf0\x9f\x98\x80\xed\xa0\xbdb\xed\xb8\x80");
        assert_eq!(to_utf16(&bytes).unwrap(), name);
        // A pair in two parts, an overlong form, half a sequence, Latin-1.
        for none in [&b"\xed\xa0\xbd\xed\xb8\x80"[..], b"\xc0\xaf", b"a\xf0\x9f", b"\xe4", b"\xed\xa0"] {
            assert_eq!(to_utf16(none), None, "{none:?}");
        }
    }
}
