//! The first cluster of an image: header, extensions, name of the backing file.
//!
//! Everything is checked here, once, before anything else uses it: sizes against their limits, tables
//! against the file's length, features against what this crate does. Source: the QCOW2 specification,
//! chapters "Header" and "Header extensions". What the tables *contain* is checked where they are used.

use crate::entry::EntryFormat;
use crate::error::{corrupt, unsupported};
use crate::features;
use crate::storage::Storage;
use block::Result;
use std::fmt;

/// "QFI\xfb".
pub(crate) const MAGIC: u32 = 0x5146_49fb;
/// Bytes of a version 3 header with the compression type, as written by us.
pub(crate) const LENGTH: usize = 112;
/// Bytes of a version 2 header.
const LENGTH_V2: u64 = 72;
/// The shortest version 3 header.
const LENGTH_V3: u64 = 104;
/// QEMU opens no larger L1 table, so none of use is larger: 32 MiB.
pub(crate) const MAX_L1_BYTES: u64 = 32 << 20;
/// QEMU opens no larger refcount table: 8 MiB.
pub(crate) const MAX_REFCOUNT_TABLE_BYTES: u64 = 8 << 20;
/// The longest name of a backing file.
pub(crate) const MAX_BACKING_NAME: usize = 1023;

pub(crate) const EXT_END: u32 = 0;
pub(crate) const EXT_BACKING_FORMAT: u32 = 0xe279_2aca;
pub(crate) const EXT_FEATURE_NAMES: u32 = 0x6803_f857;
const EXT_BITMAPS: u32 = 0x2385_2875;

/// How a backing file is to be read. Never guessed: a guest could write a header into a raw disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackingFormat {
    /// Bytes as they are.
    Raw,
    /// Another image of this format.
    Qcow2,
}

impl BackingFormat {
    /// The name that stands in the header.
    pub fn as_str(self) -> &'static str {
        match self {
            BackingFormat::Raw => "raw",
            BackingFormat::Qcow2 => "qcow2",
        }
    }
}

impl fmt::Display for BackingFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The file that is read where an image has nothing stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backing {
    /// As it stands in the header; relative names begin at the folder of the image.
    pub file_name: String,
    /// How to read it.
    pub format: BackingFormat,
}

/// How an image's compressed clusters are compressed (whether it has any or not).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompressionType {
    /// Raw deflate, the format's first compression.
    Zlib,
    /// Zstandard.
    Zstd,
}

/// The auto-clear bit that says that the bitmaps extension is true.
const AUTOCLEAR_BITMAPS: u64 = 1;

/// The bitmaps extension's pointer to the bitmap directory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bitmaps {
    pub(crate) count: u32,
    pub(crate) directory_offset: u64,
    pub(crate) directory_size: u64,
}

/// A checked header.
#[derive(Debug, Clone)]
pub(crate) struct Header {
    pub(crate) version: u32,
    pub(crate) format: EntryFormat,
    pub(crate) virtual_size: u64,
    pub(crate) l1_offset: u64,
    /// Entries of the L1 table in the file (at least as many as the disk needs).
    pub(crate) l1_entries: u64,
    pub(crate) refcount_table_offset: u64,
    pub(crate) refcount_table_clusters: u64,
    /// log2 of the bits of a refcount.
    pub(crate) refcount_order: u32,
    pub(crate) snapshots: u32,
    pub(crate) snapshots_offset: u64,
    pub(crate) dirty: bool,
    pub(crate) compression: CompressionType,
    pub(crate) backing: Option<Backing>,
    pub(crate) bitmaps: Option<Bitmaps>,
}

/// Big-endian numbers of a byte string; `None` behind its end.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn u32(&self, at: usize) -> Option<u32> {
        self.0.get(at..)?.first_chunk().map(|b| u32::from_be_bytes(*b))
    }

    fn u64(&self, at: usize) -> Option<u64> {
        self.0.get(at..)?.first_chunk().map(|b| u64::from_be_bytes(*b))
    }
}

