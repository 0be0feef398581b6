//! Progress, whoever reports it: the hub's own jobs, the client that writes a backup's disks, others from outside.
//!
//! The same rules for all, because it is the same column: progress never goes back, an older report than the last one
//! changes nothing, a job that has ended takes none (the answer tells how it ended). What a client says that writes
//! disks goes into the job's record first, which bounds it by the disks that there are; its word that all is written, or
//! that it gives up, is carried out when the rest is kept. Any other report of a state that ends a job is progress like
//! any other: only who runs a job ends it.

use crate::push::Session;
use crate::{Error, Hub, Missing, Result};
use api::Telemetry;
use catalog::{DiskProgress, Heard, Progress};
use jiff::Timestamp;
use model::{Backup, BackupId, DiskIndex, JobId, JobType, Phase};

/// More disks than any VM has.
const MOST_DISKS: usize = 256;

impl Hub {
    /// Takes one message about a job.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Ended`]; [`Error::Invalid`]; [`Error::Conflict`] where a client that is to write
    /// disks says that they are written before it could.
    pub async fn take_telemetry(&self, job_type: JobType, id: &str, message: Telemetry) -> Result<()> {
        if message.disks.len() > MOST_DISKS {
            return Err(Error::invalid("disks", format!("at most {MOST_DISKS} are taken")));
        }
        let missing = || Error::missing(Missing::Job, id);
        let heard = match job_type {
            JobType::Backup => {
                let id = BackupId::new(id).map_err(|_| missing())?;
                if let Some(session) = self.inner.sessions.get(&id) {
                    return self.take_word(&id, &session, &message).await;
                }
                self.catalog().record_progress(&id, &told(&message)).await
            }
            JobType::Restore | JobType::Copy | JobType::Verify | JobType::Consolidate => {
                let id = JobId::new(id).map_err(|_| missing())?;
                match self.catalog().job(&id).await? {
                    Some(job) if job.job_type == job_type => {
                        self.catalog().record_job_progress(&id, &told(&message)).await
                    }
                    _ => return Err(missing()),
                }
            }
        };
        match heard {
            Ok(Heard { status, .. }) if status.is_final() => Err(Error::Ended { id: id.to_owned(), status }),
            Ok(_) => Ok(()),
            Err(catalog::Error::NotFound { .. }) => Err(missing()),
            Err(error) => Err(error.into()),
        }
    }

    /// A message of the client that writes a backup's disks.
    async fn take_word(&self, id: &BackupId, session: &Session, message: &Telemetry) -> Result<()> {
        if session.note(message) {
            let mut record = self.backup(id).await?;
            session.enter(&mut record);
            sum_up(&mut record);
            if let Some(pace) = session.pace() {
                (record.transfer_speed_bps, record.eta_seconds) = pace;
            }
            // A client's own clock orders what it says; the hub's tells when that was heard.
            let heard = self.catalog().record_progress(id, &progress_of(&record, Timestamp::now())).await?;
            if !heard.is_running() {
                return Err(Error::Ended { id: id.to_string(), status: heard.status });
            }
        }
        // The last word holds also where its time is that of the one before (clocks that show seconds), and where the
        // first try to carry it out has failed: nothing comes after it that it could be later than.
        self.obey(id, session, message)
    }
}

/// A backup's record as a report.
pub(crate) fn progress_of(record: &Backup, at: Timestamp) -> Progress {
    Progress {
        at,
        phase: record.phase,
        bytes_transferred: record.bytes_transferred,
        bytes_processed: record.bytes_processed,
        total_bytes: record.total_bytes,
        transfer_speed_bps: record.transfer_speed_bps,
        eta_seconds: record.eta_seconds,
        disks: record
            .disks
            .iter()
            .map(|disk| DiskProgress {
                index: disk.index,
                status: disk.status,
                bytes_transferred: disk.bytes_transferred,
                bytes_processed: disk.bytes_processed,
                capacity_bytes: disk.capacity_bytes,
            })
            .collect(),
    }
}

/// The sums over a record's disks.
pub(crate) fn sum_up(record: &mut Backup) {
    record.bytes_transferred = record.disks.iter().map(|disk| disk.bytes_transferred).sum();
    record.bytes_processed = record.disks.iter().map(|disk| disk.bytes_processed).sum();
}

/// A message as a report.
fn told(message: &Telemetry) -> Progress {
    let processed = message.bytes_processed.unwrap_or(message.bytes_transferred);
    Progress {
        // A clock that is ahead must not make all later reports old ones.
        at: message.timestamp.min(Timestamp::now()),
        phase: match message.current_phase {
            // The end is told by who ends it.
            Phase::Completed | Phase::Failed => Phase::Finalizing,
            other => other,
        },
        bytes_transferred: message.bytes_transferred,
        bytes_processed: processed.min(message.total_bytes),
        total_bytes: message.total_bytes,
        transfer_speed_bps: message.transfer_speed_bps,
        eta_seconds: message.eta_seconds,
        disks: message
            .disks
            .iter()
            .map(|disk| DiskProgress {
                index: DiskIndex(disk.disk_index),
                status: disk.status,
                bytes_transferred: disk.bytes_transferred,
                bytes_processed: disk.bytes_processed.unwrap_or(disk.bytes_transferred).min(disk.total_bytes),
                capacity_bytes: disk.total_bytes,
            })
            .collect(),
    }
}
