//! A file: what its record, and the records that continue it, say together.

use super::list::{self, Place};
use super::name::units;
use super::record::{ENCRYPTED, Form, Header, Record, Sizes, kind, split};
use super::runs::Runs;
use super::stream::{Content, Stream};
use super::volume::Volume;
use crate::{Error, Fields, Result};
use std::collections::HashMap;

/// A file or folder, whole.
pub struct File {
    /// Its MFT record.
    pub number: u64,
    /// How often that was used for another file before.
    pub sequence: u16,
    /// Whether the record says that it is a folder.
    pub directory: bool,
    /// Its names, short forms among them.
    pub names: Vec<FileName>,
    /// Times and flags.
    pub standard: Standard,
    /// Everything else.
    pub attributes: Vec<Attribute>,
}

/// An attribute with all of its runs.
pub struct Attribute {
    /// One of [`kind`].
    pub kind: u32,
    /// Its name in UTF-16.
    pub name: Vec<u16>,
    /// Its value.
    pub content: Content,
}

/// `$STANDARD_INFORMATION`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Standard {
    /// Creation, last change of the content, last change of the record, last access: as on the disk.
    pub times: [u64; 4],
    /// FILE_ATTRIBUTE_….
    pub flags: u32,
}

/// FILE_ATTRIBUTE_SYSTEM, in [`Standard::flags`] and in an index.
pub const SYSTEM: u32 = 0x4;
/// FILE_ATTRIBUTE_REPARSE_POINT.
pub const REPARSE: u32 = 0x400;
/// In the copy of the flags in a name: it is a folder.
pub const FOLDER: u32 = 0x1000_0000;

/// A `$FILE_NAME`, in a record or as the key of a folder's index.
#[derive(Debug, Clone)]
pub struct FileName {
    /// The folder, as a reference.
    pub parent: u64,
    /// FILE_ATTRIBUTE_…, as they were when the name was written.
    pub flags: u32,
    /// Whether it is the short form of another name.
    pub dos: bool,
    /// UTF-16.
    pub name: Vec<u16>,
}

impl FileName {
    /// From an attribute's value.
    ///
    /// # Errors
    /// [`Error::Corrupt`] past its end.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let fields = Fields::new("a $FILE_NAME", bytes);
        let length = usize::from(fields.u8(0x40)?);
        Ok(FileName {
            parent: fields.le64(0)?,
            flags: fields.le32(0x38)?,
            // 0 POSIX, 1 Win32, 2 DOS, 3 Win32 that is a DOS name too.
            dos: fields.u8(0x41)? == 2,
            name: units(fields.bytes(0x42, length * 2)?),
        })
    }
}

impl File {
    /// The attribute of a type and a name.
    pub fn find(&self, kind: u32, name: &[u16]) -> Option<(usize, &Attribute)> {
        self.attributes.iter().enumerate().find(|(_, one)| one.kind == kind && one.name == name)
    }

    /// Bytes that this takes in memory, about.
    pub fn cost(&self) -> usize {
        let attributes = self.attributes.iter().map(|one| one.content.cost() + one.name.len() * 2 + 128);
        let names = self.names.iter().map(|one| one.name.len() * 2 + 64);
        200 + attributes.sum::<usize>() + names.sum::<usize>()
    }

    /// Reads the file of `record`, which is not a continuation.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where its records contradict each other, or why one can't be read.
    pub fn load(volume: &Volume, record: Record) -> Result<Self> {
        if record.base != 0 {
            let reason = format!("it is a part of record {}, not a file", split(record.base).0);
            return Err(Error::corrupt(format!("MFT record {}", record.number), reason));
        }
        let mut building = Building::new(volume, &record);
        let headers = record.attributes()?;
        match headers.iter().find(|header| header.kind == kind::ATTRIBUTE_LIST) {
            None => headers.into_iter().try_for_each(|header| building.add(header))?,
            Some(list) => {
                let places = list::places(volume, record.number, list)?;
                building.follow(&record, &places)?;
            }
        }
        building.finish()
    }
}

/// A file of which some attributes were seen.
struct Building<'a> {
    volume: &'a Volume,
    file: File,
    /// The non-resident attribute that goes on, and its flags.
    open: Option<Open>,
    standard: bool,
}

struct Open {
    kind: u32,
    name: Vec<u16>,
    flags: u16,
    sizes: Sizes,
    runs: Runs,
}