impl Header {
    /// Reads and checks the header of `storage`.
    ///
    /// # Errors
    /// Corrupt where it contradicts the specification, itself or the file's length; unsupported for other
    /// formats, encryption, external data files and unknown features, each named.
    pub(crate) fn read(storage: &dyn Storage) -> Result<Header> {
        let name = storage.name();
        let short = || corrupt(name, format!("it is {} bytes long, too short for a header", storage.size()));
        if storage.size() < LENGTH_V2 {
            return Err(short());
        }
        let mut start = [0; LENGTH_V2 as usize];
        storage.read_at(&mut start, 0)?;
        let bytes = Bytes(&start);
        let at32 = |at| bytes.u32(at).ok_or_else(short);
        if at32(0)? != MAGIC {
            return Err(unsupported(name, "it does not begin as a QCOW2 file does"));
        }
        let version = at32(4)?;
        if !(2..=3).contains(&version) {
            return Err(unsupported(name, format!("QCOW2 version {version} is not known, only 2 and 3 are")));
        }
        let cluster_bits = at32(20)?;
        if !(9..=21).contains(&cluster_bits) {
            let reason = format!("the header's cluster size is 2^{cluster_bits}, it must be 2^9 to 2^21");
            return Err(corrupt(name, reason));
        }
        let cluster_size = 1u64 << cluster_bits;
        let mut cluster = vec![0; cluster_size.min(storage.size()) as usize];
        storage.read_at(&mut cluster, 0)?;
        Header::parse(name, storage.size(), version, cluster_bits, &cluster)
    }

    fn parse(name: &str, file_size: u64, version: u32, cluster_bits: u32, cluster: &[u8]) -> Result<Header> {
        let bytes = Bytes(cluster);
        let cluster_size = 1u64 << cluster_bits;
        let short = || corrupt(name, "the header does not fit into the first cluster");
        let at32 = |at| bytes.u32(at).ok_or_else(short);
        let at64 = |at| bytes.u64(at).ok_or_else(short);

        let (incompatible, autoclear, refcount_order, header_length) = match version {
            2 => (0, 0, 4, LENGTH_V2),
            _ => (at64(72)?, at64(88)?, at32(96)?, u64::from(at32(100)?)),
        };
        if version == 3 && (header_length < LENGTH_V3 || header_length > cluster_size) {
            return Err(corrupt(name, format!("the header says that it is {header_length} bytes long")));
        }
        if refcount_order > 6 {
            return Err(corrupt(
                name,
                format!("refcounts of 2^{refcount_order} bits, at most 2^6 are allowed"),
            ));
        }

        let extensions = Extensions::parse(name, cluster, header_length, at64(8)?)?;
        features::check(name, incompatible, &extensions.feature_names)?;
        match at32(32)? {
            0 => {}
            1 | 2 => {
                return Err(unsupported(name, "it is encrypted; decrypt it first with qemu-img convert"));
            }
            n => return Err(corrupt(name, format!("unknown encryption method {n}"))),
        }

        let extended = incompatible & features::EXTENDED_L2 != 0;
        if extended && cluster_bits < 14 {
            return Err(corrupt(name, "extended L2 entries need clusters of at least 16 KiB"));
        }
        let compression_byte =
            if header_length > 104 { cluster.get(104).copied().ok_or_else(short)? } else { 0 };
        let compression = match (compression_byte, incompatible & features::COMPRESSION_TYPE != 0) {
            (0, false) => CompressionType::Zlib,
            (1, true) => CompressionType::Zstd,
            (n @ 0..=1, flag) => {
                let reason = format!("compression type {n} and its feature bit ({flag}) disagree");
                return Err(corrupt(name, reason));
            }
            (n, _) => return Err(unsupported(name, format!("compression type {n} is not known"))),
        };

        let format = EntryFormat { cluster_bits, zero_flag: version == 3 && !extended, extended };
        let header = Header {
            version,
            format,
            virtual_size: at64(24)?,
            l1_offset: at64(40)?,
            l1_entries: u64::from(at32(36)?),
            refcount_table_offset: at64(48)?,
            refcount_table_clusters: u64::from(at32(56)?),
            refcount_order,
            snapshots: at32(60)?,
            snapshots_offset: at64(64)?,
            dirty: incompatible & features::DIRTY != 0,
            compression,
            backing: backing(name, cluster, at64(8)?, at32(16)?, extensions.backing_format)?,
            bitmaps: extensions.bitmaps.filter(|_| autoclear & AUTOCLEAR_BITMAPS != 0),
        };
        header.check_tables(name, file_size)?;
        Ok(header)
    }

    /// Entries of the L1 table that the disk's size needs.
    pub(crate) fn l1_needed(&self) -> u64 {
        self.virtual_size.div_ceil(self.format.table_span())
    }

