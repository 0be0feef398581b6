//! The client's half of the handshake, over any stream.
//!
//! The model: [`greet`] reads what the server speaks (fixed newstyle, newstyle or oldstyle) and answers;
//! [`start_tls`] may follow; [`choose_export`] agrees on structured replies, on the metadata context
//! `base:allocation` and on the export, and returns what the export can do. After that the stream carries
//! requests and replies ([`crate::session`]). An error at any step leaves a stream that is fit only to be
//! closed.
//!
//! Servers of all ages are met half-way: one without `GO` is asked by `EXPORT_NAME`, one without structured
//! replies has no block status, one without block sizes gets the protocol's defaults. Replies are bounded
//! in size and number. What is *not* here: sockets, time limits, TLS itself.

use crate::wire::{self, Fields, allocation, export_flag, handshake_flag, info, option, reply};
use crate::{Error, Refusal, Result};
use std::io::{Read, Write};

/// Which negotiation a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Fixed newstyle: options can be haggled over.
    Fixed {
        /// No padding behind the answer to `EXPORT_NAME`.
        no_zeroes: bool,
    },
    /// Newstyle before it was fixed: only `EXPORT_NAME`.
    Unfixed {
        /// As above.
        no_zeroes: bool,
    },
    /// Oldstyle: one export without a name, described in the greeting.
    Old {
        /// Its size in bytes.
        size: u64,
        /// Its transmission flags.
        flags: u16,
    },
}

/// What a server said of the export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// Its size in bytes.
    pub size: u64,
    /// Its transmission flags, [`wire::export_flag`].
    pub flags: u16,
    /// Unit of offsets and lengths: a power of two, 1 to 64 KiB.
    pub minimum_block: u32,
    /// What the server likes best: a power of two, at least `minimum_block`.
    pub preferred_block: u32,
    /// Largest payload of one read or write, a multiple of `minimum_block`.
    pub maximum_payload: u32,
    /// Structured replies were agreed on.
    pub structured: bool,
    /// The id of `base:allocation`, where block status can be asked.
    pub allocation_context: Option<u32>,
}

impl Export {
    /// Whether `other` can stand in for it: the same size, abilities and alignment.
    pub fn equals(&self, other: &Export) -> bool {
        let what = |export: &Export| (export.size, export.flags, export.minimum_block);
        what(self) == what(other)
    }

    /// Whether a transmission flag is set.
    pub fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}

fn protocol<T>(what: impl Into<String>) -> Result<T> {
    Err(Error::Protocol(what.into()))
}

fn lost(error: std::io::Error) -> Error {
    Error::from_transport(error, 0)
}

fn receive<const N: usize>(stream: &mut impl Read) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).map_err(lost)?;
    Ok(bytes)
}

fn send(stream: &mut impl Write, bytes: &[u8]) -> Result<()> {
    stream.write_all(bytes).and_then(|()| stream.flush()).map_err(lost)
}

/// Reads the server's greeting and answers it.
///
/// # Errors
/// Where the stream breaks or what comes is not NBD.
pub fn greet(stream: &mut (impl Read + Write)) -> Result<Style> {
    let magic = u64::from_be_bytes(receive(stream)?);
    if magic != wire::INIT_MAGIC {
        return protocol(format!(
            "it does not greet as an NBD server (it began with {:?})",
            wire::printable(&magic.to_be_bytes())
        ));
    }
    match u64::from_be_bytes(receive(stream)?) {
        wire::OLDSTYLE_MAGIC => {
            let size = u64::from_be_bytes(receive(stream)?);
            // Oldstyle sends 32 bits of flags, of which the upper half was for the handshake.
            let flags = u32::from_be_bytes(receive(stream)?);
            receive::<{ wire::EXPORT_PADDING }>(stream)?;
            let flags = u16::try_from(flags & 0xffff).unwrap_or_default();
            Ok(Style::Old { size, flags })
        }
        wire::OPTION_MAGIC => {
            let flags = u16::from_be_bytes(receive(stream)?);
            let ours = flags & (handshake_flag::FIXED_NEWSTYLE | handshake_flag::NO_ZEROES);
            send(stream, &u32::from(ours).to_be_bytes())?;
            let no_zeroes = flags & handshake_flag::NO_ZEROES != 0;
            Ok(if flags & handshake_flag::FIXED_NEWSTYLE != 0 {
                Style::Fixed { no_zeroes }
            } else {
                Style::Unfixed { no_zeroes }
            })
        }
        _ => protocol("its second magic number is unknown"),
    }
}

/// One reply to an option.
struct Reply {
    kind: u32,
    data: Vec<u8>,
}

impl Reply {
    fn receive(stream: &mut impl Read, option: u32) -> Result<Self> {
        let header = receive::<20>(stream)?;
        let mut fields = Fields(&header);
        let (magic, of, kind, length) = (fields.u64(), fields.u32(), fields.u32(), fields.u32());
        let (Some(kind), Some(length)) = (kind, length) else { return protocol("a short option reply") };
        if magic != Some(wire::OPTION_REPLY_MAGIC) {
            return protocol("an option reply begins with a wrong magic number");
        }
        if of != Some(option) {
            return protocol(format!("it answers option {} instead of {option}", of.unwrap_or_default()));
        }
        if length > wire::LONGEST_OPTION_REPLY {
            return protocol(format!("an option reply of {length} bytes"));
        }
        let mut data = vec![0; usize::try_from(length).unwrap_or_default()];
        stream.read_exact(&mut data).map_err(lost)?;
        Ok(Reply { kind, data })
    }

