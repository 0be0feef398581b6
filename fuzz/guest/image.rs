//! Sparse images in memory, changed without a copy, and what of them is read.

use guestfs::ReadAt;
use std::collections::BTreeSet;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that are held, or not held because they are zeros.
const BLOCK: usize = 4096;
/// Bytes of places that are changed as one.
const LINE: u64 = 16;

/// An image without its zeros.
pub struct Image {
    size: u64,
    /// Where a block's bytes begin in `held`; none for zeros.
    blocks: Vec<Option<usize>>,
    held: Vec<u8>,
}

impl Image {
    /// Zeros.
    pub fn zeros(size: u64) -> Self {
        Image { size, blocks: vec![None; size.div_ceil(BLOCK as u64) as usize], held: Vec::new() }
    }

    /// These bytes.
    pub fn plain(bytes: &[u8]) -> Self {
        Self::from_reader(bytes)
    }

    /// What was compressed by zstd.
    pub fn compressed(bytes: &[u8]) -> Self {
        Self::from_reader(zstd::Decoder::new(bytes).expect("a seed"))
    }

    fn from_reader(mut from: impl Read) -> Self {
        let mut image = Image { size: 0, blocks: Vec::new(), held: Vec::new() };
        loop {
            let mut block = Vec::with_capacity(BLOCK);
            let length = from.by_ref().take(BLOCK as u64).read_to_end(&mut block).expect("a seed");
            if length == 0 {
                return image;
            }
            image.size += length as u64;
            block.resize(BLOCK, 0);
            if block.iter().all(|&byte| byte == 0) {
                image.blocks.push(None);
            } else {
                image.blocks.push(Some(image.held.len()));
                image.held.extend(block);
            }
        }
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Where blocks of 4096 bytes that are not zeros begin.
    pub fn used(&self) -> impl Iterator<Item = u64> + '_ {
        (0..).zip(&self.blocks).filter(|(_, block)| block.is_some()).map(|(number, _)| number * BLOCK as u64)
    }

    /// The bytes at `at`, with zeros past the end.
    pub fn bytes(&self, at: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.fill(&mut bytes, at);
        bytes
    }

    fn fill(&self, buf: &mut [u8], at: u64) {
        let mut done = 0;
        while done < buf.len() {
            let position = at + done as u64;
            let within = (position % BLOCK as u64) as usize;
            let length = (BLOCK - within).min(buf.len() - done);
            let part = &mut buf[done..done + length];
            match self.blocks.get((position / BLOCK as u64) as usize).copied().flatten() {
                Some(held) => part.copy_from_slice(&self.held[held + within..held + within + length]),
                None => part.fill(0),
            }
            done += length;
        }
    }

    /// The places of what was read that are not zeros, and the line after each; those of one block together.
    pub fn hot(&self, read: &BTreeSet<(u64, u64)>) -> Vec<Vec<u64>> {
        let mut groups = Vec::new();
        let mut seen = BTreeSet::new();
        for &(start, length) in read {
            for block in (start / BLOCK as u64)..=(start + length.max(1) - 1) / BLOCK as u64 {
                if !seen.insert(block) {
                    continue;
                }
                let bytes = self.bytes(block * BLOCK as u64, BLOCK);
                let mut lines = Vec::new();
                let mut before = false;
                for (line, part) in (0..).zip(bytes.chunks(LINE as usize)) {
                    let used = part.iter().any(|&byte| byte != 0);
                    if used || before {
                        lines.push(block * BLOCK as u64 + line * LINE);
                    }
                    before = used;
                }
                if !lines.is_empty() {
                    groups.push(lines);
                }
            }
        }
        groups
    }
}

/// An image with changes over it.
#[derive(Clone)]
pub struct View {
    image: Arc<Image>,
    /// The size: that of the image, or less.
    pub size: u64,
    /// Where bytes are replaced by which; later ones win.
    pub edits: Vec<(u64, Vec<u8>)>,
}

impl View {
    /// The image as it is.
    pub fn new(image: Arc<Image>) -> Self {
        View { size: image.size, image, edits: Vec::new() }
    }

    /// The image without its changes.
    pub fn original(&self) -> Self {
        View::new(self.image.clone())
    }

    /// The bytes at `at`, with zeros past the end.
    pub fn bytes(&self, at: u64, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.fill(&mut bytes, at);
        bytes
    }

    fn fill(&self, buf: &mut [u8], at: u64) {
        self.image.fill(buf, at);
        let end = at + buf.len() as u64;
        for (start, bytes) in &self.edits {
            let (from, to) = ((*start).max(at), (start + bytes.len() as u64).min(end));
            if from < to {
                buf[(from - at) as usize..(to - at) as usize]
                    .copy_from_slice(&bytes[(from - start) as usize..(to - start) as usize]);
            }
        }
    }
}

/// A view that ends whoever reads it without end, and knows what was read.
pub struct Counted {
    view: View,
    reads: AtomicU64,
    bytes: AtomicU64,
    taken: Mutex<BTreeSet<(u64, u64)>>,
}

/// How often one input may read, and how many bytes.
const MAX_READS: u64 = 1 << 20;
const MAX_BYTES: u64 = 4 << 30;
/// Ranges that are remembered.
const MAX_TAKEN: usize = 1 << 14;

impl Counted {
    /// Nothing read yet.
    pub fn new(view: View) -> Self {
        Counted { view, reads: AtomicU64::new(0), bytes: AtomicU64::new(0), taken: Mutex::default() }
    }

    /// The ranges that were read: where each begins, and its length.
    pub fn taken(&self) -> BTreeSet<(u64, u64)> {
        self.taken.lock().expect("no panic").clone()
    }
}

impl ReadAt for Counted {
    fn size(&self) -> u64 {
        self.view.size
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let length = buf.len() as u64;
        if offset.checked_add(length).is_none_or(|end| end > self.view.size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let reads = self.reads.fetch_add(1, Ordering::Relaxed);
        let bytes = self.bytes.fetch_add(length, Ordering::Relaxed);
        assert!(reads < MAX_READS && bytes < MAX_BYTES, "{reads} reads of {bytes} bytes: this does not end");
        let mut taken = self.taken.lock().expect("no panic");
        if taken.len() < MAX_TAKEN {
            taken.insert((offset, length));
        }
        drop(taken);
        self.view.fill(buf, offset);
        Ok(())
    }
}
