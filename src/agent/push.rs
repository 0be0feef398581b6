//! Copying disks to their exports, a thread each.

use crate::targets::targets;
use crate::{Error, Result};
use api::{Backup, DiskTelemetry, PushDisk, Telemetry};
use block::{BlockSink, BlockSource, CancelToken, CopyError, CopyOptions, Counters, Limiter, Mode, Side};
use jiff::Timestamp;
use model::{BackupType, DiskIndex, JobType, Phase, SourceUri, Status};
use nbd::{Interrupt, NbdSink, Options, Uri};
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc;

/// The opened disks of a VM, in their order.
pub struct Disks {
    disks: Vec<(SourceUri, Box<dyn BlockSource>)>,
    interrupt: Interrupt,
}

/// How disks are pushed.
#[derive(Debug, Clone, Default)]
pub struct PushOptions {
    /// Connections to each export; 0 chooses by the machine.
    pub connections: usize,
    /// The folder of `ca-cert.pem` by which the exports' certificates are checked; none: the system's authorities.
    pub certificates: Option<PathBuf>,
    /// Most bytes a second to read, over all disks.
    pub bandwidth: Option<NonZeroU64>,
}

/// Disks on their way.
pub struct Push {
    sizes: Vec<u64>,
    counters: Vec<Arc<Counters>>,
    cancel: CancelToken,
    interrupt: Interrupt,
    ended: mpsc::UnboundedReceiver<Result<()>>,
    left: usize,
    before: (Instant, u64),
}

impl Disks {
    /// Opens the sources. Blocks.
    ///
    /// # Errors
    /// The first that can't be opened.
    pub fn open(uris: &[SourceUri]) -> Result<Disks> {
        let interrupt = Interrupt::new();
        let mut disks = Vec::with_capacity(uris.len());
        for (number, uri) in uris.iter().enumerate() {
            let opened = sources::settle(uri.clone()).and_then(|uri| sources::open(&uri, &interrupt));
            let source = opened.map_err(|error| source_error(number as u32, uri, &error))?;
            disks.push((uri.clone(), source));
        }
        Ok(Disks { disks, interrupt })
    }

    /// What the hub is told of them.
    pub fn described(&self) -> Vec<PushDisk> {
        let disks = self.disks.iter();
        disks
            .map(|(_, source)| PushDisk { disk_id: None, capacity_bytes: source.size(), change_id: None })
            .collect()
    }

    /// Begins to write them to the exports of a backup.
    ///
    /// # Errors
    /// Where the backup does not have exactly these disks, or no thread can be made.
    pub fn push(self, backup: &Backup, options: &PushOptions) -> Result<Push> {
        let targets = targets(backup, options.certificates.as_deref())?;
        if backup.disk_results.len() != self.disks.len() {
            return Err(Error::Answer(format!(
                "{} disks are wanted, {} are to be pushed",
                backup.disk_results.len(),
                self.disks.len()
            )));
        }
        let cancel = CancelToken::new();
        let limiter = options.bandwidth.map(|rate| Arc::new(Limiter::new(rate)));
        let (told, ended) = mpsc::unbounded_channel();
        let mut push = Push {
            sizes: self.disks.iter().map(|(_, source)| source.size()).collect(),
            counters: Vec::new(),
            cancel: cancel.clone(),
            interrupt: self.interrupt.clone(),
            ended,
            left: self.disks.len(),
            before: (Instant::now(), 0),
        };
        for (number, (name, source)) in self.disks.into_iter().enumerate() {
            let index = number as u32;
            let missing = || Error::Answer(format!("disk {index} is not wanted"));
            let target = targets.get(&index).ok_or_else(missing)?.clone();
            let on = backup.disk_results.iter().find(|disk| disk.disk_id == index).ok_or_else(missing)?;
            let counters: Arc<Counters> = Arc::default();
            push.counters.push(Arc::clone(&counters));
            let work = Work {
                index,
                name,
                source,
                target,
                full: on.backup_type == BackupType::Full,
                counters,
                limiter: limiter.clone(),
                cancel: cancel.clone(),
                options: Options {
                    connections: options.connections,
                    interrupt: self.interrupt.clone(),
                    ..Options::default()
                },
            };
            let told = told.clone();
            let made = std::thread::Builder::new().name(format!("push-{index}")).spawn(move || {
                // Whoever waited may be gone; then nobody wants to know.
                let _ = told.send(work.run());
            });
            made.map_err(|error| Error::Answer(format!("no thread can be made: {error}")))?;
        }
        Ok(push)
    }
}

