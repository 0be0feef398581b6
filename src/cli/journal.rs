//! Systemd's journal, spoken to in its own protocol, so that a line keeps its fields: `journalctl SENDENSE_JOB_ID=…`.
//!
//! The protocol is that of <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>: a datagram an entry, of fields with names in capitals.
//! Where its socket takes nothing, the caller still has stderr, which the journal reads line by line.

use rustix::fs::fstat;
use std::io;
use std::os::unix::net::UnixDatagram;

/// Where the journal listens.
const SOCKET: &str = "/run/systemd/journal/socket";
/// Before the names of our fields, so that none is taken for one of the journal's own.
const PREFIX: &str = "SENDENSE_";
/// The longest name of a field.
const LONGEST_NAME: usize = 64;

/// Whether the journal reads this process's stderr: `JOURNAL_STREAM` says which file that is (systemd.exec(5)).
pub(crate) fn reads_stderr() -> bool {
    let stream = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    let named = stream.split_once(':').and_then(|(dev, ino)| Some((dev.parse().ok()?, ino.parse().ok()?)));
    named.is_some() && named == fstat(io::stderr()).ok().map(|stat| (stat.st_dev, stat.st_ino))
}

/// The way to the journal.
pub(crate) struct Journal(UnixDatagram);

impl Journal {
    /// # Errors
    /// Where there is no journal.
    pub(crate) fn open() -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(SOCKET)?;
        // A journal that is behind must not hold up the work.
        socket.set_nonblocking(true)?;
        Ok(Journal(socket))
    }

    /// Sends an entry.
    ///
    /// # Errors
    /// Where the journal does not take it.
    pub(crate) fn send(&self, entry: &Entry) -> io::Result<()> {
        self.0.send(&entry.0).map(drop)
    }
}

/// An entry that is being put together.
pub(crate) struct Entry(Vec<u8>);

impl Entry {
    /// `priority` is one of syslog(3).
    pub(crate) fn new(message: &str, priority: u8) -> Self {
        let mut entry = Entry(Vec::with_capacity(256));
        entry.push("MESSAGE", message);
        entry.push("PRIORITY", &priority.to_string());
        entry.push("SYSLOG_IDENTIFIER", "sendense-ctl");
        entry
    }

    /// A field of our own; what may not stand in a name becomes `_`.
    pub(crate) fn field(&mut self, name: &str, value: &str) {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
        let name: String = PREFIX.chars().chain(name.chars().map(plain)).take(LONGEST_NAME).collect();
        self.push(&name, value);
    }

    /// A value with a line break goes with its length instead of to the end of the line.
    fn push(&mut self, name: &str, value: &str) {
        self.0.extend_from_slice(name.as_bytes());
        if value.contains('\n') {
            self.0.push(b'\n');
            self.0.extend_from_slice(&(value.len() as u64).to_le_bytes());
        } else {
            self.0.push(b'=');
        }
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_what_the_protocol_says() {
        let mut entry = Entry::new("gone", 4);
        entry.field("job-id", "a b=c");
        entry.field("error", "x\ny");
        let expected = b"MESSAGE=gone\nPRIORITY=4\nSYSLOG_IDENTIFIER=sendense-ctl\nSENDENSE_JOB_ID=a b=c\n\
                         SENDENSE_ERROR\n\x03\0\0\0\0\0\0\0x\ny\n";
        assert_eq!(entry.0, expected);
        let mut long = Entry(Vec::new());
        long.field(&"x".repeat(200), "");
        assert_eq!(long.0.len(), LONGEST_NAME + 2);
    }
}
