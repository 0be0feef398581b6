//! LVM's configuration text: sections, keys, numbers, strings and lists (`lvm.conf(5)`; lvm2 `libdm/config`).

use crate::{Error, Result};

/// Sections in sections; a group's metadata has four.
const MAX_DEPTH: usize = 16;
/// Keys, values and sections of one text.
const MAX_NODES: usize = 1 << 19;

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A number.
    Number(i64),
    /// A quoted string.
    Text(String),
    /// `[1, "two"]`.
    List(Vec<Value>),
}

/// A section: what stands between its braces, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Section {
    /// Keys with values.
    pub values: Vec<(String, Value)>,
    /// Sections inside.
    pub sections: Vec<(String, Section)>,
}

impl Section {
    /// The value of `key`.
    fn value(&self, key: &str) -> Option<&Value> {
        self.values.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The section `name`.
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|(found, _)| found == name).map(|(_, section)| section)
    }

    /// The number `key`, which is not negative.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where it is missing or something else.
    pub fn number(&self, key: &str) -> Result<u64> {
        match self.value(key) {
            Some(Value::Number(number)) if *number >= 0 => Ok(number.unsigned_abs()),
            other => Err(wrong(key, other)),
        }
    }

    /// The string `key`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where it is missing or something else.
    pub fn text(&self, key: &str) -> Result<&str> {
        match self.value(key) {
            Some(Value::Text(text)) => Ok(text),
            other => Err(wrong(key, other)),
        }
    }

    /// The list `key`; one value alone is a list of one, and nothing is an empty one.
    pub fn list(&self, key: &str) -> &[Value] {
        match self.value(key) {
            Some(Value::List(values)) => values,
            Some(one) => std::slice::from_ref(one),
            None => &[],
        }
    }

    /// Whether the list `key` has the string `flag`.
    pub fn has(&self, key: &str, flag: &str) -> bool {
        self.list(key).iter().any(|value| matches!(value, Value::Text(text) if text == flag))
    }
}

fn wrong(key: &str, found: Option<&Value>) -> Error {
    Error::corrupt(
        "the LVM metadata",
        match found {
            None => format!("`{key}` is missing"),
            Some(_) => format!("`{key}` is of the wrong kind"),
        },
    )
}

/// Parses a whole text; it ends with its bytes or a NUL.
///
/// # Errors
/// [`Error::Corrupt`] with the line where it is no such text; [`Error::Limit`] beyond the bounds.
pub fn parse(bytes: &[u8]) -> Result<Section> {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    let mut parser = Parser { bytes: &bytes[..end], at: 0, nodes: 0 };
    let section = parser.section(0)?;
    match parser.peek() {
        None => Ok(section),
        Some(_) => Err(parser.wrong("a brace that closes nothing")),
    }
}

struct Parser<'a> {
    bytes: &'a [u8],
    at: usize,
    nodes: usize,
}

