//! Files that the Windows Overlay Filter compressed ("CompactOS", `compact /exe`): their content is in the stream
//! `WofCompressedData`, in chunks of their own, and the file's data is one hole of the size that it has.
//!
//! The stream is a table of where each chunk but the first begins, behind the table, in four bytes (eight for a file of
//! 4 GiB and more), and the chunks; one that does not get shorter is stored. That is a resource of a WIM archive, which
//! is how it is proven: the tests let wimlib compress.

mod bits;
mod huffman;
mod lzx;
mod xpress;

use super::file::File;
use super::record::kind;
use super::stream::Content;
use super::volume::Volume;
use crate::{Error, Fields, Result};
use std::sync::Arc;

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// XPRESS (LZ77 and Huffman) in chunks of 2^n bytes: 12, 13 or 14.
    Xpress(u32),
    /// LZX in chunks of 32 KiB.
    Lzx,
}

impl Method {
    /// By its number in the reparse point.
    pub fn new(number: u32) -> Option<Self> {
        match number {
            0 => Some(Method::Xpress(12)),
            1 => Some(Method::Lzx),
            2 => Some(Method::Xpress(13)),
            3 => Some(Method::Xpress(14)),
            _ => None,
        }
    }

    /// Bytes of a chunk.
    fn chunk(self) -> u64 {
        match self {
            Method::Xpress(bits) => 1 << bits,
            Method::Lzx => 1 << 15,
        }
    }

    fn decompress(self, packed: &[u8], out: &mut [u8]) -> Result<()> {
        match self {
            Method::Xpress(_) => xpress::decompress(packed, out),
            Method::Lzx => lzx::decompress(packed, out),
        }
        .map_err(|reason| Error::corrupt("a WOF-compressed chunk", reason))
    }
}

/// The stream's name.
pub fn name() -> Vec<u16> {
    "WofCompressedData".encode_utf16().collect()
}

impl Volume {
    /// Fills `buf` from byte `offset` of a compressed file; how many bytes that were.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where the stream contradicts itself, or why it can't be read.
    pub fn read_wof(&self, file: &File, method: Method, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let bad =
            |reason: &str| Error::corrupt(format!("the WOF stream of MFT record {}", file.number), reason);
        let size = file.find(kind::DATA, &[]).map_or(0, |(_, data)| data.content.size());
        let length = size.saturating_sub(offset).min(buf.len() as u64) as usize;
        let (index, packed) = match file.find(kind::DATA, &name()) {
            Some((index, attribute)) => (index, &attribute.content),
            None => return Err(bad("there is none")),
        };
        let id = (file.number, index);
        let (mut offset, mut rest) = (offset, &mut buf[..length]);
        while !rest.is_empty() {
            let number = offset / method.chunk();
            let inside = (offset % method.chunk()) as usize;
            let whole = ((size - number * method.chunk()).min(method.chunk())) as usize;
            let part = (whole - inside).min(rest.len());
            let (now, after) = rest.split_at_mut(part);
            if part == whole {
                self.unpack_chunk(id, packed, method, size, number, now)?;
            } else {
                let chunk = self.units.get_or((id, number), || {
                    let mut chunk = vec![0; whole];
                    self.unpack_chunk(id, packed, method, size, number, &mut chunk)?;
                    Ok::<_, Error>((Arc::new(chunk), whole))
                })?;
                now.copy_from_slice(&chunk[inside..inside + part]);
            }
            offset += part as u64;
            rest = after;
        }
        Ok(length)
    }

    /// Chunk `number` of a file of `size` bytes.
    fn unpack_chunk(
        &self,
        id: (u64, usize),
        packed: &Content,
        method: Method,
        size: u64,
        number: u64,
        out: &mut [u8],
    ) -> Result<()> {
        let bad = |reason: &str| Error::corrupt(format!("the WOF stream of MFT record {}", id.0), reason);
        let width = if size >> 32 == 0 { 4 } else { 8 };
        let count = size.div_ceil(method.chunk());
        let table = (count - 1) * width;
        // Where this chunk begins, and where the next one does.
        let mut entries = [0; 16];
        let first = number.saturating_sub(1);
        let known = (count - 1 - first).min(2) * width;
        let entries = &mut entries[..known as usize];
        if self.read(id, packed, first * width, entries)? != entries.len() {
            return Err(bad("it ends inside of its table"));
        }
        let fields = Fields::new("a table of chunks", entries);
        let entry = |at: usize| match width {
            4 => fields.le32(at * 4).map(u64::from),
            _ => fields.le64(at * 8),
        };
        let start = if number == 0 { 0 } else { entry(0)? };
        let all = packed.size().checked_sub(table).ok_or_else(|| bad("it ends inside of its table"))?;
        let end = if number + 1 == count { all } else { entry(usize::from(number > 0))? };
        let length = end.checked_sub(start).filter(|&length| end <= all && length <= out.len() as u64);
        let Some(length) = length.filter(|&length| length > 0) else {
            return Err(bad("a chunk of no length"));
        };
        if length == out.len() as u64 {
            self.read(id, packed, table + start, out)?;
            return Ok(());
        }
        let mut bytes = vec![0; length as usize];
        self.read(id, packed, table + start, &mut bytes)?;
        method.decompress(&bytes, out)
    }
}
