//! What an archive does not have, told in its last entry.

use crate::Content;
use std::fmt::Write;

/// The usual name of the report.
pub const REPORT: &str = "SENDENSE-REPORT.txt";
/// How many lines it has at most; the rest is counted.
pub const MAX_REPORTED: usize = 10_000;

/// What is not in the archive, or not as it was.
#[derive(Debug, Default)]
pub struct Report {
    left_out: Lines,
    renamed: Lines,
}

#[derive(Debug, Default)]
struct Lines {
    kept: Vec<String>,
    count: usize,
}

impl Lines {
    fn add(&mut self, line: impl FnOnce() -> String) {
        if self.kept.len() < MAX_REPORTED {
            self.kept.push(line());
        }
        self.count += 1;
    }

    fn write(&self, title: &str, text: &mut String) {
        if self.count == 0 {
            return;
        }
        // Writing to a String can't fail.
        let _ = write!(text, "{title}\r\n\r\n");
        for line in &self.kept {
            let _ = write!(text, "  {line}\r\n");
        }
        if self.count > self.kept.len() {
            let _ = write!(text, "  and {} more\r\n", self.count - self.kept.len());
        }
        text.push_str("\r\n");
    }
}

/// On one line, whatever a guest put into it.
fn line(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

impl Report {
    /// Notes that the entry at `path` is left out.
    pub(crate) fn left_out(&mut self, path: &[u8], why: &str) {
        self.left_out.add(|| format!("{}: {}", line(path), line(why.as_bytes())));
    }

    /// Notes that an entry has another name.
    pub(crate) fn renamed(&mut self, path: &[u8], name: &str) {
        self.renamed.add(|| format!("{} is {name}", line(path)));
    }

    /// The report; `None` where all is as it was. Lines end as Windows wants them, which others read too.
    pub(crate) fn text(&self) -> Option<String> {
        if self.left_out.count == 0 && self.renamed.count == 0 {
            return None;
        }
        let mut text = String::new();
        self.left_out.write(
            "These files are NOT in this archive, because they could not be read or stored:",
            &mut text,
        );
        self.renamed.write("These files have other names here, because a ZIP can't hold theirs:", &mut text);
        Some(text)
    }
}

/// A text as a file.
pub(crate) struct Text {
    bytes: Vec<u8>,
    all: [(u64, u64); 1],
}

impl Text {
    /// All of it is data.
    pub(crate) fn new(text: String) -> Self {
        Text { all: [(0, text.len() as u64)], bytes: text.into_bytes() }
    }
}

impl Content for Text {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn data(&self) -> &[(u64, u64)] {
        &self.all
    }

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), String> {
        let start = usize::try_from(offset).map_err(|error| error.to_string())?;
        let part = self.bytes.get(start..).and_then(|rest| rest.get(..buf.len()));
        buf.copy_from_slice(part.ok_or("the report ended before its end")?);
        Ok(())
    }
}

/// The time of this machine.
pub(crate) fn now() -> (i64, u32) {
    (jiff::Timestamp::now().as_second(), 0)
}
