//! The NBD protocol's numbers and fixed-size messages, as both sides of a connection see them.
//!
//! Source: the protocol document of the NBD project (`doc/proto.md`), chapters "Values", "Option types",
//! "Transmission". All integers are big endian. Nothing here does I/O or decides anything; bounds that a
//! receiver must hold are constants here, so that a client and a server agree on them.

/// "NBDMAGIC", the first eight bytes a server sends.
pub const INIT_MAGIC: u64 = 0x4e42_444d_4147_4943;
/// "IHAVEOPT": newstyle negotiation; also before each option.
pub const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054;
/// The second magic number of the oldstyle negotiation.
pub const OLDSTYLE_MAGIC: u64 = 0x0000_4202_8186_1253;
/// Before each reply to an option.
pub const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
/// Before each request.
pub const REQUEST_MAGIC: u32 = 0x2560_9513;
/// Before each simple reply.
pub const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;
/// Before each structured reply chunk.
pub const STRUCTURED_REPLY_MAGIC: u32 = 0x668e_33ef;

/// Longest string of the protocol (export names, error texts), bytes.
pub const LONGEST_STRING: usize = 4096;
/// Longest data of an option that a server takes, bytes: a name, and more queries than anybody has.
pub const LONGEST_OPTION: u32 = 64 << 10;
/// Most options that a server answers to one client.
pub const MOST_OPTIONS: usize = 1024;
/// Longest reply to an option that is taken, bytes.
pub const LONGEST_OPTION_REPLY: u32 = 64 << 10;
/// Most replies to one option that are taken.
pub const MOST_OPTION_REPLIES: usize = 256;
/// Largest payload of a read or write that may be used unless the server names another, bytes.
pub const DEFAULT_MAXIMUM_PAYLOAD: u32 = 32 << 20;
/// Zero bytes behind the answer to `EXPORT_NAME` and the oldstyle greeting.
pub const EXPORT_PADDING: usize = 124;

/// Handshake flags: the server's, 16 bits, and the client's answer, 32 bits, alike.
pub mod handshake_flag {
    /// Fixed newstyle: options may be haggled over.
    pub const FIXED_NEWSTYLE: u16 = 1 << 0;
    /// No padding behind the answer to `EXPORT_NAME`.
    pub const NO_ZEROES: u16 = 1 << 1;
}

/// Transmission flags: what an export can do.
pub mod export_flag {
    /// Always set.
    pub const HAS_FLAGS: u16 = 1 << 0;
    /// Can't be written.
    pub const READ_ONLY: u16 = 1 << 1;
    /// Knows `FLUSH`.
    pub const SEND_FLUSH: u16 = 1 << 2;
    /// Knows the flag `FUA`.
    pub const SEND_FUA: u16 = 1 << 3;
    /// Knows `TRIM`.
    pub const SEND_TRIM: u16 = 1 << 5;
    /// Knows `WRITE_ZEROES`.
    pub const SEND_WRITE_ZEROES: u16 = 1 << 6;
    /// Knows the flag `DF`.
    pub const SEND_DF: u16 = 1 << 7;
    /// Several connections see each other's writes and flushes.
    pub const CAN_MULTI_CONN: u16 = 1 << 8;
    /// Knows the flag `FAST_ZERO`.
    pub const SEND_FAST_ZERO: u16 = 1 << 11;
}

/// Options.
pub mod option {
    /// Choose an export; no error can be told.
    pub const EXPORT_NAME: u32 = 1;
    /// Give up.
    pub const ABORT: u32 = 2;
    /// List the exports.
    pub const LIST: u32 = 3;
    /// Begin TLS.
    pub const STARTTLS: u32 = 5;
    /// Ask about an export.
    pub const INFO: u32 = 6;
    /// Choose an export and begin transmission.
    pub const GO: u32 = 7;
    /// Use structured replies.
    pub const STRUCTURED_REPLY: u32 = 8;
    /// List metadata contexts.
    pub const LIST_META_CONTEXT: u32 = 9;
    /// Select metadata contexts.
    pub const SET_META_CONTEXT: u32 = 10;
}

