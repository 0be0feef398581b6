//! A physical volume's label and its metadata areas (lvm2 `lib/label/label.h`, `lib/format_text/layout.h`).

use super::metadata::{self, Metadata};
use super::text;
use crate::device::{self, ReadAt};
use crate::{Error, Fields, Result};
use crc::{Algorithm, CRC_32_ISO_HDLC, Crc};

/// A physical volume as it describes itself.
#[derive(Debug)]
pub struct Label {
    /// Its identity: 32 characters, as in the metadata without its dashes.
    pub uuid: String,
    /// The group as its areas describe it; there may be two areas.
    pub groups: Vec<Metadata>,
    /// Why an area can't be read.
    pub damaged: Option<String>,
}

/// Metadata areas of a physical volume: LVM makes two at most.
const MAX_AREAS: usize = 4;
/// Data areas: LVM makes one.
const MAX_DATA_AREAS: usize = 16;
/// Bytes of the texts of all groups of a point: one of a thousand volumes has less than one MiB.
pub const MAX_TEXTS: u64 = 64 << 20;
/// The header of a metadata area.
const AREA_HEADER: u64 = 512;

/// The label in one of the first four sectors; the inner error is one that is damaged. What is read of the groups'
/// texts is taken off `budget`, in bytes.
///
/// # Errors
/// Those of the reader below.
pub fn read(device: &dyn ReadAt, budget: &mut u64) -> Result<Option<std::result::Result<Label, String>>> {
    if device.size() < 2048 {
        return Ok(None);
    }
    let sectors = device::read_vec(device, 0, 2048)?;
    for (number, sector) in sectors.chunks_exact(512).enumerate() {
        let fields = Fields::new("the LVM label", sector);
        if fields.bytes(0, 8)? != b"LABELONE" || fields.bytes(24, 8)? != b"LVM2 001" {
            continue;
        }
        if fields.le64(8)? != number as u64 {
            continue;
        }
        if checksum(&sector[20..]) != fields.le32(16)? {
            return Ok(Some(Err("the checksum of the LVM label does not match".into())));
        }
        return match label(device, &fields, budget) {
            Ok(label) => Ok(Some(Ok(label))),
            Err(Error::Io { offset, source }) => Err(Error::Io { offset, source }),
            Err(error) => Ok(Some(Err(error.to_string()))),
        };
    }
    Ok(None)
}

/// LVM's CRC: that of IEEE 802.3 with another beginning, and without the last inversion.
const CRC: Crc<u32> =
    Crc::<u32>::new(&Algorithm { init: 0xf597_a6cf_u32.reverse_bits(), xorout: 0, ..CRC_32_ISO_HDLC });

fn checksum(bytes: &[u8]) -> u32 {
    CRC.checksum(bytes)
}

fn label(device: &dyn ReadAt, fields: &Fields<'_>, budget: &mut u64) -> Result<Label> {
    let start = fields.le32(20)? as usize;
    let uuid = fields.bytes(start, 32)?;
    if !uuid.iter().all(u8::is_ascii_graphic) {
        return Err(fields.corrupt("an identity that is no text"));
    }
    let uuid = String::from_utf8_lossy(uuid).into_owned();
    // Two lists of places, each with an end of zeros: the data, then the metadata.
    let mut at = start.saturating_add(40);
    let mut place = || -> Result<Option<(u64, u64)>> {
        let place = (fields.le64(at)?, fields.le64(at + 8)?);
        at += 16;
        Ok((place.0 != 0).then_some(place))
    };
    let mut count = 0;
    while place()?.is_some() {
        count += 1;
        if count > MAX_DATA_AREAS {
            return Err(fields.corrupt("too many data areas"));
        }
    }
    let mut areas = Vec::new();
    while let Some(area) = place()? {
        areas.push(area);
        if areas.len() > MAX_AREAS {
            return Err(fields.corrupt("too many metadata areas"));
        }
    }
    let mut label = Label { uuid, groups: Vec::new(), damaged: None };
    for (offset, size) in areas {
        match area(device, offset, size, budget) {
            Ok(Some(metadata)) => label.groups.push(metadata),
            Ok(None) => {}
            Err(error) => label.damaged = Some(error.to_string()),
        }
    }
    Ok(label)
}

/// The committed metadata of one area; None where it is empty or out of use.
fn area(device: &dyn ReadAt, start: u64, size: u64, budget: &mut u64) -> Result<Option<Metadata>> {
    let header = device::read_vec(device, start, AREA_HEADER as usize)?;
    let fields = Fields::new("the LVM metadata area", &header);
    if fields.bytes(4, 16)? != b" LVM2 x[5A%r0N*>" {
        return Err(fields.corrupt("it does not begin with its magic number"));
    }
    if checksum(&header[4..]) != fields.le32(0)? {
        return Err(fields.corrupt("the checksum does not match"));
    }
    let version = fields.le32(20)?;
    if version != 1 {
        return Err(Error::unsupported(format!("version {version} of LVM's metadata areas")));
    }
    if fields.le64(24)? != start {
        return Err(fields.corrupt("it is not in its place"));
    }
    let (offset, length) = (fields.le64(40)?, fields.le64(48)?);
    let (expected, flags) = (fields.le32(56)?, fields.le32(60)?);
    if offset == 0 || flags & 1 != 0 {
        return Ok(None);
    }
    // The size stands in the header and in the label; the header's is that of the circle.
    let circle = fields.le64(32)?;
    let room = circle.saturating_sub(AREA_HEADER);
    if (size != 0 && circle > size)
        || offset < AREA_HEADER
        || offset >= circle
        || length == 0
        || length > room
    {
        return Err(fields.corrupt("its text is outside of it"));
    }
    *budget = budget.checked_sub(length).ok_or_else(|| {
        Error::Limit(format!("the disks have more than {} MiB of LVM metadata", MAX_TEXTS >> 20))
    })?;
    let end = start.checked_add(circle).ok_or_else(|| fields.corrupt("it ends outside of everything"))?;
    if end > device.size() {
        return Err(fields.corrupt("it ends outside of the volume"));
    }
    let first = length.min(circle - offset);
    let mut bytes = device::read_vec(device, start + offset, first as usize)?;
    // The rest goes on behind the header.
    bytes.extend(device::read_vec(device, start + AREA_HEADER, (length - first) as usize)?);
    if checksum(&bytes) != expected {
        return Err(Error::corrupt("the LVM metadata", "its checksum does not match"));
    }
    metadata::read(&text::parse(&bytes)?).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lvms_checksum_is_a_raw_crc() {
        // What a bitwise CRC-32 gives that begins with LVM's number.
        let slow = |bytes: &[u8]| {
            bytes.iter().fold(0xf597_a6cf_u32, |crc, &byte| {
                (0..8).fold(crc ^ u32::from(byte), |crc, _| {
                    (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
                })
            })
        };
        for bytes in [&b""[..], b"a", b"LABELONE and more"] {
            assert_eq!(checksum(bytes), slow(bytes));
        }
    }
}
