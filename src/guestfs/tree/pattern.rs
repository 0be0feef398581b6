//! Name patterns: `*`, `?`, `[a-z]`, `[!a-z]` and `\` over bytes, for one component of a path.
//!
//! A leading dot is like any other byte: `*` matches `.bashrc` too, because nobody wants a restore that leaves out what
//! begins with a dot.

/// A piece of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    /// This byte.
    Byte(u8),
    /// Any byte.
    Any,
    /// Any number of bytes.
    Many,
    /// A byte that is in one of the ranges, or in none of them.
    Set { not: bool, ranges: Vec<(u8, u8)> },
}

/// A pattern for one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern(Vec<Piece>);

impl Pattern {
    /// Parses a pattern. A `[` without its `]` stands for itself.
    pub(crate) fn new(text: &[u8]) -> Self {
        let mut pieces = Vec::new();
        let mut at = 0;
        while let Some(&byte) = text.get(at) {
            at += 1;
            pieces.push(match byte {
                b'*' if pieces.last() == Some(&Piece::Many) => continue,
                b'*' => Piece::Many,
                b'?' => Piece::Any,
                b'\\' if at < text.len() => {
                    at += 1;
                    Piece::Byte(text[at - 1])
                }
                b'[' => match set(&text[at..]) {
                    Some((piece, length)) => {
                        at += length;
                        piece
                    }
                    None => Piece::Byte(b'['),
                },
                byte => Piece::Byte(byte),
            });
        }
        Pattern(pieces)
    }

    /// The one name it matches, where it has no wildcard.
    pub(crate) fn literal(&self) -> Option<Vec<u8>> {
        self.0.iter().map(|piece| if let Piece::Byte(byte) = piece { Some(*byte) } else { None }).collect()
    }

    /// Whether it matches the whole of `name`. Takes at most as many steps as the product of both lengths.
    pub(crate) fn matches(&self, name: &[u8]) -> bool {
        let (mut piece, mut at) = (0, 0);
        // The last `*`, and what it has taken so far: the only one that ever has to take more.
        let mut star: Option<(usize, usize)> = None;
        loop {
            let one = match (self.0.get(piece), name.get(at)) {
                (None, None) => return true,
                (Some(Piece::Many), _) => {
                    star = Some((piece + 1, at));
                    piece += 1;
                    continue;
                }
                (Some(Piece::Byte(wanted)), Some(byte)) => wanted == byte,
                (Some(Piece::Any), Some(_)) => true,
                (Some(Piece::Set { not, ranges }), Some(byte)) => {
                    ranges.iter().any(|(first, last)| first <= byte && byte <= last) != *not
                }
                _ => false,
            };
            if one {
                piece += 1;
                at += 1;
            } else {
                match star {
                    Some((after, taken)) if taken < name.len() => {
                        star = Some((after, taken + 1));
                        piece = after;
                        at = taken + 1;
                    }
                    _ => return false,
                }
            }
        }
    }
}

/// The set that begins after its `[`, and how long it is with its `]`.
fn set(text: &[u8]) -> Option<(Piece, usize)> {
    let not = matches!(text.first(), Some(b'!' | b'^'));
    let start = usize::from(not);
    let mut at = start;
    let mut ranges = Vec::new();
    loop {
        let mut byte = *text.get(at)?;
        if byte == b']' && at > start {
            return Some((Piece::Set { not, ranges }, at + 1));
        }
        if byte == b'\\' {
            at += 1;
            byte = *text.get(at)?;
        }
        at += 1;
        let mut last = byte;
        if text.get(at) == Some(&b'-') && text.get(at + 1).is_some_and(|&end| end != b']') {
            at += 1;
            last = text[at];
            if last == b'\\' {
                at += 1;
                last = *text.get(at)?;
            }
            at += 1;
        }
        ranges.push((byte, last));
    }
}

/// Whether a path has a wildcard in it.
pub fn is_pattern(path: &[u8]) -> bool {
    path.iter().any(|byte| b"*?[\\".contains(byte))
}

/// The pattern that matches exactly this path.
pub fn escape(path: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(path.len());
    for &byte in path {
        if b"*?[]\\".contains(&byte) {
            escaped.push(b'\\');
        }
        escaped.push(byte);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn wildcards_match_as_a_shell_would() {
        for (pattern, matching, other) in [
            ("*", &["", "a", ".bashrc", "a b"][..], &[][..]),
            ("a*b*c", &["abc", "aXbXc", "abbc", "abcbc"], &["ab", "bc", "abcd"]),
            ("?", &["a", "\n"], &["", "ab"]),
            ("[a-c]x", &["ax", "cx"], &["dx", "x", "a"]),
            ("[!a-c]x", &["dx"], &["ax"]),
            ("[^a]", &["b"], &["a"]),
            ("[]x]", &["]", "x"], &["a"]),
            ("[a-]", &["a", "-"], &["b"]),
            ("[\\]]", &["]"], &["\\"]),
            ("[ab", &["[ab"], &["a"]),
            ("\\*", &["*"], &["a", "\\*"]),
            ("a\\", &["a\\"], &["a"]),
            ("[z-a]", &[], &["b"]),
        ] {
            let compiled = Pattern::new(pattern.as_bytes());
            for name in matching {
                assert!(compiled.matches(name.as_bytes()), "{pattern} {name}");
            }
            for name in other {
                assert!(!compiled.matches(name.as_bytes()), "{pattern} {name}");
            }
        }
    }

    #[test]
    fn a_hostile_pattern_takes_no_exponential_time() {
        let pattern = Pattern::new(&b"a*".repeat(500));
        assert!(!pattern.matches(&[&b"a".repeat(1000)[..], b"b"].concat()[..499]));
        assert!(!Pattern::new(&[&b"*a".repeat(200)[..], b"b"].concat()).matches(&b"a".repeat(1000)));
    }

    /// The definition, taking every choice.
    fn model(pieces: &[Piece], name: &[u8]) -> bool {
        match (pieces.split_first(), name.split_first()) {
            (None, _) => name.is_empty(),
            (Some((Piece::Many, rest)), _) => (0..=name.len()).any(|taken| model(rest, &name[taken..])),
            (Some((piece, rest)), Some((byte, tail))) => {
                let one = match piece {
                    Piece::Byte(wanted) => wanted == byte,
                    Piece::Set { not, ranges } => {
                        ranges.iter().any(|(first, last)| first <= byte && byte <= last) != *not
                    }
                    _ => true,
                };
                one && model(rest, tail)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn matching_is_what_the_definition_says(pattern in "[ab*?\\[\\]!\\\\-]{0,10}", name in "[ab\\-\\]]{0,8}") {
            let compiled = Pattern::new(pattern.as_bytes());
            prop_assert_eq!(compiled.matches(name.as_bytes()), model(&compiled.0, name.as_bytes()));
        }

        #[test]
        fn an_escaped_path_matches_itself_alone(name: Vec<u8>, other: Vec<u8>) {
            let compiled = Pattern::new(&escape(&name));
            prop_assert!(compiled.matches(&name));
            prop_assert_eq!(compiled.literal(), Some(name.clone()));
            prop_assert_eq!(compiled.matches(&other), name == other);
        }
    }
}
