//! Where the parts of a new image lie, and its first cluster.
//!
//! ```text
//! 0            header, extensions, name of the backing file: one cluster, written last
//! 1 cluster    L1 table
//! …            refcount table, large enough for the worst case
//! data_start   data clusters, packed regions, L2 tables and refcount blocks, in the order they come
//! ```
//!
//! The disk's size decides all of it, so the places are known before the first byte is written.

use crate::compress::Compression;
use crate::entry::EntryFormat;
use crate::error::usage;
use crate::features;
use crate::gate::has_protocol;
use crate::header::{
    Backing, EXT_BACKING_FORMAT, EXT_END, EXT_FEATURE_NAMES, LENGTH, MAGIC, MAX_BACKING_NAME, MAX_L1_BYTES,
    MAX_REFCOUNT_TABLE_BYTES,
};
use crate::refcounts::ORDER;
use crate::writer::Create;
use block::Result;

/// Host clusters that packed regions may waste at their end, beyond what doubling allows for.
const SLACK: u64 = 4096;

/// The fixed parts of an image.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) format: EntryFormat,
    pub(crate) virtual_size: u64,
    pub(crate) l1_offset: u64,
    pub(crate) l1_entries: u64,
    pub(crate) refcount_table_offset: u64,
    pub(crate) refcount_table_clusters: u64,
    pub(crate) data_start: u64,
    backing: Option<Backing>,
    zstd: bool,
}

impl Layout {
    /// The layout of the image that `options` ask for.
    ///
    /// # Errors
    /// Usage, where such an image can't be.
    pub(crate) fn new(name: &str, options: &Create) -> Result<Layout> {
        if !(16..=21).contains(&options.cluster_bits) {
            let reason = format!("clusters of 2^{} bytes; 2^16 to 2^21 are written", options.cluster_bits);
            return Err(usage(name, reason));
        }
        if let Some(backing) = &options.backing {
            let file = &backing.file_name;
            if file.is_empty() || file.len() > MAX_BACKING_NAME || file.contains('\0') || has_protocol(file) {
                return Err(usage(name, format!("{file:?} can't be the name of a backing file")));
            }
        }
        let format = EntryFormat { cluster_bits: options.cluster_bits, zero_flag: true, extended: false };
        let cluster_size = format.cluster_size();
        // One entry at least: a table of no entries is not read alike by everyone.
        let l1_entries = options.virtual_size.div_ceil(format.table_span()).max(1);
        let l1_clusters = (l1_entries * 8).div_ceil(cluster_size);

        let most = options.virtual_size.div_ceil(cluster_size).saturating_mul(2) + l1_entries + l1_clusters;
        let blocks = (most + SLACK).div_ceil(cluster_size / 2) + 2;
        let table_clusters = (blocks * 8).div_ceil(cluster_size);
        if l1_entries * 8 > MAX_L1_BYTES || table_clusters * cluster_size > MAX_REFCOUNT_TABLE_BYTES {
            let reason = format!(
                "a disk of {} bytes is too large for clusters of {cluster_size} bytes",
                options.virtual_size
            );
            return Err(usage(name, reason));
        }
        let refcount_table_offset = cluster_size * (1 + l1_clusters);
        Ok(Layout {
            format,
            virtual_size: options.virtual_size,
            l1_offset: cluster_size,
            l1_entries,
            refcount_table_offset,
            refcount_table_clusters: table_clusters,
            data_start: refcount_table_offset + table_clusters * cluster_size,
            backing: options.backing.clone(),
            zstd: matches!(options.compression, Compression::Zstd { .. }),
        })
    }

    /// The first cluster: header, extensions, name of the backing file.
    pub(crate) fn header(&self) -> Vec<u8> {
        let mut extensions = Vec::new();
        let mut extension = |kind: u32, data: &[u8]| {
            extensions.extend_from_slice(&kind.to_be_bytes());
            extensions.extend_from_slice(&(data.len() as u32).to_be_bytes());
            extensions.extend_from_slice(data);
            extensions.resize(extensions.len().next_multiple_of(8), 0);
        };
        if let Some(backing) = &self.backing {
            extension(EXT_BACKING_FORMAT, backing.format.as_str().as_bytes());
        }
        extension(EXT_FEATURE_NAMES, &features::table());
        extension(EXT_END, &[]);

        let name = self.backing.as_ref().map_or("", |backing| backing.file_name.as_str());
        let name_offset = if name.is_empty() { 0 } else { LENGTH + extensions.len() };
        let incompatible = if self.zstd { features::COMPRESSION_TYPE } else { 0 };
        let mut header = Vec::with_capacity(self.format.cluster_size() as usize);
        let mut put = |bytes: &[u8]| header.extend_from_slice(bytes);
        put(&MAGIC.to_be_bytes());
        put(&3u32.to_be_bytes());
        put(&(name_offset as u64).to_be_bytes());
        put(&(name.len() as u32).to_be_bytes());
        put(&self.format.cluster_bits.to_be_bytes());
        put(&self.virtual_size.to_be_bytes());
        put(&0u32.to_be_bytes()); // not encrypted
        put(&(self.l1_entries as u32).to_be_bytes());
        put(&self.l1_offset.to_be_bytes());
        put(&self.refcount_table_offset.to_be_bytes());
        put(&(self.refcount_table_clusters as u32).to_be_bytes());
        put(&0u32.to_be_bytes()); // snapshots
        put(&0u64.to_be_bytes());
        put(&incompatible.to_be_bytes());
        put(&0u64.to_be_bytes()); // compatible features
        put(&0u64.to_be_bytes()); // auto-clear features
        put(&ORDER.to_be_bytes());
        put(&(LENGTH as u32).to_be_bytes());
        put(&[u8::from(self.zstd), 0, 0, 0, 0, 0, 0, 0]);
        put(&extensions);
        put(name.as_bytes());
        header
    }
}
