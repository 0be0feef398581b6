//! Records: what the log is written in. A header, a checksum, and operations whose blocks carry the round in place of
//! their first words.

use crate::xfs::log::ring::{BLOCK, MAGIC, Ring};
use crate::{Error, Fields, Result};

/// Bytes that one block of the header keeps the first words for.
const PER_HEADER: u64 = 32768;
/// Words that one block of the header keeps.
const WORDS: usize = 64;
/// The largest record.
const LARGEST: u32 = 256 << 10;
/// Bytes of the first block of a header that its checksum covers; without the padding on 32 bit machines of old.
const COVERED: [usize; 2] = [328, 324];
/// Bytes of the further blocks of a header that its checksum covers.
const COVERED_MORE: usize = 4 + WORDS * 4;
/// Where the checksum stands.
const CHECKSUM: usize = 32;
/// A log written by little-endian Linux.
const FORMAT_LITTLE: u32 = 1;

/// A header, and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub at: u64,
    /// Blocks of the header.
    headers: u64,
    /// Bytes of operations.
    length: u32,
    pub lsn: u64,
    pub tail: u64,
    pub operations: u32,
    /// Bytes of the buffer that records were written from.
    pub buffer: u32,
    checksum: u32,
    format: u32,
    uuid: [u8; 16],
    header: Vec<u8>,
}

impl Record {
    /// The record whose header stands at block `at`.
    pub fn read(ring: &Ring, at: u64) -> Result<Self> {
        let mut header = ring.read(at, 1)?;
        let f = Fields::new("a record of the log", &header);
        let version = f.be32(8)?;
        if f.be32(0)? != MAGIC || !(1..=3).contains(&version) {
            return Err(f.corrupt(format!("no header of one stands at sector {at}")));
        }
        let length = f.be32(12)?;
        let buffer = if ring.v2 { f.be32(320)? } else { PER_HEADER as u32 };
        if length == 0 || length > LARGEST || buffer > LARGEST {
            return Err(f.corrupt(format!("the one at sector {at} is {length} bytes long, from {buffer}")));
        }
        let headers =
            if ring.v2 && version & 2 != 0 { u64::from(buffer).div_ceil(PER_HEADER).max(1) } else { 1 };
        let record = Record {
            at,
            headers,
            length,
            lsn: f.be64(16)?,
            tail: f.be64(24)?,
            operations: f.be32(40)?,
            buffer,
            checksum: f.le32(CHECKSUM)?,
            format: f.be32(300)?,
            uuid: f.array(304)?,
            header: Vec::new(),
        };
        if headers > 1 {
            header = ring.read(at, headers)?;
        }
        Ok(Record { header, ..record })
    }

    /// How many blocks it takes, its header among them.
    pub fn blocks(&self) -> u64 {
        self.headers + u64::from(self.length).div_ceil(BLOCK as u64)
    }

    /// Whether it is one of this file system; one of IRIX has no identity.
    pub fn belongs_to(&self, ring: &Ring) -> bool {
        self.uuid == ring.uuid || self.uuid == [0; 16]
    }

    /// Whether this machine's way of writing numbers is that of the log.
    pub fn check_format(&self, ring: &Ring) -> Result<()> {
        if self.format != FORMAT_LITTLE {
            return Err(Error::unsupported(
                "an XFS log of a big-endian machine or of IRIX that was not finished",
            ));
        }
        if self.uuid != ring.uuid {
            return Err(Error::corrupt("the log", "it belongs to another file system"));
        }
        Ok(())
    }

    /// The operations, as they were before blocks got the round.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where the checksum does not match.
    pub fn data(&self, ring: &Ring) -> Result<Vec<u8>> {
        let count = u64::from(self.length).div_ceil(BLOCK as u64);
        let mut data = ring.read(self.at + self.headers, count)?;
        if !self.checksum_matches(&data[..self.length as usize]) {
            return Err(Error::corrupt(
                "the log",
                format!("the checksum of the record at sector {}", self.at),
            ));
        }
        for (index, block) in data.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate() {
            // The first block of a header keeps its words behind other fields, the further ones behind one.
            let (header, word) = (index / WORDS, index % WORDS);
            if header as u64 >= self.headers {
                return Err(Error::corrupt(
                    "the log",
                    format!("the record at sector {} is too long", self.at),
                ));
            }
            let at = header * BLOCK + if header == 0 { 44 } else { 4 } + word * 4;
            block[..4].copy_from_slice(&self.header[at..at + 4]);
        }
        data.truncate(self.length as usize);
        Ok(data)
    }

    /// Kernels before 3.8 wrote no checksum.
    fn checksum_matches(&self, data: &[u8]) -> bool {
        self.checksum == 0
            || COVERED.iter().any(|&covered| {
                let mut crc = crc32c::crc32c(&self.header[..CHECKSUM]);
                crc = crc32c::crc32c_append(crc, &[0; 4]);
                crc = crc32c::crc32c_append(crc, &self.header[CHECKSUM + 4..covered]);
                // Only those further blocks that keep words of these bytes.
                let used = (data.len() as u64).div_ceil(PER_HEADER) as usize;
                for more in self.header.as_chunks::<BLOCK>().0.iter().take(used).skip(1) {
                    crc = crc32c::crc32c_append(crc, &more[..COVERED_MORE]);
                }
                crc32c::crc32c_append(crc, data) == self.checksum
            })
    }
}

/// An operation of a record.
pub(super) struct Operation<'a> {
    /// The transaction that it belongs to.
    pub transaction: u32,
    pub flags: u8,
    pub bytes: &'a [u8],
}

impl Operation<'_> {
    /// Begins a transaction.
    pub const START: u8 = 0x01;
    /// Commits it.
    pub const COMMIT: u8 = 0x02;
    /// Goes on in the next operation of the transaction.
    pub const CONTINUES: u8 = 0x04;
    /// Goes on with what the last operation of the transaction began.
    pub const CONTINUED: u8 = 0x08;
    /// Ends what was begun in an earlier one.
    pub const END: u8 = 0x10;
    /// The file system was unmounted.
    pub const UNMOUNT: u8 = 0x20;
}

/// The operations of a record's data.
pub(super) fn operations(data: &[u8], count: u32) -> impl Iterator<Item = Result<Operation<'_>>> {
    let f = Fields::new("an operation of the log", data);
    let mut at = 0;
    let mut left = count;
    std::iter::from_fn(move || {
        if left == 0 || at >= data.len() {
            return None;
        }
        left -= 1;
        let mut next = || {
            let length = f.be32(at + 4)? as usize;
            if !matches!(f.u8(at + 8)?, 0x69 | 0xaa) {
                return Err(f.corrupt("it is of an unknown client"));
            }
            let bytes = f.bytes(at + 12, length)?;
            let operation = Operation { transaction: f.be32(at)?, flags: f.u8(at + 9)?, bytes };
            at += 12 + length;
            Ok(operation)
        };
        let operation = next();
        if operation.is_err() {
            left = 0;
        }
        Some(operation)
    })
}
