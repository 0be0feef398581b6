//! Names without case, for folders with the flag `casefold` ("Encoding": `utf8-12.1`): canonical decomposition, full
//! case folding, and nothing of what Unicode says is to be ignored.
//!
//! The crates know a newer Unicode than 12.1: letters that came since then fold here and not in the kernel.

use unicode_normalization::UnicodeNormalization;

/// The form that is compared; none for a name that is not UTF-8, which only matches itself.
pub(super) fn fold(name: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(name).ok()?;
    let decomposed: String = name.nfd().filter(|&letter| !is_ignored(letter)).collect();
    let folded = unicase::UniCase::unicode(decomposed).to_folded_case();
    Some(folded.nfd().filter(|&letter| !is_ignored(letter)).collect())
}

/// `Default_Ignorable_Code_Point` (DerivedCoreProperties.txt).
fn is_ignored(letter: char) -> bool {
    matches!(letter,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
        | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_the_same_without_case() {
        for (a, b) in [("README", "readme"), ("Straße", "STRASSE"), ("Ä", "a\u{308}"), ("a\u{ad}b", "AB")] {
            assert_eq!(fold(a.as_bytes()), fold(b.as_bytes()), "{a} {b}");
        }
        assert_ne!(fold(b"a"), fold(b"b"));
        assert_eq!(fold(b"\xff"), None);
    }
}
