//! The bytes of an attribute: in its record, or in clusters that are plain, sparse or compressed.

use super::lznt1;
use super::record::{self, Sizes};
use super::runs::Runs;
use super::volume::Volume;
use crate::device::read_exact;
use crate::{Error, Place, Result, Run};
use std::sync::Arc;

/// The largest compression unit, in bytes. Windows writes 16 clusters of at most 4 KiB.
const MAX_UNIT: u64 = 1 << 20;

/// An attribute's value.
#[derive(Debug, Clone)]
pub enum Content {
    /// In the record.
    Resident(Vec<u8>),
    /// In clusters.
    Clusters(Stream),
}

/// A value in clusters.
#[derive(Debug, Clone)]
pub struct Stream {
    runs: Runs,
    size: u64,
    initialised: u64,
    allocated: u64,
    coding: Coding,
}

/// How the bytes stand in the clusters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Plain,
    /// LZNT1, in units of this many bytes.
    Compressed(u64),
    Encrypted,
    /// A compression that nobody has documented.
    Unknown(u16),
}

impl Stream {
    /// From the sizes and all runs of an attribute.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where the runs do not reach as far as the sizes, or the flags contradict them.
    pub fn new(runs: Runs, sizes: &Sizes, flags: u16, cluster_bits: u32) -> Result<Self> {
        let bad = |reason: String| Err(Error::corrupt("an attribute", reason));
        let mapped = u128::from(runs.clusters()) << cluster_bits;
        if u128::from(sizes.size) > mapped {
            return bad(format!("runs for {mapped} of {} bytes", sizes.size));
        }
        let coding = match flags & record::COMPRESSION {
            _ if flags & record::ENCRYPTED != 0 => Coding::Encrypted,
            0 => Coding::Plain,
            1 => {
                let unit = 1u64.checked_shl(u32::from(sizes.unit) + cluster_bits).unwrap_or(0);
                if sizes.unit == 0 || sizes.unit > 16 || unit > MAX_UNIT || !unit.is_multiple_of(4096) {
                    return bad(format!("compressed in units of 2^{} clusters", sizes.unit));
                }
                Coding::Compressed(unit)
            }
            other => Coding::Unknown(other),
        };
        Ok(Stream {
            runs,
            size: sizes.size,
            initialised: sizes.initialised,
            allocated: sizes.compressed.unwrap_or(sizes.allocated),
            coding,
        })
    }

    /// A value that is encrypted, in its record.
    pub fn encrypted(size: u64) -> Self {
        let runs = Runs::default();
        Stream { runs, size, initialised: size, allocated: size, coding: Coding::Encrypted }
    }

    /// Where its clusters lie.
    pub fn runs(&self) -> &Runs {
        &self.runs
    }
}

impl Content {
    /// Bytes.
    pub fn size(&self) -> u64 {
        match self {
            Content::Resident(bytes) => bytes.len() as u64,
            Content::Clusters(stream) => stream.size,
        }
    }

    /// Whether none of its bytes lies anywhere.
    pub fn is_hole(&self) -> bool {
        match self {
            Content::Resident(bytes) => bytes.is_empty(),
            Content::Clusters(stream) => stream.runs.allocated(0, stream.runs.clusters()) == 0,
        }
    }

    /// Bytes that are taken for it on the disk.
    pub fn allocated(&self) -> u64 {
        match self {
            Content::Resident(bytes) => (bytes.len() as u64).next_multiple_of(8),
            Content::Clusters(stream) => stream.allocated,
        }
    }

    /// Bytes that this takes in memory.
    pub fn cost(&self) -> usize {
        match self {
            Content::Resident(bytes) => bytes.len(),
            Content::Clusters(stream) => stream.runs.cost(),
        }
    }
}

/// Which stream a decompressed unit belongs to: the record, and the attribute's place in the file.
pub type StreamId = (u64, usize);

impl Volume {
    /// Fills `buf` from byte `offset` of a value; how many bytes that were.
    ///
    /// # Errors
    /// [`Error::Encrypted`], [`Error::Unsupported`], or why it can't be read.
    pub fn read(&self, id: StreamId, content: &Content, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let size = content.size();
        let length = size.saturating_sub(offset).min(buf.len() as u64) as usize;
        let buf = &mut buf[..length];
        if length == 0 {
            if let Content::Clusters(stream) = content {
                stream.readable()?;
            }
            return Ok(0);
        }
        match content {
            Content::Resident(bytes) => {
                buf.copy_from_slice(&bytes[offset as usize..offset as usize + length])
            }
            Content::Clusters(stream) => {
                stream.readable()?;
                let written = stream.initialised.saturating_sub(offset).min(length as u64) as usize;
                let (data, zeros) = buf.split_at_mut(written);
                match stream.coding {
                    Coding::Compressed(unit) => self.read_units(id, stream, unit, offset, data)?,
                    _ => self.read_clusters(&stream.runs, offset, data)?,
                }
                zeros.fill(0);
            }
        }
        Ok(length)
    }

    /// The whole of a value of at most `most` bytes.
    ///
    /// # Errors
    /// [`Error::Limit`] where it is larger; as [`read`](Self::read).
    pub fn read_all(&self, id: StreamId, content: &Content, most: usize) -> Result<Vec<u8>> {
        let size = content.size();
        if size > most as u64 {
            return Err(Error::Limit(format!("an attribute of {size} bytes, where {most} are read at most")));
        }
        let mut bytes = vec![0; size as usize];
        self.read(id, content, 0, &mut bytes)?;
        Ok(bytes)
    }

