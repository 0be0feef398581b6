//! Names of the plain and of the Joliet tree, as Linux shows them.

use crate::wtf8;

/// A plain name: in small letters, without the version, and without the dot before it where no extension stands.
pub(super) fn plain(identifier: &[u8]) -> Vec<u8> {
    let name =
        identifier.strip_suffix(b".;1").or_else(|| identifier.strip_suffix(b";1")).unwrap_or(identifier);
    name.iter()
        .map(|byte| match byte {
            // Another version than 1, and discs of Acorn.
            b';' | b'/' => b'.',
            byte => byte.to_ascii_lowercase(),
        })
        .collect()
}

/// A name of the Joliet tree: UTF-16, without the version, and without dots at the end, which Windows does not like.
pub(super) fn joliet(identifier: &[u8]) -> Vec<u8> {
    let mut name = wtf8::from_utf16(identifier.as_chunks().0.iter().map(|unit| u16::from_be_bytes(*unit)));
    if name.len() > 2 && name.ends_with(b";1") {
        name.truncate(name.len() - 2);
    }
    while name.len() >= 2 && name.ends_with(b".") {
        name.pop();
    }
    name
}

/// Whether a name can be one component of a path.
pub(super) fn is_shown(name: &[u8]) -> bool {
    !name.is_empty() && name != b"." && name != b".." && !name.iter().any(|byte| matches!(byte, 0 | b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_not_shown() {
        for (identifier, name) in [
            ("README.TXT;1", "readme.txt"),
            ("README.;1", "readme"),
            ("README;1", "readme"),
            ("README.TXT;2", "readme.txt.2"),
            ("FOLDER", "folder"),
            ("A/B", "a.b"),
        ] {
            assert_eq!(plain(identifier.as_bytes()), name.as_bytes());
        }
        for (identifier, name) in
            [("Größe.TXT;1", "Größe.TXT"), ("dots...;1", "dots"), ("..", "."), (";1", ";1")]
        {
            let units: Vec<u8> = identifier.encode_utf16().flat_map(u16::to_be_bytes).collect();
            assert_eq!(joliet(&units), name.as_bytes());
        }
        for name in ["", ".", "..", "a/b", "a\0"] {
            assert!(!is_shown(name.as_bytes()));
        }
    }
}
