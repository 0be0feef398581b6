//! The volume: its device, its sizes, and the records of its master file table.

use super::boot::Geometry;
use super::file::File;
use super::fixup;
use super::list::{self, Place as ListPlace};
use super::record::{Form, Record, Sizes, kind, split};
use super::runs::Runs;
use super::stream::{Content, StreamId};
use crate::device::{Device, read_vec};
use crate::{Cache, Error, OpenOptions, Place, Result};
use std::sync::Arc;

/// Records that `$MFTMirr` repeats at least.
const MIRRORED: u64 = 4;
/// Bytes of the master file table that are read at once.
const CHUNK: u64 = 32 << 10;

/// The MFT records that have a meaning of their own.
pub mod number {
    pub const MFT: u64 = 0;
    pub const LOG_FILE: u64 = 2;
    pub const VOLUME: u64 = 3;
    pub const ROOT: u64 = 5;
    pub const UPCASE: u64 = 10;
}

/// An opened volume, below its tree.
pub struct Volume {
    /// Its bytes, with what the log holds over them.
    pub device: Device,
    /// Its sizes.
    pub geometry: Geometry,
    /// Byte ranges that the log changed: start and end, ascending.
    pub replayed: Vec<(u64, u64)>,
    mft: Runs,
    mft_size: u64,
    chunks: Cache<u64, Arc<Vec<u8>>>,
    files: Cache<u64, Arc<File>>,
    /// Decompressed units.
    pub units: Cache<(StreamId, u64), Arc<Vec<u8>>>,
    /// Index blocks: the folder and the block.
    pub blocks: Cache<(u64, u64), Arc<Vec<u8>>>,
}

impl Volume {
    /// Finds the master file table. `warnings` gets a line where its copy was needed.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where neither it nor its copy is good, or why it can't be read.
    pub fn open(
        device: Device,
        geometry: Geometry,
        options: &OpenOptions,
        warnings: &mut Vec<String>,
    ) -> Result<Self> {
        let bytes = options.cache_bytes;
        let mut volume = Volume {
            device,
            geometry,
            replayed: Vec::new(),
            mft: Runs::default(),
            mft_size: 0,
            chunks: Cache::new(bytes / 8),
            files: Cache::new(bytes / 2),
            units: Cache::new(bytes / 8),
            blocks: Cache::new(bytes / 8),
        };
        // The first of it lies at the cluster that the boot sector names; that is all that is known until it is read.
        let at = geometry.mft << geometry.cluster_bits;
        let first = read_vec(&*volume.device, at, geometry.record_size)
            .and_then(|bytes| volume.parse(number::MFT, bytes))
            .or_else(|error| {
                let copy = volume.mirrored(number::MFT).map_err(|_| error)?;
                warnings.push("the first record of $MFT is damaged, its copy in $MFTMirr is used".into());
                Ok::<_, Error>(copy)
            })?;
        volume.find_table(&first)?;
        Ok(volume)
    }

    /// The runs of `$MFT`, of which those of one record are needed to reach the next.
    fn find_table(&mut self, first: &Record) -> Result<()> {
        let corrupt = |reason: &str| Error::corrupt("$MFT", reason);
        let headers = first.attributes()?;
        let data = headers.iter().find(|header| header.kind == kind::DATA && header.name.is_empty());
        let Some(Form::NonResident { pairs, sizes: Some(sizes), .. }) = data.map(|header| &header.form)
        else {
            return Err(corrupt("it has no clusters"));
        };
        let sizes: Sizes = *sizes;
        self.mft = Runs::default();
        self.mft.extend(pairs, self.geometry.clusters)?;
        let places = match headers.iter().find(|header| header.kind == kind::ATTRIBUTE_LIST) {
            Some(header) => list::places(self, first.number, header)?,
            None => Vec::new(),
        };
        for place in places {
            if place.kind != kind::DATA || place.number == first.number {
                continue;
            }
            self.mft_size = sizes.initialised.min(self.mft.clusters() << self.geometry.cluster_bits);
            let part = self.part(first.number, first.sequence, &place)?;
            let headers = part.attributes()?;
            let Some(header) = headers.iter().find(|header| place.is(header)) else {
                return Err(corrupt("a part of its run list is missing"));
            };
            match &header.form {
                Form::NonResident { lowest, pairs, .. }
                    if *lowest == self.mft.clusters() && header.name.is_empty() =>
                {
                    self.mft.extend(pairs, self.geometry.clusters)?;
                }
                _ => return Err(corrupt("its run list has a gap")),
            }
        }
        self.mft_size = sizes.initialised;
        if sizes.initialised > self.mft.clusters() << self.geometry.cluster_bits {
            return Err(corrupt("its run list ends before it does"));
        }
        Ok(())
    }

    /// How many records the table has.
    pub fn records(&self) -> u64 {
        self.mft_size / self.geometry.record_size as u64
    }

    /// Where record `number` lies in the table, in bytes.
    fn offset(&self, number: u64) -> Result<u64> {
        if number >= self.records() {
            let reason = format!("the table has {} records", self.records());
            return Err(Error::corrupt(format!("a reference to MFT record {number}"), reason));
        }
        Ok(number * self.geometry.record_size as u64)
    }

