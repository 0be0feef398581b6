//! zisofs 1: files that are compressed in blocks (the format of H. Peter Anvin's zisofs-tools).

use super::rock_ridge::Zisofs;
use crate::{Error, Fields, Result};
use flate2::{Decompress, FlushDecompress, Status};

const MAGIC: [u8; 8] = [0x37, 0xE4, 0x53, 0x96, 0xC9, 0xDB, 0xD6, 0x07];

/// Two to this is the largest block, in bytes.
const MAX_SHIFT: u8 = 20;

/// Reads bytes of the file as it is stored.
pub(super) type ReadStored<'a> = &'a dyn Fn(u64, &mut [u8]) -> Result<()>;

/// Bytes of a block.
///
/// # Errors
/// [`Error::Corrupt`] where it is impossible.
pub(super) fn block_size(zisofs: &Zisofs) -> Result<u64> {
    if !(10..=MAX_SHIFT).contains(&zisofs.block_shift) || zisofs.header < 16 {
        return Err(Error::corrupt("a zisofs file", format!("blocks of 2^{} bytes", zisofs.block_shift)));
    }
    Ok(1 << zisofs.block_shift)
}

/// Checks that the file's own header says what the record says.
///
/// # Errors
/// [`Error::Corrupt`] where not.
pub(super) fn check_header(zisofs: &Zisofs, read: ReadStored<'_>) -> Result<()> {
    let mut header = [0; 16];
    read(0, &mut header)?;
    let fields = Fields::new("the header of a zisofs file", &header);
    let same = fields.array(0)? == MAGIC
        && fields.le32(8)? == zisofs.size
        && u32::from(fields.u8(12)?) * 4 == zisofs.header
        && fields.u8(13)? == zisofs.block_shift;
    if same { Ok(()) } else { Err(fields.corrupt("it does not say what its record says")) }
}

/// Decodes block `number` of a file, of which `stored` bytes are stored.
///
/// # Errors
/// [`Error::Corrupt`]; [`Error::Io`].
pub(super) fn block(zisofs: &Zisofs, number: u64, stored: u64, read: ReadStored<'_>) -> Result<Vec<u8>> {
    let size = block_size(zisofs)?;
    let wrong = |reason: &str| Error::corrupt("a zisofs file", format!("block {number}: {reason}"));
    let start = number.checked_mul(size).filter(|start| *start < u64::from(zisofs.size));
    let length =
        start.map(|start| (u64::from(zisofs.size) - start).min(size)).ok_or_else(|| wrong("past its end"))?;
    let mut pointers = [0; 8];
    read(u64::from(zisofs.header) + number * 4, &mut pointers)?;
    let fields = Fields::new("the pointers of a zisofs file", &pointers);
    let (first, last) = (fields.le32(0)?, fields.le32(4)?);
    let mut decoded = vec![0; length as usize];
    if first == last {
        return Ok(decoded);
    }
    // What deflate can't make smaller grows by very little.
    let packed = last.checked_sub(first).filter(|packed| u64::from(*packed) <= size + size / 2 + 1024);
    let packed =
        packed.filter(|_| u64::from(last) <= stored).ok_or_else(|| wrong("it lies outside of the file"))?;
    let mut bytes = vec![0; packed as usize];
    read(u64::from(first), &mut bytes)?;
    let mut inflate = Decompress::new(true);
    match inflate.decompress(&bytes, &mut decoded, FlushDecompress::Finish) {
        Ok(Status::StreamEnd) if inflate.total_out() == length => Ok(decoded),
        Ok(_) => Err(wrong("it has another length when it is decompressed")),
        Err(error) => Err(wrong(&error.to_string())),
    }
}