impl Parser<'_> {
    fn wrong(&self, what: &str) -> Error {
        let line =
            self.bytes[..self.at.min(self.bytes.len())].iter().filter(|&&byte| byte == b'\n').count() + 1;
        Error::corrupt("the LVM metadata", format!("{what} in line {line}"))
    }

    fn count(&mut self) -> Result<()> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(Error::Limit(format!("the LVM metadata has more than {MAX_NODES} values")));
        }
        Ok(())
    }

    /// The next byte that is no space or comment.
    fn peek(&mut self) -> Option<u8> {
        while let Some(&byte) = self.bytes.get(self.at) {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => self.at += 1,
                b'#' => {
                    let rest = &self.bytes[self.at..];
                    self.at += rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
                }
                _ => return Some(byte),
            }
        }
        None
    }

    /// Everything up to the brace that closes it, or the end.
    fn section(&mut self, depth: usize) -> Result<Section> {
        if depth > MAX_DEPTH {
            return Err(Error::Limit(format!(
                "the LVM metadata has more than {MAX_DEPTH} sections in each other"
            )));
        }
        let mut section = Section::default();
        loop {
            match self.peek() {
                None | Some(b'}') => return Ok(section),
                Some(_) => {}
            }
            self.count()?;
            let name = self.name()?;
            match self.peek() {
                Some(b'{') => {
                    self.at += 1;
                    let inside = self.section(depth + 1)?;
                    if self.peek() != Some(b'}') {
                        return Err(self.wrong("a section without an end"));
                    }
                    self.at += 1;
                    section.sections.push((name, inside));
                }
                Some(b'=') => {
                    self.at += 1;
                    let value = self.value()?;
                    section.values.push((name, value));
                }
                _ => return Err(self.wrong("a name without a value")),
            }
        }
    }

    fn name(&mut self) -> Result<String> {
        let start = self.at;
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_-+./".contains(&byte);
        while self.bytes.get(self.at).is_some_and(|&byte| is_name(byte)) {
            self.at += 1;
        }
        if start == self.at {
            return Err(self.wrong("something that is no name"));
        }
        Ok(String::from_utf8_lossy(&self.bytes[start..self.at]).into_owned())
    }

    fn value(&mut self) -> Result<Value> {
        if self.peek() != Some(b'[') {
            return self.single();
        }
        self.at += 1;
        let mut list = Vec::new();
        loop {
            match self.peek() {
                Some(b']') => {
                    self.at += 1;
                    return Ok(Value::List(list));
                }
                Some(b',') => self.at += 1,
                Some(_) => list.push(self.single()?),
                None => return Err(self.wrong("a list without an end")),
            }
        }
    }

    /// A number or a string.
    fn single(&mut self) -> Result<Value> {
        self.count()?;
        match self.peek() {
            Some(b'"') => {
                self.at += 1;
                let mut text = Vec::new();
                loop {
                    match self.bytes.get(self.at) {
                        Some(b'"') => break,
                        Some(b'\\') => {
                            self.at += 1;
                            text.extend(self.bytes.get(self.at));
                        }
                        Some(&byte) => text.push(byte),
                        None => return Err(self.wrong("a string without an end")),
                    }
                    self.at += 1;
                }
                self.at += 1;
                String::from_utf8(text).map(Value::Text).map_err(|_| self.wrong("a string that is not UTF-8"))
            }
            _ => {
                let start = self.at;
                while self.bytes.get(self.at).is_some_and(|&byte| byte.is_ascii_digit() || byte == b'-') {
                    self.at += 1;
                }
                let digits = std::str::from_utf8(&self.bytes[start..self.at]).unwrap_or_default();
                digits.parse().map(Value::Number).map_err(|_| self.wrong("something that is no value"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_lvm_writes() {
        let text = b"# Generated\nvg {\n\tid = \"a-b\"\n\tseqno = 3 # three\n\tflags = []\n\
            \tstatus = [\"READ\", \"WRITE\"]\n\tlv-1.x+ {\n\t\tname = \"say \\\"hi\\\" \\\\\"\n\t}\n}\n\0garbage{";
        let parsed = parse(text).unwrap();
        let vg = parsed.section("vg").unwrap();
        assert_eq!(vg.text("id").unwrap(), "a-b");
        assert_eq!(vg.number("seqno").unwrap(), 3);
        assert!(vg.has("status", "WRITE") && !vg.has("flags", "WRITE"));
        assert_eq!(vg.section("lv-1.x+").unwrap().text("name").unwrap(), "say \"hi\" \\");
        assert!(vg.number("id").is_err() && vg.text("nothing").is_err());
    }

    #[test]
    fn what_is_no_such_text_is_an_error() {
        for text in [
            "}",
            "a {",
            "a",
            "a = ",
            "a = [1",
            "a = \"b",
            "= 1",
            "a = 99999999999999999999",
            "a = x",
            "a = -",
        ] {
            assert!(matches!(parse(text.as_bytes()), Err(Error::Corrupt { .. })), "{text}");
        }
        assert!(matches!(parse(&b"a{".repeat(100_000)), Err(Error::Limit(_))));
        assert!(matches!(parse(&b"a=1 ".repeat(MAX_NODES)), Err(Error::Limit(_))));
    }
}