    fn is_error(&self) -> bool {
        self.kind & reply::ERROR != 0
    }

    /// The refusal in words, for the export `name`.
    fn refusal(&self, name: &str) -> Error {
        let said = wire::printable(&self.data);
        let said = if said.is_empty() { said } else { format!(" (it says: {said})") };
        let name = wire::printable(name.as_bytes());
        let (refusal, text) = match self.kind {
            reply::ERR_UNKNOWN => {
                (Refusal::UnknownExport, format!("the server has no export named '{name}'"))
            }
            reply::ERR_TLS_REQD => {
                (Refusal::TlsRequired, "the server requires TLS: write nbds:// instead of nbd://".into())
            }
            reply::ERR_POLICY => {
                (Refusal::Policy, format!("the server's policy forbids access to the export '{name}'"))
            }
            reply::ERR_SHUTDOWN => (Refusal::ShuttingDown, "the server is shutting down".into()),
            reply::ERR_UNSUP => (Refusal::Other, "the server does not support what is asked".into()),
            reply::ERR_INVALID => {
                (Refusal::Other, format!("the server calls the request for the export '{name}' invalid"))
            }
            reply::ERR_PLATFORM => {
                (Refusal::Other, "the server's platform does not support what is asked".into())
            }
            reply::ERR_BLOCK_SIZE_REQD => {
                (Refusal::Other, "the server wants its block sizes to be honoured".into())
            }
            other => (Refusal::Other, format!("the server refuses with reply {other:#x}")),
        };
        Error::Refused { refusal, message: text + &said }
    }
}

/// Asks for TLS; after `Ok` the stream must be wrapped.
///
/// # Errors
/// Where the server has no TLS or refuses.
pub fn start_tls(stream: &mut (impl Read + Write), style: Style) -> Result<()> {
    let unavailable =
        |text: &str| Error::Refused { refusal: Refusal::TlsUnavailable, message: text.to_owned() };
    if !matches!(style, Style::Fixed { .. }) {
        return Err(unavailable("the server is too old for TLS; only nbd:// can reach it, unencrypted"));
    }
    send(stream, &wire::encode_option(option::STARTTLS, &[]))?;
    let answer = Reply::receive(stream, option::STARTTLS)?;
    match answer.kind {
        reply::ACK => Ok(()),
        reply::ERR_SHUTDOWN => Err(answer.refusal("")),
        _ if answer.is_error() => Err(unavailable("the server has no TLS: it refuses what nbds:// requires")),
        other => protocol(format!("it answers STARTTLS with reply {other}")),
    }
}

/// Chooses the export `name` and agrees on how to talk about it.
///
/// # Errors
/// Where the server refuses the export, breaks the protocol, or the stream breaks.
pub fn choose_export(stream: &mut (impl Read + Write), style: Style, name: &str) -> Result<Export> {
    match style {
        // Giving another disk than the one that was named would be worse than none.
        Style::Old { .. } if !name.is_empty() => Err(Error::Refused {
            refusal: Refusal::UnknownExport,
            message: "the server is too old to know exports by name: leave the name out of the URI".into(),
        }),
        Style::Old { size, flags } => check(Export { size, flags, ..PLAIN }, None),
        Style::Unfixed { no_zeroes } => by_export_name(stream, name, no_zeroes, PLAIN),
        Style::Fixed { no_zeroes } => {
            let structured = structured_replies(stream)?;
            let allocation_context = if structured { allocation_context(stream, name)? } else { None };
            let agreed = Export { structured, allocation_context, ..PLAIN };
            match go(stream, name, agreed.clone())? {
                Some(export) => Ok(export),
                None => by_export_name(stream, name, no_zeroes, agreed),
            }
        }
    }
}

/// What holds where nothing was agreed on.
const PLAIN: Export = Export {
    size: 0,
    flags: 0,
    minimum_block: 1,
    preferred_block: 4096,
    maximum_payload: wire::DEFAULT_MAXIMUM_PAYLOAD,
    structured: false,
    allocation_context: None,
};

fn structured_replies(stream: &mut (impl Read + Write)) -> Result<bool> {
    send(stream, &wire::encode_option(option::STRUCTURED_REPLY, &[]))?;
    let answer = Reply::receive(stream, option::STRUCTURED_REPLY)?;
    match answer.kind {
        reply::ACK => Ok(true),
        reply::ERR_TLS_REQD | reply::ERR_SHUTDOWN => Err(answer.refusal("")),
        _ if answer.is_error() => Ok(false),
        other => protocol(format!("it answers STRUCTURED_REPLY with reply {other}")),
    }
}

