//! Progress, whoever reports it: the hub's own jobs, the client that writes a backup's disks, others from outside.
//!
//! The same rules for all, because it is the same column: progress never goes back, an older report than the last one
//! changes nothing, a job that has ended takes none (the answer tells how it ended). What is said of a backup is bounded
//! by the disks that it has, and spread over them where it is said of all together. The word of a client that writes the
//! disks that all is written, or that it gives up, is carried out when the rest is kept. Nobody else ends a job that the hub
//! runs, or tells its phase: who says that it has ended is told so.

use crate::push::{Session, not_theirs};
use crate::{Error, Hub, Missing, Result};
use api::Telemetry;
use catalog::{DiskProgress, Heard, JobRecord, Progress};
use jiff::Timestamp;
use model::{Backup, BackupDisk, BackupId, DiskIndex, JobId, JobType, Status};
use std::collections::{BTreeMap, BTreeSet};

/// More disks than any VM has.
const MOST_DISKS: usize = 256;

impl Hub {
    /// Takes one message about a job.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Ended`]; [`Error::Invalid`] where it tells of a disk that there is not, or of one
    /// twice; [`Error::Conflict`] where a client that is to write disks says that they are written before it could, or
    /// to another process than the one that receives them, and where somebody ends what the hub does by itself.
    pub async fn take_telemetry(&self, job_type: JobType, id: &str, message: Telemetry) -> Result<()> {
        check_disks(&message)?;
        let missing = || Error::missing(Missing::Job, id);
        let heard = match job_type {
            JobType::Backup => {
                let id = BackupId::new(id).map_err(|_| missing())?;
                let mut record = self.backup(&id).await.map_err(|error| match error {
                    Error::NotFound { .. } => missing(),
                    other => other,
                })?;
                if record.status.is_final() {
                    return Err(Error::Ended { id: id.to_string(), status: record.status });
                }
                check_known(&message, &record)?;
                if let Some(session) = self.inner.sessions.get(&id) {
                    return self.take_word(record, &session, &message).await;
                }
                if message.status.is_final() {
                    return Err(not_theirs(&record));
                }
                let told = disks_of(&message, &record);
                self.inner.registry.tell(id.as_str(), &told);
                raise(&mut record, &told);
                record.disks.iter_mut().filter(|disk| disk.status == Status::Stalled).for_each(|disk| {
                    disk.status = Status::Running;
                });
                let report = progress_of(&record, moment_of(&message));
                self.catalog().record_progress(&id, &report).await
            }
            JobType::Restore | JobType::Copy | JobType::Verify | JobType::Consolidate => {
                let id = JobId::new(id).map_err(|_| missing())?;
                match self.catalog().job(&id).await? {
                    Some(job) if job.job_type == job_type && job.status.is_final() => {
                        return Err(Error::Ended { id: id.to_string(), status: job.status });
                    }
                    Some(job) if job.job_type == job_type && message.status.is_final() => {
                        return Err(Error::Conflict {
                            message: format!("the hub ends {id} by itself"),
                            hint: "`sendense-ctl backup watch` shows how it goes".into(),
                        });
                    }
                    Some(job) if job.job_type == job_type => {
                        let said = told_of(&message, &job);
                        let done =
                            Done { transferred: said.bytes_transferred, processed: said.bytes_processed };
                        self.inner.registry.tell(id.as_str(), &BTreeMap::from([(DiskIndex(0), done)]));
                        self.catalog().record_job_progress(&id, &said).await
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
    async fn take_word(&self, mut record: Backup, session: &Session, message: &Telemetry) -> Result<()> {
        let id = record.id.clone();
        if session.note(message, moment_of(message), disks_of(message, &record)) {
            raise(&mut record, &session.told());
            if let Some(pace) = session.pace() {
                (record.transfer_speed_bps, record.eta_seconds) = pace;
            }
            // A client's own clock orders what it says; the hub's tells when that was heard.
            let heard = self.catalog().record_progress(&id, &progress_of(&record, Timestamp::now())).await?;
            if !heard.is_running() {
                return Err(Error::Ended { id: id.to_string(), status: heard.status });
            }
        }
        // The last word holds also where its time is that of the one before (clocks that show seconds), and where the
        // first try to carry it out has failed: nothing comes after it that it could be later than.
        self.obey(&id, session, message)
    }
}

/// How far a disk is, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Done {
    /// Stored or written.
    pub transferred: u64,
    /// Dealt with.
    pub processed: u64,
}

impl Done {
    /// What was said of it, whoever said more.
    pub(crate) fn max(self, other: Done) -> Done {
        Done {
            transferred: self.transferred.max(other.transferred),
            processed: self.processed.max(other.processed),
        }
    }
}

/// Refuses rows that contradict themselves or each other.
fn check_disks(message: &Telemetry) -> Result<()> {
    if message.disks.len() > MOST_DISKS {
        return Err(Error::invalid("disks", format!("at most {MOST_DISKS} are taken")));
    }
    let mut told = BTreeSet::new();
    for (position, disk) in message.disks.iter().enumerate() {
        let (index, key) = (disk.disk_index, disk.disk_key);
        if index.checked_add(DiskIndex(0).key()) != Some(key) {
            let reason = format!("[{position}]: disk_key {key} is not that of disk_index {index}");
            return Err(Error::invalid("disks", reason));
        }
        if !told.insert(index) {
            return Err(Error::invalid("disks", format!("[{position}]: disk_index {index} is told twice")));
        }
    }
    Ok(())
}

/// Refuses rows of disks that are not backed up.
fn check_known(message: &Telemetry, record: &Backup) -> Result<()> {
    for (position, disk) in message.disks.iter().enumerate() {
        if record.disk(DiskIndex(disk.disk_index)).is_none() {
            let there: Vec<String> = record.disks.iter().map(|disk| disk.index.to_string()).collect();
            let (index, there) = (disk.disk_index, there.join(", "));
            let reason =
                format!("[{position}]: disk_index {index} is none of this backup, which has {there}");
            return Err(Error::invalid("disks", reason));
        }
    }
    Ok(())
}

/// What a message says of each disk, never more than there is of it.
///
/// One without rows is about all disks together: what it says above what is known of them is spread over what is left
/// of each, so that their sum is what was said.
fn disks_of(message: &Telemetry, record: &Backup) -> BTreeMap<DiskIndex, Done> {
    if message.disks.is_empty() {
        let processed = message
            .bytes_processed
            .unwrap_or_else(|| part_of(message.bytes_transferred, message.total_bytes, record.total_bytes));
        let of = |known: fn(&BackupDisk) -> u64| -> Vec<(u64, u64)> {
            record.disks.iter().map(|disk| (known(disk), disk.capacity_bytes)).collect()
        };
        let transferred = spread(message.bytes_transferred, &of(|disk| disk.bytes_transferred));
        let processed = spread(processed, &of(|disk| disk.bytes_processed));
        let done = transferred.into_iter().zip(processed);
        let done = done.map(|(transferred, processed)| Done { transferred, processed });
        return record.disks.iter().map(|disk| disk.index).zip(done).collect();
    }
    let rows = message.disks.iter().filter_map(|row| {
        let disk = record.disk(DiskIndex(row.disk_index))?;
        let transferred = row.bytes_transferred.min(disk.capacity_bytes);
        let processed = row
            .bytes_processed
            .unwrap_or_else(|| part_of(row.bytes_transferred, row.total_bytes, disk.capacity_bytes))
            .min(disk.capacity_bytes);
        Some((disk.index, Done { transferred, processed }))
    });
    rows.collect()
}

/// How much of `capacity` is dealt with, for a client that has sent so much of so much: it may have less to send than
/// there is, because it sends only what has changed.
fn part_of(sent: u64, of: u64, capacity: u64) -> u64 {
    if of == 0 || of >= capacity {
        return sent;
    }
    u64::try_from(u128::from(sent) * u128::from(capacity) / u128::from(of)).unwrap_or(u64::MAX)
}

/// Parts of `total` for disks of which so much is done already, of so much.
fn spread(total: u64, disks: &[(u64, u64)]) -> Vec<u64> {
    let left = |&(done, capacity): &(u64, u64)| u128::from(capacity.saturating_sub(done));
    let done: u128 = disks.iter().map(|(done, _)| u128::from(*done)).sum();
    let room: u128 = disks.iter().map(left).sum();
    let more = u128::from(total).saturating_sub(done).min(room);
    let mut parts = Vec::with_capacity(disks.len());
    let (mut room_before, mut given) = (0u128, 0u128);
    for disk in disks {
        room_before += left(disk);
        // What is due up to here less what was given before: the parts have the sum that they must have.
        let due = (more * room_before).checked_div(room).unwrap_or(0);
        parts.push(disk.0 + (due - given) as u64);
        given = due;
    }
    parts
}

/// Takes what was said into a record, where it is more than is known there.
pub(crate) fn raise(record: &mut Backup, told: &BTreeMap<DiskIndex, Done>) {
    for disk in &mut record.disks {
        if let Some(done) = told.get(&disk.index) {
            disk.bytes_transferred = disk.bytes_transferred.max(done.transferred.min(disk.capacity_bytes));
            disk.bytes_processed = disk.bytes_processed.max(done.processed.min(disk.capacity_bytes));
        }
    }
    sum_up(record);
}

/// What is known of each disk.
pub(crate) fn done_of(record: &Backup) -> BTreeMap<DiskIndex, Done> {
    let done =
        |disk: &BackupDisk| Done { transferred: disk.bytes_transferred, processed: disk.bytes_processed };
    record.disks.iter().map(|disk| (disk.index, done(disk))).collect()
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

/// When a message was so. A clock that is ahead must not make all later ones old.
fn moment_of(message: &Telemetry) -> Timestamp {
    message.timestamp.min(Timestamp::now())
}

/// A message about a job as a report: not more than there is to do, where that is known. The phase is told by who runs it.
fn told_of(message: &Telemetry, job: &JobRecord) -> Progress {
    let total = if job.total_bytes > 0 { job.total_bytes } else { message.total_bytes };
    let processed = message.bytes_processed.unwrap_or(message.bytes_transferred);
    Progress {
        at: moment_of(message),
        phase: job.phase,
        bytes_transferred: message.bytes_transferred.min(total),
        bytes_processed: processed.min(total),
        total_bytes: total,
        transfer_speed_bps: message.transfer_speed_bps,
        eta_seconds: message.eta_seconds,
        disks: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::{part_of, spread};

    #[test]
    fn who_sends_only_what_has_changed_is_done_when_that_is_sent() {
        assert_eq!(part_of(1, 4, 100), 25);
        assert_eq!(part_of(4, 4, 100), 100);
        assert_eq!(part_of(50, 100, 100), 50);
        assert_eq!(part_of(50, 200, 100), 50);
        assert_eq!(part_of(50, 0, 100), 50);
        assert_eq!(part_of(u64::MAX, 1, u64::MAX), u64::MAX);
    }

    #[test]
    fn what_is_said_of_all_disks_together_is_the_sum_of_their_parts() {
        assert_eq!(spread(50, &[(0, 100)]), [50]);
        assert_eq!(spread(50, &[(0, 100), (0, 300)]), [12, 38]);
        // Nothing is taken back, and nothing is more than there is.
        assert_eq!(spread(50, &[(60, 100), (0, 300)]), [60, 0]);
        assert_eq!(spread(100, &[(60, 100), (0, 360)]), [64, 36]);
        assert_eq!(spread(u64::MAX, &[(60, 100), (0, u64::MAX - 100)]), [100, u64::MAX - 100]);
        // A disk that grew under what is known of it, and one that is not known yet.
        assert_eq!(spread(90, &[(60, 50), (0, 0)]), [60, 0]);
    }
}
