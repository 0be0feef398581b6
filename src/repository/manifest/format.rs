//! The bytes of a manifest: fixed-size parts, little endian.
//!
//! ```text
//! header   24   magic "SNDB3\0\0\x01" · u32 granule size · u32 flags (0) · u64 virtual size
//! run      16   u64 first granule · u32 count (at least 1) · u32 kind; kind 1 is followed by count × 32 bytes
//! end      16   u64 number of data granules · u32 0 · u32 0
//! trailer  32   BLAKE3 of all bytes before it
//! ```

use block::GRANULE;

pub(super) const MAGIC: [u8; 8] = *b"SNDB3\0\0\x01";
pub(super) const HEADER: usize = 24;
pub(super) const RUN: usize = 16;
pub(super) const HASH: usize = 32;
/// End marker and trailer.
pub(super) const TAIL: usize = RUN + HASH;

const DATA: u32 = 1;
const ZERO: u32 = 2;

/// What a run says of its granules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunKind {
    /// Stored data; a hash for each.
    Data,
    /// Stored as explicit zeros.
    Zero,
}

/// A range of granules that an image stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The first granule.
    pub first: u64,
    /// How many, at least 1.
    pub count: u32,
    /// Data or zeros.
    pub kind: RunKind,
}

impl Run {
    /// The first granule behind it.
    pub fn end(&self) -> u64 {
        self.first.saturating_add(u64::from(self.count))
    }

    /// Bytes of hashes that follow the run's header.
    pub(super) fn payload(&self) -> u64 {
        match self.kind {
            RunKind::Data => u64::from(self.count) * HASH as u64,
            RunKind::Zero => 0,
        }
    }

    pub(super) fn encode(&self) -> [u8; RUN] {
        let kind = match self.kind {
            RunKind::Data => DATA,
            RunKind::Zero => ZERO,
        };
        encode_run(self.first, self.count, kind)
    }
}

/// A run's header as it was read.
pub(super) enum Part {
    Run(Run),
    End { data_granules: u64 },
}

pub(super) fn encode_end(data_granules: u64) -> [u8; RUN] {
    encode_run(data_granules, 0, 0)
}

fn encode_run(first: u64, count: u32, kind: u32) -> [u8; RUN] {
    let mut bytes = [0; RUN];
    bytes[..8].copy_from_slice(&first.to_le_bytes());
    bytes[8..12].copy_from_slice(&count.to_le_bytes());
    bytes[12..].copy_from_slice(&kind.to_le_bytes());
    bytes
}

pub(super) fn decode_run(bytes: &[u8; RUN]) -> Result<Part, String> {
    let (first, count, kind) = (u64_at(bytes, 0), u32_at(bytes, 8), u32_at(bytes, 12));
    match (count, kind) {
        (0, 0) => Ok(Part::End { data_granules: first }),
        (1.., DATA) => Ok(Part::Run(Run { first, count, kind: RunKind::Data })),
        (1.., ZERO) => Ok(Part::Run(Run { first, count, kind: RunKind::Zero })),
        _ => Err(format!("a run of kind {kind} with {count} granules")),
    }
}

pub(super) fn encode_header(virtual_size: u64) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&(GRANULE as u32).to_le_bytes());
    bytes[16..].copy_from_slice(&virtual_size.to_le_bytes());
    bytes
}

/// Checks the header and gives the virtual size.
pub(super) fn decode_header(bytes: &[u8; HEADER]) -> Result<u64, String> {
    if bytes[..8] != MAGIC {
        return Err("it does not begin as a hash manifest does".into());
    }
    let (granule, flags, size) = (u32_at(bytes, 8), u32_at(bytes, 12), u64_at(bytes, 16));
    if u64::from(granule) != GRANULE {
        return Err(format!("its granules are {granule} bytes, {GRANULE} were expected"));
    }
    if flags != 0 {
        return Err(format!("it has unknown flags {flags:#x}"));
    }
    if size > i64::MAX as u64 {
        return Err(format!("its virtual size {size} is impossible"));
    }
    Ok(size)
}

/// Granules of a disk of `size` bytes, the last one counted whole.
pub(super) fn granules(size: u64) -> u64 {
    size.div_ceil(GRANULE)
}

fn u64_at<const N: usize>(bytes: &[u8; N], at: usize) -> u64 {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(value)
}

fn u32_at<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    let mut value = [0; 4];
    value.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(value)
}
