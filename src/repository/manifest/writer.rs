//! Writing a manifest while the copy runs.

use super::file::ManifestSummary;
use super::format::{HASH, RUN, Run, RunKind, encode_end, encode_header, granules};
use crate::gate::{Files, Gate};
use crate::{Error, RelPath, Result};
use block::{Granule, Ledger};
use std::fs::File;
use std::io::Write;
use std::sync::Arc;

/// A data run is closed at this many granules (512 MiB of disk): its hashes wait in memory until its header,
/// which holds their number, can be written.
const MAX_DATA_RUN: u32 = 8192;
/// Written in pieces of about this size.
const WRITE_SIZE: usize = 256 << 10;

/// Takes what a copy stored and writes it as `….b3.partial`.
///
/// Memory: at most 1 MiB (one run's hashes and one write buffer). Dropped without
/// [`finish`](ManifestWriter::finish) it removes its file; afterwards the file is the transaction's that
/// publishes it.
pub struct ManifestWriter {
    gate: Arc<Gate>,
    partial: RelPath,
    file: File,
    total: u64,
    /// No granule below this one may come any more.
    next: u64,
    /// The run being gathered, and its hashes where it is a data run.
    run: Option<Run>,
    hashes: Vec<u8>,
    out: Vec<u8>,
    hasher: blake3::Hasher,
    written: u64,
    data: u64,
    zeros: u64,
    finished: bool,
}

impl ManifestWriter {
    pub(crate) fn create(gate: Arc<Gate>, path: &RelPath, virtual_size: u64) -> Result<Self> {
        let partial = path.partial();
        if virtual_size > i64::MAX as u64 {
            return Err(Error::damaged(&partial, format!("a disk of {virtual_size} bytes is impossible")));
        }
        let file = gate.create_new(&partial).map_err(Error::io("create", &partial))?;
        let mut writer = ManifestWriter {
            gate,
            partial,
            file,
            total: granules(virtual_size),
            next: 0,
            run: None,
            hashes: Vec::new(),
            out: Vec::with_capacity(WRITE_SIZE + MAX_DATA_RUN as usize * HASH + RUN),
            hasher: blake3::Hasher::new(),
            written: 0,
            data: 0,
            zeros: 0,
            finished: false,
        };
        writer.out.extend_from_slice(&encode_header(virtual_size));
        Ok(writer)
    }

    /// Writes the end, makes the file durable and gives what names it.
    ///
    /// # Errors
    /// Where it could not be written; the file is gone then.
    pub fn finish(mut self) -> Result<ManifestSummary> {
        let closed = self.close();
        let digest = closed.map_err(Error::io("write", &self.partial))?;
        self.finished = true;
        Ok(ManifestSummary {
            blake3: digest.to_hex().to_string(),
            granules: self.data,
            zero_granules: self.zeros,
            file_bytes: self.written,
        })
    }

    fn close(&mut self) -> std::io::Result<blake3::Hash> {
        self.close_run()?;
        self.out.extend_from_slice(&encode_end(self.data));
        self.flush()?;
        let digest = self.hasher.finalize();
        self.file.write_all(digest.as_bytes())?;
        self.written += HASH as u64;
        self.file.sync_all()?;
        Ok(digest)
    }

    fn add(&mut self, granule: u64, kind: RunKind, hash: Option<&[u8; HASH]>) -> std::io::Result<()> {
        let limit = match kind {
            RunKind::Data => MAX_DATA_RUN,
            RunKind::Zero => u32::MAX,
        };
        match &mut self.run {
            Some(run) if run.kind == kind && run.end() == granule && run.count < limit => run.count += 1,
            _ => {
                self.close_run()?;
                self.run = Some(Run { first: granule, count: 1, kind });
            }
        }
        match hash {
            Some(hash) => {
                self.hashes.extend_from_slice(hash);
                self.data += 1;
            }
            None => self.zeros += 1,
        }
        Ok(())
    }

    fn close_run(&mut self) -> std::io::Result<()> {
        if let Some(run) = self.run.take() {
            self.out.extend_from_slice(&run.encode());
            self.out.extend_from_slice(&self.hashes);
            self.hashes.clear();
            if self.out.len() >= WRITE_SIZE {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.hasher.update(&self.out);
        self.file.write_all(&self.out)?;
        self.written += self.out.len() as u64;
        self.out.clear();
        Ok(())
    }
}

impl Ledger for ManifestWriter {
    fn record(&mut self, first: u64, granules: &[Granule]) -> block::Result<()> {
        let end = first.checked_add(granules.len() as u64).filter(|end| *end <= self.total);
        let Some(end) = end.filter(|_| first >= self.next) else {
            return Err(block::Error::Usage {
                name: self.partial.to_string(),
                reason: format!(
                    "granules {first}+{} recorded where {}..{} may follow",
                    granules.len(),
                    self.next,
                    self.total
                ),
            });
        };
        self.next = end;
        for (granule, what) in (first..end).zip(granules) {
            let added = match what {
                Granule::Hash(hash) => self.add(granule, RunKind::Data, Some(hash)),
                Granule::Zero => self.add(granule, RunKind::Zero, None),
                Granule::Unknown => continue,
            };
            added.map_err(|source| block::Error::Io {
                operation: "write",
                name: self.partial.to_string(),
                offset: self.written,
                source,
            })?;
        }
        Ok(())
    }
}

impl Drop for ManifestWriter {
    fn drop(&mut self) {
        if !self.finished {
            // Best effort: what stays is a partial file, which the next backup of this VM removes.
            let _ = self.gate.remove(&self.partial);
        }
    }
}