impl<'a> Building<'a> {
    fn new(volume: &'a Volume, record: &Record) -> Self {
        let file = File {
            number: record.number,
            sequence: record.sequence,
            directory: record.is_directory(),
            names: Vec::new(),
            standard: Standard::default(),
            attributes: Vec::new(),
        };
        Building { volume, file, open: None, standard: false }
    }

    fn corrupt<T>(&self, reason: impl Into<String>) -> Result<T> {
        Err(Error::corrupt(format!("MFT record {}", self.file.number), reason))
    }

    /// Adds what an attribute list names, in its order.
    fn follow(&mut self, base: &Record, places: &[Place]) -> Result<()> {
        let mut others: HashMap<u64, Record> = HashMap::new();
        for place in places {
            if place.number != base.number && !others.contains_key(&place.number) {
                // Entries of one record stand close together, so there is no need to hold them all.
                if others.len() >= 64 {
                    others.clear();
                }
                others.insert(place.number, self.volume.part(base.number, base.sequence, place)?);
            }
            let record = others.get(&place.number).unwrap_or(base);
            match record.attributes()?.into_iter().find(|header| place.is(header)) {
                Some(header) => self.add(header)?,
                None => {
                    return self
                        .corrupt(format!("attribute {:#x} is not in record {}", place.kind, place.number));
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, header: Header<'_>) -> Result<()> {
        match header.form {
            Form::Resident(bytes) => {
                self.close()?;
                match header.kind {
                    kind::STANDARD_INFORMATION => {
                        let fields = Fields::new("$STANDARD_INFORMATION", bytes);
                        for (index, time) in self.file.standard.times.iter_mut().enumerate() {
                            *time = fields.le64(index * 8)?;
                        }
                        self.file.standard.flags = fields.le32(0x20)?;
                        self.standard = true;
                    }
                    kind::FILE_NAME => self.file.names.push(FileName::parse(bytes)?),
                    kind::ATTRIBUTE_LIST => {}
                    _ if header.flags & ENCRYPTED != 0 && !bytes.is_empty() => {
                        let content = Content::Clusters(Stream::encrypted(bytes.len() as u64));
                        self.push(header.kind, header.name, content)?;
                    }
                    _ => self.push(header.kind, header.name, Content::Resident(bytes.to_vec()))?,
                }
            }
            Form::NonResident { lowest, highest, pairs, sizes } => {
                match sizes {
                    Some(sizes) => {
                        self.close()?;
                        let (kind, name, flags) = (header.kind, header.name, header.flags);
                        self.open = Some(Open { kind, name, flags, sizes, runs: Runs::default() });
                    }
                    None => {
                        let goes_on = self.open.as_ref().is_some_and(|open| {
                            (open.kind, &open.name) == (header.kind, &header.name)
                                && open.runs.clusters() == lowest
                        });
                        if !goes_on {
                            return self.corrupt(format!("attribute {:#x} has a gap", header.kind));
                        }
                    }
                }
                if let Some(open) = &mut self.open {
                    open.runs.extend(pairs, self.volume.geometry.clusters)?;
                    // An attribute that never had a cluster may say 0 instead of -1.
                    let mapped = open.runs.clusters() as i64 - 1;
                    if mapped != highest && !(mapped == -1 && highest == 0) {
                        return self.corrupt(format!("runs to cluster {mapped}, where {highest} is said"));
                    }
                }
            }
        }
        Ok(())
    }

    /// The non-resident attribute is whole.
    fn close(&mut self) -> Result<()> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let bits = self.volume.geometry.cluster_bits;
        let stream = Stream::new(open.runs, &open.sizes, open.flags, bits)?;
        self.push(open.kind, open.name, Content::Clusters(stream))
    }

    fn push(&mut self, kind: u32, name: Vec<u16>, content: Content) -> Result<()> {
        if self.file.find(kind, &name).is_some() && matches!(kind, kind::DATA | kind::INDEX_ROOT..=kind::EA) {
            return self.corrupt(format!("two attributes {kind:#x} of one name"));
        }
        self.file.attributes.push(Attribute { kind, name, content });
        Ok(())
    }

    fn finish(mut self) -> Result<File> {
        self.close()?;
        if !self.standard {
            return self.corrupt("it has no $STANDARD_INFORMATION");
        }
        Ok(self.file)
    }
}