/// Selects `base:allocation`; `None` where the server does not offer it. Whether the export exists is left
/// to `GO`, which tells better.
fn allocation_context(stream: &mut (impl Read + Write), name: &str) -> Result<Option<u32>> {
    let mut data = Vec::new();
    wire::push_string(&mut data, name);
    data.extend_from_slice(&1u32.to_be_bytes());
    wire::push_string(&mut data, allocation::CONTEXT);
    send(stream, &wire::encode_option(option::SET_META_CONTEXT, &data))?;
    let mut id = None;
    for _ in 0..wire::MOST_OPTION_REPLIES {
        let answer = Reply::receive(stream, option::SET_META_CONTEXT)?;
        match answer.kind {
            reply::ACK => return Ok(id),
            reply::META_CONTEXT => {
                let mut fields = Fields(&answer.data);
                let Some(number) = fields.u32() else { return protocol("a short metadata context") };
                if fields.0 == allocation::CONTEXT.as_bytes() {
                    id = Some(number);
                }
            }
            reply::ERR_TLS_REQD | reply::ERR_SHUTDOWN => return Err(answer.refusal(name)),
            _ if answer.is_error() => return Ok(None),
            other => return protocol(format!("it answers SET_META_CONTEXT with reply {other}")),
        }
    }
    protocol("it does not stop naming metadata contexts")
}

/// `NBD_OPT_GO`; `None` where the server does not know it.
fn go(stream: &mut (impl Read + Write), name: &str, agreed: Export) -> Result<Option<Export>> {
    let mut data = Vec::new();
    wire::push_string(&mut data, name);
    data.extend_from_slice(&1u16.to_be_bytes());
    data.extend_from_slice(&info::BLOCK_SIZE.to_be_bytes());
    send(stream, &wire::encode_option(option::GO, &data))?;
    let mut described = None;
    let mut blocks = None;
    for _ in 0..wire::MOST_OPTION_REPLIES {
        let answer = Reply::receive(stream, option::GO)?;
        match answer.kind {
            reply::ACK => {
                let Some((size, flags)) = described else {
                    return protocol("it accepts the export without telling its size");
                };
                return check(Export { size, flags, ..agreed }, blocks).map(Some);
            }
            reply::INFO => {
                let mut fields = Fields(&answer.data);
                match fields.u16() {
                    Some(info::EXPORT) => match (fields.u64(), fields.u16()) {
                        (Some(size), Some(flags)) => described = Some((size, flags)),
                        _ => return protocol("a short description of the export"),
                    },
                    Some(info::BLOCK_SIZE) => match (fields.u32(), fields.u32(), fields.u32()) {
                        (Some(least), Some(liked), Some(most)) => blocks = Some([least, liked, most]),
                        _ => return protocol("a short description of block sizes"),
                    },
                    Some(_) => {}
                    None => return protocol("a short information reply"),
                }
            }
            reply::ERR_UNSUP => return Ok(None),
            _ if answer.is_error() => return Err(answer.refusal(name)),
            other => return protocol(format!("it answers GO with reply {other}")),
        }
    }
    protocol("it does not stop describing the export")
}

fn by_export_name(
    stream: &mut (impl Read + Write),
    name: &str,
    no_zeroes: bool,
    agreed: Export,
) -> Result<Export> {
    send(stream, &wire::encode_option(option::EXPORT_NAME, name.as_bytes()))?;
    let answer: [u8; 10] = receive(stream).map_err(|error| match error {
        // The protocol's only way to say no to this option.
        Error::Lost(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Error::Refused {
            refusal: Refusal::UnknownExport,
            message: format!(
                "the server closed the connection when asked for the export '{}': it may have none of that name",
                wire::printable(name.as_bytes())
            ),
        },
        other => other,
    })?;
    let mut fields = Fields(&answer);
    let (Some(size), Some(flags)) = (fields.u64(), fields.u16()) else {
        return protocol("a short description of the export");
    };
    if !no_zeroes {
        receive::<{ wire::EXPORT_PADDING }>(stream)?;
    }
    check(Export { size, flags, ..agreed }, None)
}

/// Bounds on what the server said ("Block size constraints" in the protocol).
fn check(mut export: Export, blocks: Option<[u32; 3]>) -> Result<Export> {
    if export.size > i64::MAX.unsigned_abs() {
        return protocol(format!("an export of {} bytes", export.size));
    }
    if let Some([least, liked, most]) = blocks {
        // A few servers say 0 for "no minimum".
        let least = least.max(1);
        if !least.is_power_of_two() || least > 64 << 10 {
            return protocol(format!("a minimum block size of {least}"));
        }
        if most < least {
            return protocol(format!("a maximum block size of {most}, below the minimum of {least}"));
        }
        export.minimum_block = least;
        export.preferred_block = if liked.is_power_of_two() { liked.clamp(least, 32 << 20) } else { least };
        let most = most.min(wire::DEFAULT_MAXIMUM_PAYLOAD);
        export.maximum_payload = most - most % least;
    }
    if !export.has(export_flag::HAS_FLAGS) {
        // Without it, no other bit means anything.
        export.flags = 0;
    }
    Ok(export)
}