    fn check_tables(&self, name: &str, file_size: u64) -> Result<()> {
        let cluster_size = self.format.cluster_size();
        let table = |what: &str, offset: u64, length: u64, limit: u64| {
            if length > limit {
                return Err(corrupt(name, format!("{what} is {length} bytes long, {limit} are allowed")));
            }
            if !offset.is_multiple_of(cluster_size) {
                return Err(corrupt(name, format!("{what} at byte {offset} is not on a cluster boundary")));
            }
            if length > 0 && offset == 0 {
                return Err(corrupt(name, format!("{what} lies on the header")));
            }
            if offset.checked_add(length).is_none_or(|end| end > file_size) {
                let reason = format!("{what} at byte {offset} ends behind the file's {file_size} bytes");
                return Err(corrupt(name, reason));
            }
            Ok(())
        };
        let needed = self.l1_needed();
        if needed > self.l1_entries {
            let reason = format!(
                "its L1 table has {} entries, a disk of {} bytes needs {needed}",
                self.l1_entries, self.virtual_size
            );
            return Err(corrupt(name, reason));
        }
        table("the L1 table", self.l1_offset, self.l1_entries * 8, MAX_L1_BYTES)?;
        let refcounts = self.refcount_table_clusters * cluster_size;
        table("the refcount table", self.refcount_table_offset, refcounts, MAX_REFCOUNT_TABLE_BYTES)
    }
}

fn backing(
    name: &str,
    cluster: &[u8],
    offset: u64,
    length: u32,
    format: Option<Vec<u8>>,
) -> Result<Option<Backing>> {
    if offset == 0 {
        return Ok(None);
    }
    let bad = |what: &str| corrupt(name, format!("the name of its backing file {what}"));
    let length = length as usize;
    if length == 0 || length > MAX_BACKING_NAME {
        return Err(bad(&format!("is {length} bytes long, it must be 1 to {MAX_BACKING_NAME}")));
    }
    let bytes = usize::try_from(offset)
        .ok()
        .and_then(|start| cluster.get(start..start.checked_add(length)?))
        .ok_or_else(|| bad("lies outside of the first cluster"))?;
    let file_name = str::from_utf8(bytes)
        .ok()
        .filter(|s| !s.contains('\0'))
        .ok_or_else(|| bad("is not plain text"))?
        .to_owned();
    let format = match format.as_deref() {
        Some(b"raw") => BackingFormat::Raw,
        Some(b"qcow2") => BackingFormat::Qcow2,
        Some(other) => {
            let other = String::from_utf8_lossy(other);
            return Err(unsupported(
                name,
                format!("its backing file {file_name:?} has the format {other:?}"),
            ));
        }
        None => {
            let reason = format!(
                "it does not say the format of its backing file {file_name:?}, and guessing is unsafe; \
                 name it with: qemu-img rebase -u -F FORMAT -b {file_name:?} {name}"
            );
            return Err(unsupported(name, reason));
        }
    };
    Ok(Some(Backing { file_name, format }))
}

#[derive(Default)]
struct Extensions {
    backing_format: Option<Vec<u8>>,
    feature_names: Vec<u8>,
    bitmaps: Option<Bitmaps>,
}

impl Extensions {
    fn parse(name: &str, cluster: &[u8], header_length: u64, backing_offset: u64) -> Result<Extensions> {
        let mut found = Extensions::default();
        // They end where the backing file's name begins, where there is one.
        let end = match usize::try_from(backing_offset) {
            Ok(0) => cluster.len(),
            Ok(offset) => offset.min(cluster.len()),
            Err(_) => cluster.len(),
        };
        let mut at = header_length as usize;
        while at.checked_add(8).is_some_and(|next| next <= end) {
            let bytes = Bytes(cluster);
            let (Some(kind), Some(length)) = (bytes.u32(at), bytes.u32(at + 4)) else { break };
            if kind == EXT_END {
                break;
            }
            let start = at + 8;
            let stop = start.checked_add(length as usize).filter(|&stop| stop <= end);
            let Some(data) = stop.and_then(|stop| cluster.get(start..stop)) else {
                let reason = format!("header extension {kind:#010x} at byte {at} is longer than the header");
                return Err(corrupt(name, reason));
            };
            match kind {
                EXT_BACKING_FORMAT => found.backing_format = Some(data.to_vec()),
                EXT_FEATURE_NAMES => found.feature_names = data.to_vec(),
                EXT_BITMAPS => {
                    let data = Bytes(data);
                    let (Some(count), Some(size), Some(offset)) = (data.u32(0), data.u64(8), data.u64(16))
                    else {
                        return Err(corrupt(name, "the bitmaps extension is too short"));
                    };
                    found.bitmaps = Some(Bitmaps { count, directory_size: size, directory_offset: offset });
                }
                _ => {}
            }
            at = start + (length as usize).next_multiple_of(8);
        }
        Ok(found)
    }
}
