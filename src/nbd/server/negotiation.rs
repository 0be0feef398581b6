//! The server's half of the handshake, over any stream.
//!
//! The model: [`greet`] says hello and reads the client's flags; [`negotiate`] answers options until the client
//! has chosen an export, asks for TLS, or leaves. After TLS has begun `negotiate` is called again on the new
//! stream, and nothing of what was agreed on in plain text holds any more. Fixed newstyle only: no client of
//! the last ten years speaks anything older.
//!
//! Options are bounded in size and number; the time that all of it takes is the connection's business.
//!
//! Source: `doc/proto.md` of the NBD project, chapters "Fixed newstyle negotiation" and "Option types".

use super::error::{Result, protocol};
use super::export::{Export, Exports, Peer, Refused};
use crate::wire::{self, Fields, allocation, handshake_flag, info, option, reply};
use std::io::{Read, Write};
use std::sync::Arc;

/// The id under which `base:allocation` is agreed on.
pub(super) const ALLOCATION_ID: u32 = 1;
/// What a server likes best: a cluster of a backup.
const PREFERRED_BLOCK: u32 = 64 << 10;

/// What the client said to the greeting.
#[derive(Debug, Clone, Copy)]
pub struct Greeted {
    no_zeroes: bool,
}

/// Whether a connection is, or must be, inside TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// The server has no TLS.
    Plain,
    /// Nothing is told before TLS.
    TlsFirst,
    /// Inside TLS.
    Tls,
}

/// What a connection has come to.
#[derive(Debug)]
pub enum Outcome {
    /// Requests follow.
    Serve(Agreement),
    /// TLS follows.
    StartTls,
    /// The client has left in good order, or was told why it gets nothing.
    Goodbye,
}

/// What client and server have agreed on.
#[derive(Debug, Clone)]
pub struct Agreement {
    /// The chosen export.
    pub export: Arc<Export>,
    /// Structured replies.
    pub structured: bool,
    /// Block status with `base:allocation`.
    pub allocation: bool,
}

/// Says hello, and reads the answer.
///
/// # Errors
/// Where the stream breaks, or the client sets flags that nobody offered.
pub fn greet(stream: &mut (impl Read + Write)) -> Result<Greeted> {
    let mut hello = [0; 18];
    let flags = handshake_flag::FIXED_NEWSTYLE | handshake_flag::NO_ZEROES;
    hello[..8].copy_from_slice(&wire::INIT_MAGIC.to_be_bytes());
    hello[8..16].copy_from_slice(&wire::OPTION_MAGIC.to_be_bytes());
    hello[16..].copy_from_slice(&flags.to_be_bytes());
    stream.write_all(&hello)?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer)?;
    let answer = u32::from_be_bytes(answer);
    if answer & !u32::from(flags) != 0 {
        return protocol(format!("unknown flags {answer:#x} in answer to the greeting"));
    }
    Ok(Greeted { no_zeroes: answer & u32::from(handshake_flag::NO_ZEROES) != 0 })
}

/// Answers options until they come to something.
///
/// # Errors
/// Where the stream breaks or the client leaves the protocol; the stream is to be closed.
pub fn negotiate(
    stream: &mut (impl Read + Write),
    greeted: Greeted,
    security: Security,
    exports: &dyn Exports,
    peer: &Peer,
) -> Result<Outcome> {
    let mut haggling = Haggling { stream, security, exports, peer, structured: false, allocation_of: None };
    for _ in 0..wire::MOST_OPTIONS {
        if let Some(outcome) = haggling.option(greeted)? {
            return Ok(outcome);
        }
    }
    protocol("it sends options without end")
}

struct Haggling<'a, S> {
    stream: &'a mut S,
    security: Security,
    exports: &'a dyn Exports,
    peer: &'a Peer,
    structured: bool,
    /// The export name for which `base:allocation` was selected.
    allocation_of: Option<String>,
}

