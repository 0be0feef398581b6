//! A range of bytes that is put together from pieces of other ones: a logical volume, a striped or linear array.

use crate::device::{self, Device, Origin, ReadAt};
use std::io;

/// Pieces one after another.
pub struct Mapped {
    /// By their starts, without gaps.
    pieces: Vec<Piece>,
    size: u64,
}

struct Piece {
    start: u64,
    length: u64,
    target: Target,
}

/// Where the bytes of a piece are.
#[derive(Clone)]
pub enum Target {
    /// One after another, from this byte of the device on.
    Linear(Device, u64),
    /// In chunks, one from each leg in turn.
    Striped {
        /// The devices, each with the byte where its share begins.
        legs: Vec<(Device, u64)>,
        /// Bytes of a chunk.
        chunk: u64,
        /// The leg of the first chunk.
        first: usize,
    },
    /// Nowhere: it reads as zeros.
    Zero,
}

impl Mapped {
    /// Nothing yet.
    pub fn new() -> Self {
        Mapped { pieces: Vec::new(), size: 0 }
    }

    /// Adds `length` bytes at the end. False where the sum does not fit into 64 bits, or a stripe has no legs or chunk.
    #[must_use]
    pub fn push(&mut self, length: u64, target: Target) -> bool {
        if let Target::Striped { legs, chunk, .. } = &target
            && (legs.is_empty() || *chunk == 0)
        {
            return false;
        }
        let Some(size) = self.size.checked_add(length) else { return false };
        let start = std::mem::replace(&mut self.size, size);
        if length > 0 {
            self.pieces.push(Piece { start, length, target });
        }
        true
    }
}

impl ReadAt for Mapped {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
        device::check_range(offset, buf.len(), self.size)?;
        let mut index = self.pieces.partition_point(|piece| piece.start + piece.length <= offset);
        while !buf.is_empty() {
            let piece = &self.pieces[index];
            let inside = offset - piece.start;
            let length = (piece.length - inside).min(buf.len() as u64) as usize;
            let (now, rest) = buf.split_at_mut(length);
            piece.target.read(now, inside)?;
            buf = rest;
            offset += length as u64;
            index += 1;
        }
        Ok(())
    }

    fn origins(&self, mut offset: u64, length: u64, found: &mut Vec<Origin>) -> bool {
        let Some(end) = offset.checked_add(length).filter(|end| *end <= self.size) else { return false };
        let mut index = self.pieces.partition_point(|piece| piece.start + piece.length <= offset);
        while offset < end {
            let Some(piece) = self.pieces.get(index) else { return false };
            let inside = offset - piece.start;
            let length = (piece.length - inside).min(end - offset);
            if !piece.target.origins(inside, length, found) {
                return false;
            }
            offset += length;
            index += 1;
        }
        true
    }
}

impl Target {
    /// Fills `buf` from byte `offset` of the piece.
    fn read(&self, mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
        match self {
            Target::Zero => buf.fill(0),
            Target::Linear(device, start) => device.read_at(buf, place(*start, offset)?)?,
            Target::Striped { legs, chunk, first } => {
                while !buf.is_empty() {
                    let (number, inside) = (offset / chunk, offset % chunk);
                    let count = legs.len() as u64;
                    let length = (chunk - inside).min(buf.len() as u64) as usize;
                    let (now, rest) = buf.split_at_mut(length);
                    let (device, start) = &legs[((number + *first as u64) % count) as usize];
                    device.read_at(now, place(*start, (number / count) * chunk + inside)?)?;
                    buf = rest;
                    offset += length as u64;
                }
            }
        }
        Ok(())
    }

    /// As [`ReadAt::origins`], from byte `offset` of the piece.
    fn origins(&self, mut offset: u64, length: u64, found: &mut Vec<Origin>) -> bool {
        match self {
            Target::Zero => {
                found.push(Origin::Zeros(length));
                true
            }
            Target::Linear(device, start) => {
                place(*start, offset).is_ok_and(|at| device.origins(at, length, found))
            }
            Target::Striped { legs, chunk, first } => {
                let end = offset + length;
                while offset < end {
                    let (number, inside) = (offset / chunk, offset % chunk);
                    let count = legs.len() as u64;
                    let length = (chunk - inside).min(end - offset);
                    let (device, start) = &legs[((number + *first as u64) % count) as usize];
                    let at = place(*start, (number / count) * chunk + inside);
                    if !at.is_ok_and(|at| device.origins(at, length, found)) {
                        return false;
                    }
                    offset += length;
                }
                true
            }
        }
    }
}

fn place(start: u64, offset: u64) -> io::Result<u64> {
    start.checked_add(offset).ok_or_else(|| device::past_the_end(start, 0, u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryDevice;
    use std::sync::Arc;

    fn disk(first: u8) -> Device {
        Arc::new(MemoryDevice((0..100).map(|n| first + n).collect()))
    }

    #[test]
    fn pieces_follow_each_other_and_stripes_take_turns() {
        let mut mapped = Mapped::new();
        assert!(mapped.push(6, Target::Linear(disk(0), 10)));
        assert!(mapped.push(3, Target::Zero));
        let legs = vec![(disk(0), 50), (disk(100), 20)];
        assert!(mapped.push(12, Target::Striped { legs, chunk: 4, first: 1 }));
        let expected =
            [10, 11, 12, 13, 14, 15, 0, 0, 0, 120, 121, 122, 123, 50, 51, 52, 53, 124, 125, 126, 127];
        assert_eq!(mapped.size(), 21);
        for from in 0..21 {
            for to in from..=21 {
                let mut buf = vec![0xff; to - from];
                mapped.read_at(&mut buf, from as u64).unwrap();
                assert_eq!(buf, expected[from..to]);
            }
        }
        assert!(!mapped.origins(0, 1, &mut Vec::new()), "these disks do not know their numbers");
        assert!(mapped.read_at(&mut [0; 2], 20).is_err());
        assert!(!mapped.push(u64::MAX, Target::Zero));
        assert!(!mapped.push(4, Target::Striped { legs: vec![], chunk: 4, first: 0 }));
    }

    #[test]
    fn bytes_come_from_where_they_are_read() {
        let numbered =
            |index, first| -> Device { Arc::new(device::NumberedDisk { index, device: disk(first) }) };
        let mut mapped = Mapped::new();
        assert!(mapped.push(6, Target::Linear(numbered(0, 0), 10)));
        assert!(mapped.push(3, Target::Zero));
        let legs = vec![(numbered(0, 0), 50), (numbered(1, 100), 20)];
        assert!(mapped.push(12, Target::Striped { legs, chunk: 4, first: 1 }));
        for from in 0..21 {
            for to in from..=21 {
                let (mut read, mut found, mut told) = (vec![0xff; to - from], Vec::new(), Vec::new());
                mapped.read_at(&mut read, from as u64).unwrap();
                assert!(mapped.origins(from as u64, (to - from) as u64, &mut found));
                for origin in found {
                    match origin {
                        Origin::Zeros(length) => told.extend(vec![0; length as usize]),
                        Origin::Disk { disk, offset, length } => {
                            told.extend((offset..offset + length).map(|at| at as u8 + 100 * disk as u8));
                        }
                    }
                }
                assert_eq!(read, told, "{from}..{to}");
            }
        }
        assert!(!mapped.origins(20, 2, &mut Vec::new()));
    }
}
