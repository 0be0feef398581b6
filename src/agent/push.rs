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
    cancel: CancelToken,
    interrupt: Interrupt,
    ended: mpsc::UnboundedReceiver<Result<()>>,
    left: usize,
    sizes: Vec<u64>,
    counters: Vec<Arc<Counters>>,
}

/// Tells how far a [`Push`] is, also while that is waited for.
pub struct Gauge {
    sizes: Vec<u64>,
    counters: Vec<Arc<Counters>>,
    before: (Instant, u64),
    turns: Turns,
}

/// Most disks that one message tells of: it is to stay below 1 KB, however many disks there are.
const TOLD: usize = 3;

/// Whose turn it is to be told of: disks that moved since, one after the other.
#[derive(Debug, Default)]
struct Turns {
    /// What was last told of each: stored, processed.
    told: Vec<Option<(u64, u64)>>,
    next: usize,
}

impl Turns {
    fn take(&mut self, now: &[(u64, u64)]) -> Vec<usize> {
        self.told.resize(now.len(), None);
        let mut chosen = Vec::new();
        for step in 0..now.len() {
            let disk = (self.next + step) % now.len();
            if self.told[disk] != Some(now[disk]) {
                self.told[disk] = Some(now[disk]);
                chosen.push(disk);
                if chosen.len() == TOLD {
                    break;
                }
            }
        }
        self.next = chosen.last().map_or(self.next, |last| last + 1);
        chosen
    }
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
            let disk = number as u32;
            let settled = sources::settle(uri.clone()).map_err(|error| match error {
                block::Error::Unsupported { name, reason } => {
                    Error::Misnamed { disk, reason: format!("{name}: {reason}") }
                }
                error => source_error(disk, uri, &error),
            })?;
            let source =
                sources::open(&settled, &interrupt).map_err(|error| source_error(disk, uri, &error))?;
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

    /// What tells how far it is.
    pub fn gauge(&self) -> Gauge {
        Gauge {
            sizes: self.sizes.clone(),
            counters: self.counters.clone(),
            before: (Instant::now(), 0),
            turns: Turns::default(),
        }
    }
}

impl Gauge {
    /// How far it is; the speed is that since the last call. Of many disks it tells of those that moved, a few at a
    /// time; the sums are those of all.
    pub fn telemetry(&mut self) -> Telemetry {
        let now: Vec<(u64, u64)> = self
            .counters
            .iter()
            .zip(&self.sizes)
            .map(|(counters, size)| {
                let now = counters.progress();
                (now.stored, now.processed.min(*size))
            })
            .collect();
        let processed: u64 = now.iter().map(|(_, processed)| processed).sum();
        let (since, before) = std::mem::replace(&mut self.before, (Instant::now(), processed));
        let seconds = since.elapsed().as_secs_f64();
        let moved = processed.saturating_sub(before);
        let speed = if seconds > 0.01 { (moved as f64 / seconds) as u64 } else { 0 };
        message(&self.sizes, &now, &self.turns.take(&now), speed)
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

/// What is told of disks with these sizes, of which so much is stored and processed.
fn message(sizes: &[u64], now: &[(u64, u64)], chosen: &[usize], speed: u64) -> Telemetry {
    let total_bytes: u64 = sizes.iter().sum();
    let processed: u64 = now.iter().map(|(_, processed)| processed).sum();
    let disks = chosen.iter().filter_map(|disk| Some((*disk, *now.get(*disk)?, *sizes.get(*disk)?)));
    Telemetry {
        job_type: JobType::Backup,
        status: Status::Running,
        current_phase: Phase::Transferring,
        bytes_transferred: now.iter().map(|(stored, _)| stored).sum(),
        bytes_processed: Some(processed),
        total_bytes,
        transfer_speed_bps: speed,
        eta_seconds: (speed > 0).then(|| total_bytes.saturating_sub(processed).div_ceil(speed)),
        progress_percent: percent(processed, total_bytes),
        timestamp: Timestamp::now(),
        disks: disks
            .map(|(disk, (stored, processed), size)| DiskTelemetry {
                disk_index: disk as u32,
                disk_key: DiskIndex(disk as u32).key(),
                bytes_transferred: stored,
                bytes_processed: Some(processed),
                total_bytes: size,
                progress_percent: percent(processed, size),
                status: Status::Running,
            })
            .collect(),
        error: None,
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
            // Without its name, which may be a secret.
            other => Error::Export { disk: index, reason: reason(&other) },
        };
        let sink = NbdSink::open(&self.target, self.source.size(), &self.options).map_err(export)?;
        if sink.export_size() != self.source.size() {
            let sizes =
                format!("the export has {} bytes, the disk {}", sink.export_size(), self.source.size());
            return Err(Error::Answer(sizes));
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
    Error::Source { disk, name: uri.to_string(), reason: reason(error) }
}

/// What went wrong, without the name of what it went wrong with.
fn reason(error: &block::Error) -> String {
    match error {
        block::Error::Open { source, .. } => source.to_string(),
        block::Error::Io { offset, source, .. } => format!("{source} (at byte {offset})"),
        block::Error::Peer { reason, .. }
        | block::Error::Unsupported { reason, .. }
        | block::Error::Corrupt { reason, .. }
        | block::Error::Usage { reason, .. } => reason.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIB: u64 = 1 << 40;

    #[test]
    fn a_message_is_below_one_kilobyte_however_many_disks_there_are_and_how_large() {
        for disks in [1, 2, 3, 60, 256] {
            let sizes = vec![64 * TIB - 512; disks];
            let now = vec![(63 * TIB + 77_777, 63 * TIB + 88_888); disks];
            let mut turns = Turns::default();
            for _ in 0..4 {
                let message = message(&sizes, &now, &turns.take(&now), 1);
                let text = serde_json::to_string(&message).unwrap();
                assert!(text.len() < 1_000, "{disks} disks: {} bytes: {text}", text.len());
                assert_eq!(message.total_bytes, sizes.iter().sum::<u64>());
            }
        }
    }

    #[test]
    fn every_disk_that_moves_gets_its_turn_and_none_that_does_not() {
        let mut turns = Turns::default();
        let mut now: Vec<(u64, u64)> = vec![(0, 0); 8];
        assert_eq!(turns.take(&now), [0, 1, 2]);
        assert_eq!(turns.take(&now), [3, 4, 5]);
        now[1] = (1, 1);
        assert_eq!(turns.take(&now), [6, 7, 1]);
        assert_eq!(turns.take(&now), [] as [usize; 0]);
        for disk in [0, 2, 3, 7] {
            now[disk] = (5, 5);
        }
        assert_eq!(turns.take(&now), [2, 3, 7]);
        assert_eq!(turns.take(&now), [0]);
        assert_eq!(Turns::default().take(&[]), [] as [usize; 0]);
    }
}