impl Push {
    /// Waits until every disk is written and the hub has it.
    ///
    /// # Errors
    /// The first that any disk met; the others are ended then, but may not have.
    pub async fn done(&mut self) -> Result<()> {
        while self.left > 0 {
            match self.ended.recv().await {
                Some(Ok(())) => self.left -= 1,
                Some(Err(error)) => {
                    self.stop();
                    return Err(error);
                }
                // A thread has ended without a word.
                None => return Err(Error::Answer("a thread panicked".into())),
            }
        }
        Ok(())
    }

    /// Ends it, wherever it is.
    pub fn stop(&self) {
        self.cancel.cancel();
        self.interrupt.stop();
    }

    /// How far it is; the speed is that since the last call.
    pub fn telemetry(&mut self) -> Telemetry {
        let disks: Vec<DiskTelemetry> = self
            .counters
            .iter()
            .zip(&self.sizes)
            .enumerate()
            .map(|(number, (counters, size))| {
                let now = counters.progress();
                let processed = now.processed.min(*size);
                DiskTelemetry {
                    disk_index: number as u32,
                    disk_key: DiskIndex(number as u32).key(),
                    bytes_transferred: now.stored,
                    bytes_processed: Some(processed),
                    total_bytes: *size,
                    progress_percent: percent(processed, *size),
                    status: Status::Running,
                }
            })
            .collect();
        let total_bytes: u64 = self.sizes.iter().sum();
        let processed: u64 = disks.iter().filter_map(|disk| disk.bytes_processed).sum();
        let (since, before) = std::mem::replace(&mut self.before, (Instant::now(), processed));
        let seconds = since.elapsed().as_secs_f64();
        let moved = processed.saturating_sub(before);
        let speed = if seconds > 0.01 { (moved as f64 / seconds) as u64 } else { 0 };
        Telemetry {
            job_type: JobType::Backup,
            status: Status::Running,
            current_phase: Phase::Transferring,
            bytes_transferred: disks.iter().map(|disk| disk.bytes_transferred).sum(),
            bytes_processed: Some(processed),
            total_bytes,
            transfer_speed_bps: speed,
            eta_seconds: (speed > 0).then(|| total_bytes.saturating_sub(processed).div_ceil(speed)),
            progress_percent: percent(processed, total_bytes),
            timestamp: Timestamp::now(),
            disks,
            error: None,
        }
    }

    /// That it has failed, and why.
    pub fn failed(&mut self, error: &Error) -> Telemetry {
        let status = if matches!(error, Error::Cancelled) { Status::Cancelled } else { Status::Failed };
        Telemetry { status, error: Some(error.to_string()), ..self.telemetry() }
    }
}

impl Drop for Push {
    fn drop(&mut self) {
        self.stop();
    }
}

fn percent(done: u64, total: u64) -> f64 {
    if total == 0 { 100.0 } else { (done.min(total) as f64 / total as f64 * 10_000.0).round() / 100.0 }
}

/// One disk.
struct Work {
    index: u32,
    name: SourceUri,
    source: Box<dyn BlockSource>,
    target: Uri,
    full: bool,
    counters: Arc<Counters>,
    limiter: Option<Arc<Limiter>>,
    cancel: CancelToken,
    options: Options,
}

impl Work {
    fn run(self) -> Result<()> {
        let index = self.index;
        let export = |error: block::Error| match error {
            block::Error::Cancelled => Error::Cancelled,
            other => Error::Export { disk: index, reason: other.to_string() },
        };
        let sink = NbdSink::open(&self.target, self.source.size(), &self.options).map_err(export)?;
        if sink.export_size() != self.source.size() {
            let reason =
                format!("the export has {} bytes, the disk {}", sink.export_size(), self.source.size());
            return Err(Error::Answer(reason));
        }
        // A new export reads as zeros, or as the parent: of a full, zeros need not be sent.
        let mode = match self.full {
            true => Mode::Store { keep_zeros: false },
            false => Mode::Restore { expected: None },
        };
        let name = format!("disk {index}");
        let mut options = CopyOptions::new(&name, mode, &self.counters, &self.cancel);
        options.limiter = self.limiter.as_deref();
        block::copy(self.source.as_ref(), &sink, options).map_err(|failed| match failed {
            CopyError { error: block::Error::Cancelled, .. } => Error::Cancelled,
            CopyError { side: Side::Source, error } => source_error(index, &self.name, &error),
            CopyError { error, .. } => export(error),
        })?;
        Box::new(sink).finish().map_err(export)
    }
}

fn source_error(disk: u32, uri: &SourceUri, error: &block::Error) -> Error {
    let name = uri.to_string();
    let reason = match error {
        block::Error::Open { source, .. } => source.to_string(),
        block::Error::Io { offset, source, .. } => format!("{source} (at byte {offset})"),
        block::Error::Peer { reason, .. } | block::Error::Unsupported { reason, .. } => reason.clone(),
        other => other.to_string(),
    };
    Error::Source { disk, name, reason }
}
