//! Names of entries: they lead nowhere but below the folder where the archive is unpacked.
//!
//! A TAR has the guest's names as they are. A ZIP is unpacked on Windows too, where `\` is a separator and `C:` a drive,
//! and its names are UTF-8: there such bytes are written as `%5C`, `%3A` and the like, and the report tells which names
//! are others than in the guest.

use std::borrow::Cow;
use std::fmt::Write;

/// Checks a path of an entry: relative, every component a name.
///
/// # Errors
/// What is wrong with it, for a person.
pub fn check(path: &[u8]) -> Result<(), String> {
    let is_name = |name: &[u8]| !name.is_empty() && name != b"." && name != b".." && !name.contains(&0);
    if path.split(|&byte| byte == b'/').all(is_name) {
        Ok(())
    } else {
        Err("its name would lead out of the archive".to_owned())
    }
}

/// The path as a ZIP has it.
pub fn for_zip(path: &[u8]) -> Cow<'_, str> {
    let plain = |text: &str| {
        !text.contains('\\') && !text.chars().any(char::is_control) && !text.split('/').any(is_drive)
    };
    match std::str::from_utf8(path) {
        Ok(text) if plain(text) => Cow::Borrowed(text),
        _ => {
            let parts: Vec<String> = path.split(|&byte| byte == b'/').map(escaped).collect();
            Cow::Owned(parts.join("/"))
        }
    }
}

/// Begins as a drive of Windows: a letter and a colon.
fn is_drive(name: &str) -> bool {
    matches!(name.as_bytes(), [letter, b':', ..] if letter.is_ascii_alphabetic())
}

fn escaped(name: &[u8]) -> String {
    let mut shown = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        for (at, letter) in chunk.valid().char_indices() {
            let drive =
                letter == ':' && at == 1 && shown.len() == 1 && shown.as_bytes()[0].is_ascii_alphabetic();
            if letter == '\\' || letter.is_control() || drive {
                let mut bytes = [0; 4];
                letter.encode_utf8(&mut bytes).bytes().for_each(|byte| percent(&mut shown, byte));
            } else {
                shown.push(letter);
            }
        }
        chunk.invalid().iter().for_each(|&byte| percent(&mut shown, byte));
    }
    shown
}

fn percent(shown: &mut String, byte: u8) {
    // Writing to a String can't fail.
    let _ = write!(shown, "%{byte:02X}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_that_stay_below_are_paths() {
        for good in ["a", "a/b", "..a/b..", "a b/\\", "…"] {
            assert_eq!(check(good.as_bytes()), Ok(()), "{good}");
        }
        for bad in [&b""[..], b"/a", b"a/", b"a//b", b".", b"a/..", b"../a", b"a/./b", b"a\0b"] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_zip_has_no_name_that_leads_out_on_windows() {
        let cases: [(&[u8], &str); 8] = [
            (b"etc/hosts", "etc/hosts"),
            ("büro/ß".as_bytes(), "büro/ß"),
            (b"..\\..\\evil.exe", "..%5C..%5Cevil.exe"),
            (b"C:/Windows", "C%3A/Windows"),
            (b"a/c:evil", "a/c%3Aevil"),
            (b"usr/Foo::Bar.3pm", "usr/Foo::Bar.3pm"),
            (b"odd \xff\nname", "odd %FF%0Aname"),
            ("ü:x".as_bytes(), "ü:x"),
        ];
        for (name, shown) in cases {
            assert_eq!(for_zip(name), shown);
        }
    }
}