/// Types of replies to options; those with bit 31 are errors.
pub mod reply {
    /// Done.
    pub const ACK: u32 = 1;
    /// One export of a list.
    pub const SERVER: u32 = 2;
    /// One piece of information about an export.
    pub const INFO: u32 = 3;
    /// One metadata context.
    pub const META_CONTEXT: u32 = 4;
    /// The bit that all errors have.
    pub const ERROR: u32 = 1 << 31;
    /// Option not known.
    pub const ERR_UNSUP: u32 = ERROR + 1;
    /// Forbidden by configuration.
    pub const ERR_POLICY: u32 = ERROR + 2;
    /// Malformed.
    pub const ERR_INVALID: u32 = ERROR + 3;
    /// Not on this platform.
    pub const ERR_PLATFORM: u32 = ERROR + 4;
    /// TLS first.
    pub const ERR_TLS_REQD: u32 = ERROR + 5;
    /// No such export.
    pub const ERR_UNKNOWN: u32 = ERROR + 6;
    /// Going down.
    pub const ERR_SHUTDOWN: u32 = ERROR + 7;
    /// The client must honour block sizes.
    pub const ERR_BLOCK_SIZE_REQD: u32 = ERROR + 8;
    /// More than the server takes.
    pub const ERR_TOO_BIG: u32 = ERROR + 9;
}

/// Types of information in replies to `GO` and `INFO`.
pub mod info {
    /// Size and transmission flags.
    pub const EXPORT: u16 = 0;
    /// The export's canonical name.
    pub const NAME: u16 = 1;
    /// What it is, for a person.
    pub const DESCRIPTION: u16 = 2;
    /// Minimum, preferred and maximum block size.
    pub const BLOCK_SIZE: u16 = 3;
}

/// The metadata context that tells holes and zeroes, and its flags.
pub mod allocation {
    /// Its name.
    pub const CONTEXT: &str = "base:allocation";
    /// What asks for all contexts of its namespace.
    pub const NAMESPACE: &str = "base:";
    /// Not allocated.
    pub const HOLE: u32 = 1 << 0;
    /// Reads as zeroes.
    pub const ZERO: u32 = 1 << 1;
}

/// Commands.
pub mod command {
    /// Read.
    pub const READ: u16 = 0;
    /// Write.
    pub const WRITE: u16 = 1;
    /// Say goodbye; has no reply.
    pub const DISC: u16 = 2;
    /// Make durable.
    pub const FLUSH: u16 = 3;
    /// Discard.
    pub const TRIM: u16 = 4;
    /// Make zero.
    pub const WRITE_ZEROES: u16 = 6;
    /// Ask for metadata.
    pub const BLOCK_STATUS: u16 = 7;
}

/// Command flags.
pub mod command_flag {
    /// Durable before the reply.
    pub const FUA: u16 = 1 << 0;
    /// Zeroes that stay allocated.
    pub const NO_HOLE: u16 = 1 << 1;
    /// The bytes in one chunk.
    pub const DF: u16 = 1 << 2;
    /// One descriptor only.
    pub const REQ_ONE: u16 = 1 << 3;
    /// Fail rather than be slow.
    pub const FAST_ZERO: u16 = 1 << 4;
}

/// Types of structured reply chunks; those with bit 15 are errors.
pub mod chunk {
    /// The flag of a reply's last chunk.
    pub const DONE: u16 = 1 << 0;
    /// Nothing more.
    pub const NONE: u16 = 0;
    /// Offset and bytes.
    pub const OFFSET_DATA: u16 = 1;
    /// Offset and a number of zero bytes.
    pub const OFFSET_HOLE: u16 = 2;
    /// Context and descriptors.
    pub const BLOCK_STATUS: u16 = 5;
    /// The bit that all errors have.
    pub const ERROR: u16 = 1 << 15;
    /// An error.
    pub const ERROR_PLAIN: u16 = ERROR + 1;
    /// An error at an offset.
    pub const ERROR_OFFSET: u16 = ERROR + 2;
}

