//! Compressed clusters back to bytes.
//!
//! Each thread keeps its own contexts and buffers ([`with_decoder`]), made at first use and reused for every
//! chain the thread reads: at most a few MiB each. Decompression happens on the calling thread.
//!
//! A compressed cluster's length is told in sectors, so what is read ends with up to 511 bytes of something
//! else: a frame's own end counts, and it must give exactly one cluster. No size inside the compressed data
//! is believed: the output buffer is the cluster and nothing else is allocated.

use crate::header::CompressionType;
use flate2::{Decompress, FlushDecompress};
use std::cell::RefCell;
use zstd::zstd_safe;

/// Contexts and buffers of one thread.
#[derive(Default)]
pub(crate) struct Decoder {
    zstd: Option<zstd_safe::DCtx<'static>>,
    deflate: Option<Decompress>,
    /// Compressed bytes as read from the file.
    pub(crate) packed: Vec<u8>,
    /// One cluster, where only a part of it is wanted.
    pub(crate) cluster: Vec<u8>,
}

thread_local! {
    static DECODER: RefCell<Decoder> = RefCell::default();
}

/// Lends the calling thread's decoder. Not to be called from within itself.
pub(crate) fn with_decoder<T>(work: impl FnOnce(&mut Decoder) -> T) -> T {
    DECODER.with_borrow_mut(work)
}

impl Decoder {
    /// Fills all of `cluster` from the compressed data at the beginning of `packed`.
    ///
    /// # Errors
    /// What is wrong with the data, for a person.
    pub(crate) fn decode(
        &mut self,
        compression: CompressionType,
        packed: &[u8],
        cluster: &mut [u8],
    ) -> Result<(), String> {
        match compression {
            CompressionType::Zlib => self.inflate(packed, cluster),
            CompressionType::Zstd => self.unzstd(packed, cluster),
        }
    }

    fn inflate(&mut self, packed: &[u8], cluster: &mut [u8]) -> Result<(), String> {
        let context = self.deflate.get_or_insert_with(|| Decompress::new(false));
        context.reset(false);
        context
            .decompress(packed, cluster, FlushDecompress::Finish)
            .map_err(|e| format!("its deflate data is damaged: {e}"))?;
        exactly(context.total_out(), cluster.len())
    }

    fn unzstd(&mut self, mut packed: &[u8], cluster: &mut [u8]) -> Result<(), String> {
        let told = |code| format!("its zstd data is damaged: {}", zstd_safe::get_error_name(code));
        let context = self.zstd.get_or_insert_with(zstd_safe::DCtx::create);
        let mut filled = 0;
        // One frame by every writer known; more of them would be valid too. Each round takes at least the
        // bytes of a frame's header, so it ends.
        while let Some(rest) = cluster.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let length = zstd_safe::find_frame_compressed_size(packed).map_err(told)?;
            let Some((frame, behind)) = packed.split_at_checked(length).filter(|_| length > 0) else { break };
            filled += context.decompress(rest, frame).map_err(told)?;
            packed = behind;
        }
        exactly(filled as u64, cluster.len())
    }
}

fn exactly(got: u64, wanted: usize) -> Result<(), String> {
    if got == wanted as u64 {
        return Ok(());
    }
    Err(format!("its compressed data gives {got} bytes, a cluster has {wanted}"))
}
