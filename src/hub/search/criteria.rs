//! What a search looks for: a pattern, and bounds on kind, size and time.
//!
//! All patterns become one regular expression over bytes, whose compiled size is bounded; it takes time in proportion to
//! what it is compared with, whatever the pattern.

use crate::compare::path_of;
use crate::{Error, Result};
use api::{FileType, SearchQuery};
use guestfs::{Stat, Timestamp};
use regex::bytes::{Regex, RegexBuilder};

/// The longest pattern, in bytes.
const MAX_PATTERN: usize = 4096;
/// Bytes that a compiled pattern takes at most.
const MAX_COMPILED: usize = 4 << 20;

/// What a search looks for.
pub(super) struct Criteria {
    regex: Regex,
    /// Whether the pattern is compared with the whole path, and not with the name alone.
    whole_path: bool,
    /// The folder below which is searched.
    pub start: Vec<u8>,
    /// How many folders deep anything can match.
    pub depth: Option<usize>,
    kind: Option<FileType>,
    size: (u64, u64),
    modified: (Option<Timestamp>, Option<Timestamp>),
}

impl Criteria {
    /// # Errors
    /// [`Error::Invalid`] with the parameter that makes no sense.
    pub(super) fn new(query: &SearchQuery) -> Result<Self> {
        let pattern = path_of("pattern_b64", query.pattern.as_deref(), query.pattern_b64.as_deref())?;
        let pattern = pattern.filter(|pattern| !pattern.is_empty());
        let pattern = pattern.ok_or_else(|| Error::invalid("pattern", "no pattern is given"))?;
        if pattern.len() > MAX_PATTERN {
            return Err(Error::invalid("pattern", format!("it is longer than {MAX_PATTERN} bytes")));
        }
        let folder = path_of("path_b64", query.path.as_deref(), query.path_b64.as_deref())?;
        let mut start = folder.clone().unwrap_or_else(|| b"/".to_vec());
        if !start.starts_with(b"/") {
            start.insert(0, b'/');
        }
        let mut depth = None;
        let (text, whole_path) = if query.regex {
            let text = String::from_utf8(pattern);
            (text.map_err(|_| Error::invalid("pattern_b64", "a regular expression is UTF-8"))?, true)
        } else {
            let whole = pattern.contains(&b'/');
            if folder.is_none() && !query.ignore_case && pattern.starts_with(b"/") {
                (start, depth) = beginning(&pattern);
            }
            (glob(&pattern), whole)
        };
        let regex = RegexBuilder::new(&text)
            .case_insensitive(query.ignore_case)
            .size_limit(MAX_COMPILED)
            .dfa_size_limit(MAX_COMPILED)
            .build();
        let regex = regex.map_err(|error| Error::invalid("pattern", reason(&error)))?;
        let size = (query.min_size.unwrap_or(0), query.max_size.unwrap_or(u64::MAX));
        if size.0 > size.1 {
            return Err(Error::invalid("max_size", "it is less than min_size: nothing can match"));
        }
        let moment = |at: jiff::Timestamp| {
            let seconds = at.as_second() - i64::from(at.subsec_nanosecond() < 0);
            Timestamp { seconds, nanos: at.subsec_nanosecond().rem_euclid(1_000_000_000) as u32 }
        };
        let modified = (query.modified_since.map(moment), query.modified_until.map(moment));
        if let (Some(since), Some(until)) = modified
            && since > until
        {
            let reason = "it is before modified_since: nothing can match";
            return Err(Error::invalid("modified_until", reason));
        }
        Ok(Criteria { regex, whole_path, start, depth, kind: query.kind, size, modified })
    }

    /// Whether the name, or where the pattern is one for paths, the path matches.
    pub(super) fn is_named(&self, name: &[u8], path: &[u8], kind: FileType) -> bool {
        self.kind.is_none_or(|wanted| wanted == kind)
            && self.regex.is_match(if self.whole_path { path } else { name })
    }

    /// Whether size and time are within bounds. A bound on size means regular files.
    pub(super) fn is_within(&self, stat: &Stat) -> bool {
        let bounded = self.size != (0, u64::MAX);
        (!bounded || stat.kind == guestfs::FileKind::File && (self.size.0..=self.size.1).contains(&stat.size))
            && self.modified.0.is_none_or(|since| stat.modified >= since)
            && self.modified.1.is_none_or(|until| stat.modified <= until)
    }
}

fn reason(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(_) => "it is too large once it is compiled".to_owned(),
        // Its last line is the sentence; those before it draw the pattern.
        error => {
            let text = error.to_string();
            let sentence = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
            format!("it is no regular expression: {sentence}")
        }
    }
}