    fn parse(&self, number: u64, mut bytes: Vec<u8>) -> Result<Record> {
        fixup::apply(&mut bytes, b"FILE", &|| format!("MFT record {number}"))?;
        Record::new(number, bytes)
    }

    /// The copy of one of the first records.
    fn mirrored(&self, number: u64) -> Result<Record> {
        let size = self.geometry.record_size;
        let at = (self.geometry.mirror << self.geometry.cluster_bits).saturating_add(number * size as u64);
        self.parse(number, read_vec(&*self.device, at, size)?)
    }

    /// The bytes of a record as they lie on the device.
    fn raw_record(&self, number: u64) -> Result<Vec<u8>> {
        let (offset, size) = (self.offset(number)?, self.geometry.record_size);
        let mut bytes = vec![0; size];
        let start = offset - offset % CHUNK.max(size as u64);
        let inside = (offset - start) as usize;
        let chunk = self.chunks.get_or(start, || {
            let length = (self.mft_size - start).min(CHUNK.max(size as u64)) as usize;
            let mut chunk = vec![0; length];
            self.read_clusters(&self.mft, start, &mut chunk)?;
            Ok::<_, Error>((Arc::new(chunk), length))
        });
        match chunk.as_ref().ok().and_then(|chunk| chunk.get(inside..inside + size)) {
            Some(part) => bytes.copy_from_slice(part),
            // Its neighbours may be what can't be read.
            None => self.read_clusters(&self.mft, offset, &mut bytes)?,
        }
        Ok(bytes)
    }

    /// A record of the table.
    ///
    /// # Errors
    /// [`Error::NotFound`] where it is not in use; [`Error::Corrupt`] where it is damaged, and has no good copy.
    pub fn record(&self, number: u64) -> Result<Record> {
        let read = self.raw_record(number).and_then(|bytes| self.parse(number, bytes));
        match read {
            Err(Error::Corrupt { .. }) if number < MIRRORED => self.mirrored(number).or(read),
            read => read,
        }
    }

    /// The record in which an attribute of `base` goes on.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where it belongs to another file.
    pub fn part(&self, base: u64, base_sequence: u16, place: &ListPlace) -> Result<Record> {
        let record = self.record(place.number)?;
        let (owner, owner_sequence) = split(record.base);
        if (owner, owner_sequence, record.sequence) == (base, base_sequence, place.sequence)
            && record.base != 0
        {
            return Ok(record);
        }
        let reason = format!("record {} is not a part of it", place.number);
        Err(Error::corrupt(format!("MFT record {base}"), reason))
    }

    /// A whole file.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is none of that number; [`Error::Corrupt`] where its records contradict each
    /// other.
    pub fn file(&self, number: u64) -> Result<Arc<File>> {
        self.files.get_or(number, || {
            let file = Arc::new(File::load(self, self.record(number)?)?);
            let cost = file.cost();
            Ok((file, cost))
        })
    }

    /// The file that a reference with its sequence number means.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where the record was used for another file since.
    pub fn referenced(&self, reference: u64) -> Result<Arc<File>> {
        let (number, sequence) = split(reference);
        let file = self.file(number).map_err(|error| match error {
            Error::NotFound => {
                Error::corrupt(format!("a reference to MFT record {number}"), "it is not in use")
            }
            other => other,
        })?;
        if sequence != 0 && sequence != file.sequence {
            let reason = format!("it means use {sequence}, and the record is in use {}", file.sequence);
            return Err(Error::corrupt(format!("a reference to MFT record {number}"), reason));
        }
        Ok(file)
    }

    /// The whole of a file's unnamed attribute of a type, at most `most` bytes.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where there is none; [`Error::Limit`] where it is larger.
    pub fn whole(&self, file: &File, kind: u32, most: usize) -> Result<Vec<u8>> {
        let Some((index, attribute)) = file.find(kind, &[]) else {
            let name = format!("MFT record {}", file.number);
            return Err(Error::corrupt(name, format!("it has no attribute {kind:#x}")));
        };
        self.read_all((file.number, index), &attribute.content, most)
    }

    /// What [`crate::GuestFs::map`] says of a range of the device: not even a part of it is as it lies there where the
    /// log changed some.
    pub fn place(&self, start: u64, length: u64) -> Place {
        let end = start.saturating_add(length);
        let index = self.replayed.partition_point(|&(_, changed)| changed <= start);
        match self.replayed.get(index) {
            Some(&(changed, _)) if changed < end => Place::Inside,
            _ => Place::Device(start),
        }
    }

    /// The content of `$LogFile`'s data: where the log lies.
    ///
    /// # Errors
    /// Why it can't be read.
    pub fn log(&self) -> Result<Content> {
        let file = self.file(number::LOG_FILE)?;
        match file.find(kind::DATA, &[]) {
            Some((_, attribute)) => Ok(attribute.content.clone()),
            None => Err(Error::corrupt("$LogFile", "it has no data")),
        }
    }
}
