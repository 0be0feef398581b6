//! The inside of an opened container: its segments, decrypted as they are read.

use super::cipher::Sectors;
use crate::device::{self, Device, Origin, ReadAt};
use std::io;

/// An opened container.
pub struct Opened {
    device: Device,
    /// By their starts, without gaps.
    segments: Vec<Segment>,
    size: u64,
}

/// A part of the inside.
pub struct Segment {
    /// The first byte inside.
    pub start: u64,
    /// Bytes, whole sectors.
    pub length: u64,
    /// Where they are in the container.
    pub offset: u64,
    /// How they are encrypted; None where they aren't.
    pub encryption: Option<Encryption>,
}

/// How a segment is encrypted.
pub struct Encryption {
    /// The cipher with its key.
    pub sectors: Box<dyn Sectors>,
    /// Bytes that are encrypted as one: 512 to 4096, a power of two.
    pub sector: u64,
    /// The number of the first one, in units of 512 bytes.
    pub first: u64,
}

impl Opened {
    /// The segments in their order.
    pub fn new(device: Device, segments: Vec<Segment>) -> Self {
        let size = segments.last().map_or(0, |last| last.start + last.length);
        Opened { device, segments, size }
    }
}

impl ReadAt for Opened {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
        device::check_range(offset, buf.len(), self.size)?;
        let mut index = self.segments.partition_point(|segment| segment.start + segment.length <= offset);
        while !buf.is_empty() {
            let segment = &self.segments[index];
            let inside = offset - segment.start;
            let length = (segment.length - inside).min(buf.len() as u64) as usize;
            let (now, rest) = buf.split_at_mut(length);
            match &segment.encryption {
                None => self.device.read_at(now, segment.offset + inside)?,
                Some(encryption) => encryption.read(self.device.as_ref(), segment.offset, now, inside)?,
            }
            buf = rest;
            offset += length as u64;
            index += 1;
        }
        Ok(())
    }

    /// The key is made of what stands before the first segment, so that decides every byte too.
    fn origins(&self, offset: u64, length: u64, found: &mut Vec<Origin>) -> bool {
        let Some(end) = offset.checked_add(length).filter(|end| *end <= self.size) else { return false };
        let header = self.segments.iter().map(|segment| segment.offset).min().unwrap_or(0);
        if header == 0 || !self.device.origins(0, header, found) {
            return false;
        }
        let inside = |segment: &&Segment| segment.start < end && segment.start + segment.length > offset;
        self.segments.iter().filter(inside).all(|segment| {
            let sector = segment.encryption.as_ref().map_or(1, |encryption| encryption.sector.max(1));
            let from = offset.max(segment.start) - segment.start;
            let to = end.min(segment.start + segment.length) - segment.start;
            let (from, to) = (from - from % sector, to.next_multiple_of(sector).min(segment.length));
            self.device.origins(segment.offset + from, to - from, found)
        })
    }
}

impl Encryption {
    /// Fills `buf` from byte `offset` of the segment that begins at `base` of the container. Whole sectors are decrypted
    /// where they are; only those that are wanted in part are read beside.
    fn read(&self, device: &dyn ReadAt, base: u64, mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
        let size = self.sector as usize;
        while !buf.is_empty() {
            let before = (offset % self.sector) as usize;
            let whole = buf.len() / size * size;
            if before == 0 && whole > 0 {
                let (now, rest) = buf.split_at_mut(whole);
                device.read_at(now, base + offset)?;
                self.decrypt(now, offset);
                buf = rest;
                offset += whole as u64;
                continue;
            }
            let mut sector = [0; 4096];
            let sector = &mut sector[..size];
            let start = offset - before as u64;
            device.read_at(sector, base + start)?;
            self.decrypt(sector, start);
            let length = (size - before).min(buf.len());
            let (now, rest) = buf.split_at_mut(length);
            now.copy_from_slice(&sector[before..before + length]);
            buf = rest;
            offset += length as u64;
        }
        Ok(())
    }

    fn decrypt(&self, bytes: &mut [u8], offset: u64) {
        let mut number = self.first.wrapping_add(offset / 512);
        for sector in bytes.chunks_exact_mut(self.sector as usize) {
            self.sectors.decrypt(sector, number);
            // The number counts 512 bytes whatever the size of the sectors.
            number = number.wrapping_add(self.sector / 512);
        }
    }
}