/// The folder in which the wildcards of a pattern for whole paths begin, and how much deeper it can match.
fn beginning(pattern: &[u8]) -> (Vec<u8>, Option<usize>) {
    let parts: Vec<&[u8]> = pattern.split(|&byte| byte == b'/').filter(|part| !part.is_empty()).collect();
    let folders = &parts[..parts.len().saturating_sub(1)];
    let plain = folders.iter().take_while(|part| !guestfs::tree::is_pattern(part)).count();
    let mut start = folders[..plain].iter().flat_map(|part| [&b"/"[..], part].concat()).collect::<Vec<u8>>();
    if start.is_empty() {
        start.push(b'/');
    }
    let depth = (!parts.contains(&&b"**"[..])).then(|| parts.len() - plain);
    (start, depth)
}

/// A pattern with wildcards as a regular expression. Without `/` it is one for names. With it, `*`, `?` and sets do not
/// match a `/`, `**` stands for any number of folders, and one that does not begin with `/` may begin in any folder.
fn glob(pattern: &[u8]) -> String {
    let mut text = String::from("(?s)^");
    let whole = pattern.contains(&b'/');
    if whole && !pattern.starts_with(b"/") {
        text.push_str("(?:|(?-u:.)*/)");
    }
    let any = if whole { "(?-u:[^/])" } else { "(?-u:.)" };
    let mut at = 0;
    while let Some(&byte) = pattern.get(at) {
        let rest = &pattern[at..];
        let begins = at == 0 || pattern[at - 1] == b'/';
        if whole && begins && rest.starts_with(b"**/") {
            text.push_str("(?:(?-u:.)*/)?");
            at += 3;
        } else if whole && begins && rest == b"**" {
            text.push_str("(?-u:.)*");
            at += 2;
        } else if byte == b'*' {
            text.push_str(any);
            text.push('*');
            at += 1;
        } else if byte == b'?' {
            // A character where the name is UTF-8, a byte where it is not.
            text.push_str(if whole { "(?:[^/]|(?-u:[^/]))" } else { "(?:.|(?-u:.))" });
            at += 1;
        } else if byte == b'['
            && let Some((set, length)) = set(&rest[1..], whole)
        {
            text.push_str(&set);
            at += 1 + length;
        } else {
            let escaped = byte == b'\\' && at + 1 < pattern.len();
            at += usize::from(escaped);
            at += literal(&pattern[at..], &mut text);
        }
    }
    if whole {
        // A pattern for folders may end with a `/`; a path never does.
        text.truncate(text.trim_end_matches('/').len());
    }
    text.push('$');
    text
}

/// Adds the first character, or the first byte where it is none, and tells its length.
fn literal(rest: &[u8], text: &mut String) -> usize {
    let length = rest.utf8_chunks().next().and_then(|chunk| chunk.valid().chars().next()).map(char::len_utf8);
    match length.and_then(|length| std::str::from_utf8(&rest[..length]).ok()) {
        Some(character) => {
            text.push_str(&regex::escape(character));
            character.len()
        }
        None => {
            text.push_str(&format!("(?-u:\\x{:02X})", rest[0]));
            1
        }
    }
}

/// The set that begins after its `[`, and how long it is with its `]`. `None` where it does not end: the `[` then stands
/// for itself.
fn set(rest: &[u8], whole: bool) -> Option<(String, usize)> {
    let valid = rest.utf8_chunks().next()?.valid();
    let not = valid.starts_with(['!', '^']);
    let mut characters = valid.char_indices().skip(usize::from(not)).peekable();
    let mut items = String::new();
    let mut first = true;
    loop {
        let (at, mut character) = characters.next()?;
        if character == ']' && !first {
            let slash = if whole && not { "/" } else { "" };
            let sign = if not { "^" } else { "" };
            return Some((format!("[{sign}{slash}{items}]"), at + 1));
        }
        first = false;
        if character == '\\' {
            character = characters.next()?.1;
        }
        let mut ahead = characters.clone();
        let range = ahead.next().is_some_and(|(_, dash)| dash == '-')
            && ahead.next().is_some_and(|(_, end)| end != ']');
        items.push_str(&member(character));
        if range {
            characters.next();
            let mut end = characters.next()?.1;
            if end == '\\' {
                end = characters.next()?.1;
            }
            // A range that ends before it begins holds its ends: what else it might is not defined.
            if end >= character {
                items.push('-');
            }
            items.push_str(&member(end));
        }
    }
}