    /// Fills `buf` from the clusters at byte `offset`, as they are.
    pub fn read_clusters(&self, runs: &Runs, mut offset: u64, mut buf: &mut [u8]) -> Result<()> {
        let bits = self.geometry.cluster_bits;
        while !buf.is_empty() {
            let Some(extent) = runs.at(offset >> bits) else {
                return Err(Error::corrupt("a run list", "it ends before the attribute"));
            };
            let inside = offset & ((1 << bits) - 1);
            let length = ((extent.count << bits) - inside).min(buf.len() as u64);
            let (part, rest) = buf.split_at_mut(length as usize);
            match extent.lcn {
                Some(lcn) => read_exact(&*self.device, part, (lcn << bits) + inside)?,
                None => part.fill(0),
            }
            offset += length;
            buf = rest;
        }
        Ok(())
    }

    fn read_units(
        &self,
        id: StreamId,
        stream: &Stream,
        unit: u64,
        mut offset: u64,
        mut buf: &mut [u8],
    ) -> Result<()> {
        while !buf.is_empty() {
            let inside = offset % unit;
            let length = (unit - inside).min(buf.len() as u64) as usize;
            let (part, rest) = buf.split_at_mut(length);
            let start = offset - inside;
            match self.unit_form(stream, unit, start)? {
                Form::Hole => part.fill(0),
                Form::Stored => self.read_clusters(&stream.runs, offset, part)?,
                Form::Packed(_) if length as u64 == unit => self.unpack(stream, unit, start, part)?,
                Form::Packed(_) => {
                    let whole = self.units.get_or((id, start / unit), || {
                        let mut whole = vec![0; unit as usize];
                        self.unpack(stream, unit, start, &mut whole)?;
                        Ok::<_, Error>((Arc::new(whole), unit as usize))
                    })?;
                    part.copy_from_slice(&whole[inside as usize..inside as usize + length]);
                }
            }
            offset += length as u64;
            buf = rest;
        }
        Ok(())
    }

    /// Decompresses the unit at byte `start` into `out`.
    fn unpack(&self, stream: &Stream, unit: u64, start: u64, out: &mut [u8]) -> Result<()> {
        let Form::Packed(clusters) = self.unit_form(stream, unit, start)? else {
            return Err(Error::corrupt("a compressed file", "a unit changed its form"));
        };
        let mut packed = vec![0; (clusters << self.geometry.cluster_bits) as usize];
        self.read_clusters(&stream.runs, start, &mut packed)?;
        lznt1::decompress(&packed, out)
    }

    /// A unit that takes all of its clusters is stored, one that takes none is a hole, and one that takes some is
    /// compressed in them.
    fn unit_form(&self, stream: &Stream, unit: u64, start: u64) -> Result<Form> {
        let bits = self.geometry.cluster_bits;
        let (first, clusters) = (start >> bits, unit >> bits);
        let taken = stream.runs.allocated(first, clusters);
        // The last unit may be mapped as far as the file reaches only.
        let mapped = stream.runs.clusters().saturating_sub(first).min(clusters);
        if taken == 0 {
            Ok(Form::Hole)
        } else if taken == clusters || (mapped < clusters && taken == mapped) {
            Ok(Form::Stored)
        } else if stream.runs.allocated(first, taken) == taken {
            Ok(Form::Packed(taken))
        } else {
            Err(Error::corrupt("a compressed file", format!("a hole inside of the unit at byte {start}")))
        }
    }

    /// Where the bytes of a value from `offset` on lie; `None` at and behind its end.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn map(&self, content: &Content, offset: u64) -> Result<Option<Run>> {
        let size = content.size();
        if let Content::Clusters(stream) = content {
            stream.readable()?;
        }
        if offset >= size {
            return Ok(None);
        }
        let left = size - offset;
        let stream = match content {
            Content::Resident(_) => return Ok(Some(Run { length: left, place: Place::Inside })),
            Content::Clusters(stream) => stream,
        };
        if offset >= stream.initialised {
            return Ok(Some(Run { length: left, place: Place::Hole }));
        }
        let bits = self.geometry.cluster_bits;
        let Some(extent) = stream.runs.at(offset >> bits) else {
            return Err(Error::corrupt("a run list", "it ends before the attribute"));
        };
        let inside = offset & ((1 << bits) - 1);
        let length = (extent.count << bits) - inside;
        let plain = match extent.lcn {
            Some(lcn) => Run { length, place: self.place((lcn << bits) + inside, length) },
            None => Run { length, place: Place::Hole },
        };
        let run = match stream.coding {
            Coding::Compressed(unit) => {
                let to_unit = unit - offset % unit;
                match self.unit_form(stream, unit, offset - offset % unit)? {
                    Form::Packed(_) => Run { length: to_unit, place: Place::Inside },
                    Form::Stored => Run { length: length.min(to_unit), ..plain },
                    // Whole units of nothing go on as far as the hole does; what is left of it belongs to the next one.
                    Form::Hole if length >= to_unit => {
                        Run { length: to_unit + (length - to_unit) / unit * unit, place: Place::Hole }
                    }
                    Form::Hole => plain,
                }
            }
            _ => plain,
        };
        // Where the written part ends inside of a run, a hole follows it.
        let end = if run.place == Place::Hole { left } else { stream.initialised - offset };
        Ok(Some(Run { length: run.length.min(end), ..run }))
    }
}

/// What a compression unit is.
enum Form {
    Hole,
    Stored,
    /// Compressed into so many clusters.
    Packed(u64),
}

impl Stream {
    /// Whether this crate decodes it.
    fn readable(&self) -> Result<()> {
        match self.coding {
            Coding::Plain | Coding::Compressed(_) => Ok(()),
            Coding::Encrypted => Err(Error::Encrypted("the file (EFS)".into())),
            Coding::Unknown(method) => Err(Error::unsupported(format!("NTFS compression method {method}"))),
        }
    }
}