impl<S: Read + Write> Haggling<'_, S> {
    /// Answers one option; `Some` where it was the last.
    fn option(&mut self, greeted: Greeted) -> Result<Option<Outcome>> {
        let mut head = [0; 16];
        self.stream.read_exact(&mut head)?;
        let mut fields = Fields(&head);
        let (magic, code, length) = (fields.u64(), fields.u32(), fields.u32());
        let (Some(code), Some(length)) = (code, length) else { return protocol("a short option") };
        if magic != Some(wire::OPTION_MAGIC) {
            return protocol("an option begins with a wrong magic number");
        }
        if length > wire::LONGEST_OPTION {
            // What follows is not read, so nothing after it can be understood.
            self.reply(code, reply::ERR_TOO_BIG, b"this option is longer than the server takes")?;
            return Ok(Some(Outcome::Goodbye));
        }
        let mut data = vec![0; length as usize];
        self.stream.read_exact(&mut data)?;
        let early = self.security == Security::TlsFirst;
        match code {
            option::ABORT => {
                // The client may be gone without waiting for the answer.
                let _ = self.reply(code, reply::ACK, &[]);
                return Ok(Some(Outcome::Goodbye));
            }
            option::STARTTLS => return self.start_tls(&data),
            option::EXPORT_NAME if early => return protocol("it chooses an export before TLS"),
            option::EXPORT_NAME => return self.export_name(&data, greeted).map(Some),
            _ if early => self.reply(code, reply::ERR_TLS_REQD, b"this server talks inside TLS only")?,
            option::LIST => self.list(&data)?,
            option::INFO | option::GO => return self.info(code, &data),
            option::STRUCTURED_REPLY if !data.is_empty() => self.invalid(code)?,
            option::STRUCTURED_REPLY => {
                self.structured = true;
                self.reply(code, reply::ACK, &[])?;
            }
            option::LIST_META_CONTEXT | option::SET_META_CONTEXT => self.contexts(code, &data)?,
            _ => self.reply(code, reply::ERR_UNSUP, b"this option is not known here")?,
        }
        Ok(None)
    }

    fn start_tls(&mut self, data: &[u8]) -> Result<Option<Outcome>> {
        match self.security {
            _ if !data.is_empty() => self.invalid(option::STARTTLS)?,
            Security::Plain => self.reply(option::STARTTLS, reply::ERR_POLICY, b"this server has no TLS")?,
            Security::Tls => {
                self.reply(option::STARTTLS, reply::ERR_INVALID, b"this is inside TLS already")?
            }
            Security::TlsFirst => {
                self.reply(option::STARTTLS, reply::ACK, &[])?;
                return Ok(Some(Outcome::StartTls));
            }
        }
        Ok(None)
    }

    /// The oldest way to choose: there is no answer that says no but to hang up.
    fn export_name(&mut self, name: &[u8], greeted: Greeted) -> Result<Outcome> {
        let Some(name) = text(name) else { return protocol("an export name that is none") };
        let Ok(export) = self.exports.open(name, self.peer) else { return Ok(Outcome::Goodbye) };
        let mut answer = Vec::with_capacity(10 + wire::EXPORT_PADDING);
        answer.extend_from_slice(&export.size().to_be_bytes());
        answer.extend_from_slice(&export.flags(self.structured).to_be_bytes());
        if !greeted.no_zeroes {
            answer.resize(answer.len() + wire::EXPORT_PADDING, 0);
        }
        self.stream.write_all(&answer)?;
        Ok(Outcome::Serve(self.agreement(export, name)))
    }

    fn agreement(&self, export: Arc<Export>, name: &str) -> Agreement {
        // Contexts hold for the export that they were asked for, and for no other.
        let allocation = self.structured && self.allocation_of.as_deref() == Some(name);
        Agreement { export, structured: self.structured, allocation }
    }

    fn list(&mut self, data: &[u8]) -> Result<()> {
        if !data.is_empty() {
            return self.invalid(option::LIST);
        }
        for export in self.exports.list(self.peer) {
            let mut entry = Vec::new();
            wire::push_string(&mut entry, export.name());
            entry.extend_from_slice(export.description().as_bytes());
            self.reply(option::LIST, reply::SERVER, &entry)?;
        }
        self.reply(option::LIST, reply::ACK, &[])
    }

    /// `INFO` and `GO`: a name, a number of kinds of information, the kinds.
    fn info(&mut self, code: u32, data: &[u8]) -> Result<Option<Outcome>> {
        let mut fields = Fields(data);
        let asked = string(&mut fields).zip(fields.u16());
        let Some((name, kinds)) = asked.filter(|(_, kinds)| fields.0.len() == 2 * usize::from(*kinds)) else {
            self.invalid(code)?;
            return Ok(None);
        };
        let Some(export) = self.open(code, name)? else { return Ok(None) };
        let wanted: Vec<u16> = (0..kinds).filter_map(|_| fields.u16()).collect();
        let mut piece = Vec::with_capacity(12);
        piece.extend_from_slice(&info::EXPORT.to_be_bytes());
        piece.extend_from_slice(&export.size().to_be_bytes());
        piece.extend_from_slice(&export.flags(self.structured).to_be_bytes());
        self.reply(code, reply::INFO, &piece)?;
        for (kind, said) in [(info::NAME, export.name()), (info::DESCRIPTION, export.description())] {
            if wanted.contains(&kind) {
                let piece = [&kind.to_be_bytes(), said.as_bytes()].concat();
                self.reply(code, reply::INFO, &piece)?;
            }
        }
        let mut piece = info::BLOCK_SIZE.to_be_bytes().to_vec();
        for size in [1, PREFERRED_BLOCK, wire::DEFAULT_MAXIMUM_PAYLOAD] {
            piece.extend_from_slice(&size.to_be_bytes());
        }
        self.reply(code, reply::INFO, &piece)?;
        self.reply(code, reply::ACK, &[])?;
        Ok((code == option::GO).then(|| Outcome::Serve(self.agreement(export, name))))
    }

    /// `LIST_META_CONTEXT` and `SET_META_CONTEXT`: a name, a number of queries, the queries.
    fn contexts(&mut self, code: u32, data: &[u8]) -> Result<()> {
        let setting = code == option::SET_META_CONTEXT;
        if setting {
            // Whatever becomes of it, an earlier selection is over.
            self.allocation_of = None;
        }
        let mut fields = Fields(data);
        let Some((name, count)) = string(&mut fields).zip(fields.u32()) else { return self.invalid(code) };
        let mut found = !setting && count == 0;
        for _ in 0..count {
            // Ends with the data, however many the count claims.
            let Some(query) = string(&mut fields) else { return self.invalid(code) };
            found |= query == allocation::CONTEXT || (!setting && query == allocation::NAMESPACE);
        }
        if !fields.0.is_empty() {
            return self.invalid(code);
        }
        if setting && !self.structured {
            return self.reply(code, reply::ERR_INVALID, b"block status needs structured replies first");
        }
        if self.open(code, name)?.is_none() {
            return Ok(());
        }
        if found {
            // In a list the id has no meaning.
            let id = if setting { ALLOCATION_ID } else { 0 };
            let piece = [&id.to_be_bytes(), allocation::CONTEXT.as_bytes()].concat();
            self.reply(code, reply::META_CONTEXT, &piece)?;
            if setting {
                self.allocation_of = Some(name.to_owned());
            }
        }
        self.reply(code, reply::ACK, &[])
    }

    /// The export of that name, or `None` after the client was told why not.
    fn open(&mut self, code: u32, name: &str) -> Result<Option<Arc<Export>>> {
        let (kind, reason) = match self.exports.open(name, self.peer) {
            Ok(export) => return Ok(Some(export)),
            Err(Refused::Unknown) => (reply::ERR_UNKNOWN, "there is no such export".to_owned()),
            Err(Refused::Forbidden(reason)) => (reply::ERR_POLICY, reason),
            Err(Refused::Ending) => (reply::ERR_SHUTDOWN, "the export is being closed".to_owned()),
        };
        self.reply(code, kind, reason.as_bytes())?;
        Ok(None)
    }

    fn invalid(&mut self, code: u32) -> Result<()> {
        self.reply(code, reply::ERR_INVALID, b"this option's data is malformed")
    }

    fn reply(&mut self, code: u32, kind: u32, data: &[u8]) -> Result<()> {
        let mut out = Vec::with_capacity(20 + data.len());
        out.extend_from_slice(&wire::OPTION_REPLY_MAGIC.to_be_bytes());
        out.extend_from_slice(&code.to_be_bytes());
        out.extend_from_slice(&kind.to_be_bytes());
        // All data is this server's own, and far below 4 GiB.
        out.extend_from_slice(&u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend_from_slice(data);
        self.stream.write_all(&out)?;
        Ok(())
    }
}

/// A string with its length before it, as the protocol allows it.
fn string<'a>(fields: &mut Fields<'a>) -> Option<&'a str> {
    let length = fields.u32()?;
    text(fields.bytes(usize::try_from(length).ok()?)?)
}

fn text(bytes: &[u8]) -> Option<&str> {
    if bytes.len() > wire::LONGEST_STRING { None } else { std::str::from_utf8(bytes).ok() }
}
