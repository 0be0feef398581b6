//! A new image, written once and in any order.
//!
//! The model: the disk's size is known, so header, L1 table and refcount table have their places
//! ([`layout`](crate::layout)); everything else is appended in the order it comes. A `write_at` of several
//! clusters reserves as many host clusters in a row by one atomic addition and writes them by one system call,
//! so threads share nothing but short locks on L2 tables. Compressed clusters are packed into regions by
//! packers that calls borrow from a pool ([`packer`](crate::packer)).
//!
//! [`finish`](BlockSink::finish) empties the packers, writes the tables, waits for the disk, writes the
//! header, and waits again: before that the file does not begin as an image does, after it the image is
//! durable. Making its *name* durable (the folder) is the caller's. Dropped without `finish` the file is
//! removed. After any error the writer only fails; drop it.
//!
//! Memory: see [`tables`](crate::tables): 128 MiB for each TiB with data at 64 KiB clusters, or, where the
//! caller settles what it has passed, 112 KiB for each TiB of disk and a table (64 KiB) for each 512 MiB around
//! the writing position. Compressing adds some 3 MiB for each thread that writes at once (region and context).

use crate::compress::{Compression, Encoder};
use crate::entry::{COPIED, ZERO};
use crate::error::{open, usage};
use crate::header::Backing;
use crate::layout::Layout;
use crate::output::{IoMode, Output};
use crate::packer::{Packer, Target};
use crate::refcounts::Refcounts;
use crate::seal::seal;
use crate::tables::Tables;
use block::{BlockSink, Result};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// What image to write.
#[derive(Debug, Clone)]
pub struct Create {
    /// The disk's size in bytes; any number.
    pub virtual_size: u64,
    /// log2 of the cluster size, 16 (64 KiB) to 21 (2 MiB).
    pub cluster_bits: u32,
    /// What is read where nothing is stored. Nothing of it is opened here.
    pub backing: Option<Backing>,
    /// How data is stored.
    pub compression: Compression,
    /// How the file is written.
    pub io: IoMode,
}

impl Create {
    /// An image of `virtual_size` bytes: clusters of 64 KiB, no backing file, not compressed.
    pub fn new(virtual_size: u64) -> Create {
        Create {
            virtual_size,
            cluster_bits: 16,
            backing: None,
            compression: Compression::None,
            io: IoMode::Auto,
        }
    }
}

/// An image in work.
pub struct Writer {
    layout: Layout,
    output: Output,
    tables: Tables,
    refcounts: Refcounts,
    compression: Compression,
    /// Zeros must be recorded, because something could show through.
    over_backing: bool,
    packers: Mutex<Vec<Packer>>,
    failed: AtomicBool,
}

impl Writer {
    /// Creates the file `path`, which must not exist.
    ///
    /// # Errors
    /// Where it exists, can't be created, or such an image can't be.
    pub fn create(path: &Path, options: &Create) -> Result<Writer> {
        let name = path.display().to_string();
        let layout = Layout::new(&name, options)?;
        // Says now what could be wrong with the level.
        let encoder = Encoder::new(&name, options.compression)?;
        let cluster_size = layout.format.cluster_size();
        let packers = encoder.into_iter().map(|encoder| Packer::new(encoder, cluster_size)).collect();
        let l1_entries = usize::try_from(layout.l1_entries)
            .map_err(|e| open("create", &name, std::io::Error::other(e)))?;
        Ok(Writer {
            output: Output::create(path, options.io, layout.data_start)?,
            tables: Tables::new(layout.format, l1_entries),
            refcounts: Refcounts::new(cluster_size),
            compression: options.compression,
            over_backing: options.backing.is_some(),
            packers: Mutex::new(packers),
            failed: AtomicBool::new(false),
            layout,
        })
    }

    /// Bytes of the file that have their use so far. Compressed data counts once its region (2 MiB) is full.
    pub fn allocated(&self) -> u64 {
        self.output.end()
    }

    /// As [`finish`](BlockSink::finish), and returns the file's length in bytes.
    ///
    /// # Errors
    /// As for `finish`; the file is then removed.
    pub fn finish_at(self) -> Result<u64> {
        if self.failed.load(Ordering::Relaxed) {
            return Err(usage(self.output.name(), "it can't be finished after a failed write"));
        }
        let packers = std::mem::take(&mut *self.packers.lock().unwrap_or_else(PoisonError::into_inner));
        for mut packer in packers {
            packer.flush(&self.target(), true)?;
        }
        self.tables.settle_all(&self.output)?;
        let refcount_blocks = self.refcounts.finish(&self.output)?;
        seal(&self.output, &self.layout, self.tables.hosts(), &refcount_blocks)
    }