/// A character in a set.
fn member(character: char) -> String {
    format!("\\x{{{:X}}}", u32::from(character))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn criteria(pattern: &str, change: impl FnOnce(&mut SearchQuery)) -> Result<Criteria> {
        let mut query = SearchQuery { pattern: Some(pattern.to_owned()), ..SearchQuery::default() };
        change(&mut query);
        Criteria::new(&query)
    }

    fn matches(criteria: &Criteria, path: &[u8]) -> bool {
        let name = path.rsplit(|&byte| byte == b'/').next().unwrap();
        criteria.is_named(name, path, FileType::File)
    }

    #[test]
    fn patterns_match_names_or_whole_paths() {
        for (pattern, matching, other) in [
            (
                "index.php",
                &["/var/www/index.php", "/index.php"][..],
                &["/index.phpx", "/index.php/x", "/Index.php"][..],
            ),
            ("*.php", &["/a/b.php", "/.php"], &["/a.php/b"]),
            ("?", &["/a", "/x/ü"], &["/ab"]),
            ("[a-c]x", &["/ax", "/y/cx"], &["/dx"]),
            ("[!a]", &["/b"], &["/a"]),
            ("[ab", &["/[ab"], &["/a"]),
            ("[]]", &["/]"], &["/x"]),
            ("a\\*", &["/a*"], &["/ab"]),
            ("a+(b)", &["/a+(b)"], &["/aab"]),
            ("/etc/*.conf", &["/etc/a.conf"], &["/etc/x/a.conf", "/x/etc/a.conf", "/etc/a.confx"]),
            ("www/*.php", &["/var/www/a.php", "/www/a.php"], &["/var/xwww/a.php", "/var/www/x/a.php"]),
            ("/etc/**/*.conf", &["/etc/a.conf", "/etc/x/y/a.conf"], &["/a.conf"]),
            ("/etc/**", &["/etc/a", "/etc/a/b"], &["/etc", "/x/etc/a"]),
            ("/var/log/", &["/var/log"], &["/var/log/x"]),
        ] {
            let compiled = criteria(pattern, |_| {}).unwrap();
            for path in matching {
                assert!(matches(&compiled, path.as_bytes()), "{pattern} {path}");
            }
            for path in other {
                assert!(!matches(&compiled, path.as_bytes()), "{pattern} {path}");
            }
        }
        let odd = criteria("*", |_| {}).unwrap();
        assert!(matches(&odd, b"/\xff\xfe\n"), "names are bytes");
        let bytes = criteria("x", |q| (q.pattern, q.pattern_b64) = (None, Some("/yo=".into()))).unwrap();
        assert!(matches(&bytes, b"/\xff*"), "a byte that is no UTF-8, then any");
    }

    #[test]
    fn case_is_ignored_on_request_only_and_regular_expressions_see_the_path() {
        let compiled = criteria("ÄRGER*.TXT", |query| query.ignore_case = true).unwrap();
        assert!(matches(&compiled, "/x/ärger2.txt".as_bytes()));
        let compiled = criteria("www/.*\\.php$", |query| query.regex = true).unwrap();
        assert!(matches(&compiled, b"/var/www/x/a.php") && !matches(&compiled, b"/www/a.phpx"));
    }

    #[test]
    fn a_search_begins_where_the_wildcards_do() {
        for (pattern, start, depth) in [
            ("/etc/hosts", "/etc", Some(1)),
            ("/hosts", "/", Some(1)),
            ("/etc/*/x", "/etc", Some(2)),
            ("/etc/**/x", "/etc", None),
            ("etc/x", "/", None),
            ("x", "/", None),
        ] {
            let compiled = criteria(pattern, |_| {}).unwrap();
            assert_eq!((&compiled.start[..], compiled.depth), (start.as_bytes(), depth), "{pattern}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_field() {
        let field = |criteria: Result<Criteria>| match criteria {
            Err(Error::Invalid { field, .. }) => field,
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("it was taken"),
        };
        assert_eq!(field(criteria("", |_| {})), "pattern");
        assert_eq!(field(criteria("(", |query| query.regex = true)), "pattern");
        assert_eq!(field(criteria("(?:x{1000}){1000}", |query| query.regex = true)), "pattern");
        assert_eq!(field(criteria(&"x".repeat(5000), |_| {})), "pattern");
        let sizes = |query: &mut SearchQuery| (query.min_size, query.max_size) = (Some(2), Some(1));
        assert_eq!(field(criteria("x", sizes)), "max_size");
        let both = |query: &mut SearchQuery| query.pattern_b64 = Some("eA==".into());
        assert_eq!(field(criteria("x", both)), "pattern_b64");
        let times = |query: &mut SearchQuery| {
            query.modified_since = Some("2025-01-02T00:00:00Z".parse().unwrap());
            query.modified_until = Some("2025-01-01T00:00:00Z".parse().unwrap());
        };
        assert_eq!(field(criteria("x", times)), "modified_until");
    }
}