/// One request, without its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Command flags.
    pub flags: u16,
    /// The command.
    pub command: u16,
    /// The client's name for it.
    pub cookie: u64,
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub length: u32,
}

impl Request {
    /// Bytes on the wire.
    pub const SIZE: usize = 28;

    /// As sent.
    pub fn encode(&self) -> [u8; Self::SIZE] {
        let mut out = [0; Self::SIZE];
        let mut fill = Filler { out: &mut out, at: 0 };
        fill.put(&REQUEST_MAGIC.to_be_bytes());
        fill.put(&self.flags.to_be_bytes());
        fill.put(&self.command.to_be_bytes());
        fill.put(&self.cookie.to_be_bytes());
        fill.put(&self.offset.to_be_bytes());
        fill.put(&self.length.to_be_bytes());
        out
    }

    /// As received; `None` where it does not begin with the magic number.
    pub fn decode(bytes: &[u8; Self::SIZE]) -> Option<Request> {
        let mut fields = Fields(bytes);
        if fields.u32()? != REQUEST_MAGIC {
            return None;
        }
        let (flags, command, cookie) = (fields.u16()?, fields.u16()?, fields.u64()?);
        Some(Request { flags, command, cookie, offset: fields.u64()?, length: fields.u32()? })
    }
}

/// Writes fields one after another into a message of known size.
struct Filler<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl Filler<'_> {
    fn put(&mut self, bytes: &[u8]) {
        if let Some(place) = self.out.get_mut(self.at..self.at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
        self.at += bytes.len();
    }
}

/// An option with its data, as sent by a client.
pub fn encode_option(option: u32, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 + data.len());
    out.extend_from_slice(&OPTION_MAGIC.to_be_bytes());
    out.extend_from_slice(&option.to_be_bytes());
    out.extend_from_slice(&length_field(data.len()).to_be_bytes());
    out.extend_from_slice(data);
    out
}

/// A string with its 32-bit length before it.
pub fn push_string(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&length_field(text.len()).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// Lengths that this side chose: names and queries, bounded by [`LONGEST_STRING`].
fn length_field(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// Reads big-endian fields one after another from a received message; `None` past its end.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    /// The next 16 bits.
    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// The next 32 bits.
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    /// The next 64 bits.
    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// The next `length` bytes.
    pub fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }
}

/// A peer's text made fit for a terminal and a log: valid UTF-8, no control characters, at most 240
/// characters.
pub fn printable(text: &[u8]) -> String {
    let mut out = String::new();
    for (count, c) in String::from_utf8_lossy(text).trim().chars().enumerate() {
        if count == 240 {
            out.push('…');
            break;
        }
        // Besides controls: the characters that turn the direction of text around them.
        let odd = c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        out.push(if odd { '\u{fffd}' } else { c });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_laid_out_as_the_protocol_says() {
        let request =
            Request { flags: 1, command: 7, cookie: 0x0102_0304_0506_0708, offset: 512, length: 1024 };
        let expected =
            [0x25, 0x60, 0x95, 0x13, 0, 1, 0, 7, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 4, 0];
        assert_eq!(request.encode(), expected);
        assert_eq!(Request::decode(&expected), Some(request));
        assert_eq!(Request::decode(&[0; 28]), None);
    }

    #[test]
    fn fields_end_with_none_and_never_past_the_end() {
        let mut fields = Fields(&[0, 1, 0, 0, 0, 2, 9]);
        assert_eq!((fields.u16(), fields.u32(), fields.u16()), (Some(1), Some(2), None));
        assert_eq!(fields.bytes(1), Some(&[9][..]));
        assert_eq!(fields.bytes(1), None);
    }

    #[test]
    fn a_peers_text_can_not_harm_a_terminal() {
        assert_eq!(printable(b" no\x1b[31m\n such \xff "), "no\u{fffd}[31m\u{fffd} such \u{fffd}");
        assert_eq!(printable("a\u{202e}b".as_bytes()), "a\u{fffd}b");
        assert_eq!(printable(&[b'x'; 5000]).chars().count(), 241);
    }
}
