//! Jobs of other processes of which nothing is heard.
//!
//! Who runs a job writes to its row once a second, so a row that stands still belongs to a process that is dead, cut off
//! from the catalog, or stopped. A hub that stays looks now and then: what has been silent for as long as
//! [`Silence::stalled`](crate::Silence) is stalled, until its process writes again; after [`Silence::failed`](crate::Silence)
//! what dead processes have left is put right as at a start, and a row that is still not final has failed, with the
//! reason. Its process, should it be there after all, learns that from the row with its next report, and stops.
//!
//! Only what was seen to stand still twice counts, so that a hub whose machine slept, together with those that it looks
//! after, takes nobody for silent when they wake up. Jobs of this process are looked after by `supervise` and, where a
//! client writes, by its session.

use crate::{Error, Hub, Result, backup};
use catalog::JobEnd;
use jiff::Timestamp;
use model::{BackupId, JobId, Status};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How often it is looked, at least and at most: a quarter of what makes a job stalled in between.
const OFTEN: Duration = Duration::from_millis(250);
const RARELY: Duration = Duration::from_secs(15);

/// When something was last heard of each silent job, as of the last look.
type Seen = BTreeMap<String, Timestamp>;

enum Silent {
    Backup(BackupId),
    Job(JobId),
}

impl Hub {
    /// Looks for silent jobs for as long as this hub is there.
    pub(crate) fn watch_over(&self) {
        let inner = Arc::downgrade(&self.inner);
        let pause = (self.config().silence.stalled / 4).clamp(OFTEN, RARELY);
        tokio::spawn(async move {
            let mut seen = Seen::new();
            loop {
                tokio::time::sleep(pause).await;
                let Some(inner) = inner.upgrade() else { return };
                if let Err(error) = (Hub { inner }).look_for_silence(&mut seen).await {
                    tracing::debug!(%error, "silent jobs can't be looked for");
                }
            }
        });
    }

    async fn look_for_silence(&self, seen: &mut Seen) -> Result<()> {
        let now = Timestamp::now();
        let limits = self.config().silence;
        let backups = self.catalog().unfinished_backups().await?.into_iter();
        let backups =
            backups.map(|at| (Silent::Backup(at.id), at.last_telemetry_at.unwrap_or(at.created_at)));
        let jobs = self.catalog().unfinished_jobs().await?.into_iter();
        let jobs = jobs.map(|at| (Silent::Job(at.id), at.last_telemetry_at.unwrap_or(at.created_at)));
        let mut still = Seen::new();
        for (job, last) in backups.chain(jobs) {
            let id = job.id().to_owned();
            // A clock that is behind: heard of in the future.
            let silent = Duration::try_from(now.duration_since(last)).unwrap_or_default();
            if silent < limits.stalled || self.inner.registry.contains(&id) {
                continue;
            }
            let twice = seen.get(&id) == Some(&last);
            still.insert(id.clone(), last);
            if !twice {
                continue;
            }
            if silent < limits.failed {
                match &job {
                    Silent::Backup(id) => self.catalog().record_silence(id).await?,
                    Silent::Job(id) => self.catalog().record_job_silence(id).await?,
                };
            } else {
                self.end_silent(&job, silent).await?;
                still.remove(&id);
            }
        }
        *seen = still;
        Ok(())
    }

    /// Puts right what the job's process has left, and fails it where that did not.
    async fn end_silent(&self, job: &Silent, silent: Duration) -> Result<()> {
        self.recover().await?;
        let error = Error::Silent(silent.as_secs());
        let failed = match job {
            Silent::Backup(id) => {
                let failed = self.catalog().modify_backup(id, |record| {
                    let alive = !record.status.is_final();
                    if alive {
                        backup::fail(record, &error);
                    }
                    alive
                });
                failed.await?.1
            }
            Silent::Job(id) => {
                let end = JobEnd {
                    at: Timestamp::now(),
                    status: Status::Failed,
                    error_message: Some(error.to_string()),
                    error_code: Some(error.code().as_str().to_owned()),
                    result: None,
                };
                self.catalog().finish_job(id, &end).await?
            }
        };
        if failed {
            tracing::warn!(
                id = job.id(),
                seconds = silent.as_secs(),
                "a job of which nothing is heard has failed"
            );
        }
        Ok(())
    }
}

impl Silent {
    fn id(&self) -> &str {
        match self {
            Silent::Backup(id) => id.as_str(),
            Silent::Job(id) => id.as_str(),
        }
    }
}