    fn target(&self) -> Target<'_> {
        Target {
            output: &self.output,
            tables: &self.tables,
            refcounts: &self.refcounts,
            format: self.layout.format,
        }
    }

    /// The guest clusters that a piece covers.
    fn clusters(&self, offset: u64, length: u64) -> Result<Range<u64>> {
        let cluster_size = self.granularity();
        let end = offset.checked_add(length).filter(|&end| end <= self.layout.virtual_size);
        match end {
            Some(end)
                if offset.is_multiple_of(cluster_size)
                    && (end.is_multiple_of(cluster_size) || end == self.layout.virtual_size) =>
            {
                Ok(offset / cluster_size..end.div_ceil(cluster_size))
            }
            _ => {
                let reason = format!(
                    "{length} bytes at {offset} are not whole clusters of {cluster_size} bytes inside the disk"
                );
                Err(usage(self.output.name(), reason))
            }
        }
    }

    /// Stores clusters as they are; the last one may be short.
    fn store(&self, data: &[u8], first: u64) -> Result<()> {
        let cluster_size = self.granularity();
        let count = (data.len() as u64).div_ceil(cluster_size);
        if count == 0 {
            return Ok(());
        }
        let host = self.output.reserve(count * cluster_size)?;
        self.tables.enter(self.output.name(), first, count, host | COPIED, cluster_size)?;
        let whole = data.len() - data.len() % cluster_size as usize;
        let (whole, short) = data.split_at(whole);
        if !whole.is_empty() {
            self.output.write(whole, host)?;
        }
        if !short.is_empty() {
            self.output.write_padded(short, cluster_size as usize, host + whole.len() as u64)?;
        }
        Ok(())
    }

    /// Stores clusters compressed, those that don't shrink as they are.
    fn pack(&self, packer: &mut Packer, data: &[u8], first: u64) -> Result<()> {
        let cluster_size = self.granularity() as usize;
        let target = self.target();
        let mut plain = 0..0;
        for (n, cluster) in data.chunks(cluster_size).enumerate() {
            let number = first + n as u64;
            let packed = if cluster.len() == cluster_size {
                packer.add(&target, number, cluster)?
            } else {
                let mut whole = vec![0; cluster_size];
                whole[..cluster.len()].copy_from_slice(cluster);
                packer.add(&target, number, &whole)?
            };
            let start = n * cluster_size;
            if packed {
                self.store(&data[plain.clone()], first + (plain.start / cluster_size) as u64)?;
                plain = start + cluster.len()..start + cluster.len();
            } else {
                plain.end = start + cluster.len();
            }
        }
        self.store(&data[plain.clone()], first + (plain.start / cluster_size) as u64)
    }

    fn write(&self, data: &[u8], offset: u64) -> Result<()> {
        let clusters = self.clusters(offset, data.len() as u64)?;
        if self.compression == Compression::None {
            return self.store(data, clusters.start);
        }
        let pooled = self.packers.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut packer = match pooled {
            Some(packer) => packer,
            None => match Encoder::new(self.output.name(), self.compression)? {
                Some(encoder) => Packer::new(encoder, self.granularity()),
                None => return self.store(data, clusters.start),
            },
        };
        self.pack(&mut packer, data, clusters.start)?;
        self.packers.lock().unwrap_or_else(PoisonError::into_inner).push(packer);
        Ok(())
    }

    fn noting_failure(&self, result: Result<()>) -> Result<()> {
        if result.is_err() {
            self.failed.store(true, Ordering::Relaxed);
        }
        result
    }
}

impl BlockSink for Writer {
    fn size(&self) -> u64 {
        self.layout.virtual_size
    }

    fn granularity(&self) -> u64 {
        self.layout.format.cluster_size()
    }

    fn write_at(&self, data: &[u8], offset: u64) -> Result<()> {
        self.noting_failure(self.write(data, offset))
    }

    fn zero(&self, offset: u64, length: u64) -> Result<()> {
        let entered = self.clusters(offset, length).and_then(|clusters| {
            if !self.over_backing {
                return Ok(());
            }
            let count = clusters.end - clusters.start;
            self.tables.enter(self.output.name(), clusters.start, count, ZERO, 0)
        });
        self.noting_failure(entered)
    }

    fn settled(&self, offset: u64) -> Result<()> {
        self.noting_failure(self.tables.settle(&self.output, offset))
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.finish_at().map(|_length| ())
    }
}
