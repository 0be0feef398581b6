//! The end of a backup: the one transaction that makes it a point, or the record of why there is none.

use crate::control::Control;
use crate::image::Stored;
use crate::jobs::persist;
use crate::points::OpenRepository;
use crate::{Error, Hub, Result};
use jiff::Timestamp;
use model::{Backup, Phase, Status};
use repository::{DiskFiles, LocalRepository, Transaction};
use std::time::Duration;

/// What became of a transaction.
pub(crate) enum Published {
    /// It is applied.
    Yes,
    /// It is committed and will be applied by a later run; for now, this stands in the way.
    Later(Error),
}

/// Rounds of completing a transaction that could not be applied at once.
const ROUNDS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(200);

/// The record of the point that these files make.
pub(super) fn completed(record: &Backup, stored: &[Stored]) -> Backup {
    let now = Timestamp::now();
    let mut done = record.clone();
    for (on, stored) in done.disks.iter_mut().zip(stored) {
        on.status = Status::Completed;
        on.size_bytes = stored.image_bytes;
        // A client may have sent what came to nothing: zeros, or what was there before.
        on.bytes_transferred = on.bytes_transferred.max(stored.stored_bytes);
        on.bytes_processed = on.capacity_bytes;
        on.blake3 = Some(stored.blake3.clone());
    }
    done.status = Status::Completed;
    done.phase = Phase::Completed;
    done.bytes_transferred = done.disks.iter().map(|disk| disk.bytes_transferred).sum();
    done.bytes_processed = done.total_bytes;
    done.eta_seconds = None;
    done.completed_at = Some(now);
    done.last_telemetry_at = Some(now);
    let seconds = record.started_at.map_or(0.0, |started| now.duration_since(started).as_secs_f64());
    if seconds > 0.0 {
        done.transfer_speed_bps = (done.total_bytes as f64 / seconds) as u64;
    }
    done
}

/// Gives all files of a point their names, at once. Blocks.
pub(super) fn publish(
    repository: &OpenRepository,
    completed: &Backup,
    stored: Vec<Stored>,
    control: &Control,
) -> Result<Published> {
    let failed = |error| repository.write_failure(error);
    let mut transaction = repository.folder.begin().map_err(failed)?;
    for disk in &completed.disks {
        let files = DiskFiles::of(disk).map_err(failed)?;
        transaction.publish_disk(&files).map_err(failed)?;
    }
    transaction.put_sidecars(completed).map_err(failed)?;
    // The last moment at which it can still be called off.
    control.check()?;
    commit(repository, transaction, stored)
}

/// Commits a transaction over freshly written files. Where it is committed but can't be applied at once, it is
/// tried some more. Blocks.
pub(crate) fn commit(
    repository: &OpenRepository,
    transaction: Transaction,
    stored: Vec<Stored>,
) -> Result<Published> {
    repository.folder.check_in_place().map_err(|error| repository.write_failure(error))?;
    let keep = |stored: Vec<Stored>| stored.into_iter().for_each(Stored::keep);
    match transaction.commit() {
        Ok(()) => {
            keep(stored);
            Ok(Published::Yes)
        }
        Err(error @ repository::Error::Unfinished { .. }) => {
            // The record of the change names them: they are no longer ours to remove.
            keep(stored);
            if complete(&repository.folder) {
                return Ok(Published::Yes);
            }
            Ok(Published::Later(repository.write_failure(error)))
        }
        Err(error) => Err(repository.write_failure(error)),
    }
}

fn complete(folder: &LocalRepository) -> bool {
    (0..ROUNDS).any(|_| match folder.recover() {
        Ok(report) if report.pending.is_empty() => true,
        Ok(_) | Err(_) => {
            std::thread::sleep(PAUSE);
            false
        }
    })
}

impl Hub {
    /// Keeps on the record why a backup failed; gives back the record as it ended.
    pub(super) async fn fail_backup(&self, mut record: Backup, error: &Error, pending: bool) -> Backup {
        fail(&mut record, error);
        if pending {
            // The point is going to exist, so its row is left to whoever completes the transaction.
            tracing::error!(id = %record.id, %error, "the point is committed and will be completed by a later run");
            return record;
        }
        if let Err(unwritten) = persist(|| self.catalog().update_backup(&record)).await {
            tracing::error!(id = %record.id, %error, %unwritten, "a failed backup can't be recorded as such");
        }
        record
    }
}

/// Ends a record with an error.
pub(crate) fn fail(record: &mut Backup, error: &Error) {
    let status = if error.is_cancelled() { Status::Cancelled } else { Status::Failed };
    record.status = status;
    record.phase = Phase::Failed;
    record.error_message = Some(error.to_string());
    record.error_code = Some(error.code().as_str().to_owned());
    record.completed_at = Some(Timestamp::now());
    record.eta_seconds = None;
    record.transfer_speed_bps = 0;
    for disk in &mut record.disks {
        disk.status = status;
        disk.size_bytes = 0;
        disk.blake3 = None;
    }
}
