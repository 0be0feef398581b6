//! Progress that is reported from outside this process.
//!
//! The same rules as for the hub's own jobs, because it is the same column: progress never goes back, an older
//! report than the last one changes nothing, a job that has ended takes none (the answer tells how it ended).
//! A report of a state that ends a job is progress like any other: only who runs a job ends it.

use crate::{Error, Hub, Missing, Result};
use api::Telemetry;
use catalog::{DiskProgress, Heard, Progress};
use jiff::Timestamp;
use model::{BackupId, DiskIndex, JobId, JobType, Phase};

/// More disks than any VM has.
const MOST_DISKS: usize = 256;

impl Hub {
    /// Takes one message about a job.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Ended`]; [`Error::Invalid`].
    pub async fn take_telemetry(&self, job_type: JobType, id: &str, message: Telemetry) -> Result<()> {
        if message.disks.len() > MOST_DISKS {
            return Err(Error::invalid("disks", format!("at most {MOST_DISKS} are taken")));
        }
        let phase = match message.current_phase {
            // The end is told by who ends it.
            Phase::Completed | Phase::Failed => Phase::Finalizing,
            other => other,
        };
        let processed = message.bytes_processed.unwrap_or(message.bytes_transferred);
        let progress = Progress {
            // A clock that is ahead must not make all later reports old ones.
            at: message.timestamp.min(Timestamp::now()),
            phase,
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
                    bytes_processed: disk
                        .bytes_processed
                        .unwrap_or(disk.bytes_transferred)
                        .min(disk.total_bytes),
                    capacity_bytes: disk.total_bytes,
                })
                .collect(),
        };
        let missing = || Error::missing(Missing::Job, id);
        let heard = match job_type {
            JobType::Backup => {
                let id = BackupId::new(id).map_err(|_| missing())?;
                self.catalog().record_progress(&id, &progress).await
            }
            JobType::Restore | JobType::Copy | JobType::Verify | JobType::Consolidate => {
                let id = JobId::new(id).map_err(|_| missing())?;
                match self.catalog().job(&id).await? {
                    Some(job) if job.job_type == job_type => {
                        self.catalog().record_job_progress(&id, &progress).await
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
}
