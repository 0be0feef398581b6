//! Jobs: everything that takes time.
//!
//! A backup's job is its own record; all others (restore, verify, merge) have a row in `jobs`. Both are shown
//! as [`JobView`]s. A job of this process is in the [`Registry`], and its task is looked after by
//! [`supervise`](fn@supervise); one of another process is only a row. Stopping a job that is not ours is a wish in its row,
//! which its own process reads once a second.

mod registry;
mod run;
mod supervise;
mod totals;

pub(crate) use registry::{Entry, Registry, Told};
pub(crate) use run::{Outcome, Running, Starting, Tally, view_of};
pub(crate) use supervise::{Bounds, Report, supervise};
pub(crate) use totals::Totals;

use crate::{Error, Hub, Missing, Only, Result};
use api::{JobQuery, JobView};
use catalog::{AnyJob, CancelRequest, JobFilter};
use model::{BackupId, JobId, JobType, Status};
use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

/// Tries of a write that must not be lost, and the pause between two.
const TRIES: u32 = 6;
const PAUSE: Duration = Duration::from_millis(500);

/// Does a write of the catalog, again where it is only busy.
pub(crate) async fn persist<T, F>(mut write: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = catalog::Result<T>>,
{
    let mut tries = 1;
    loop {
        match write().await {
            Err(catalog::Error::Locked { .. } | catalog::Error::NoSpace { .. }) if tries < TRIES => {
                tries += 1;
                tokio::time::sleep(PAUSE).await;
            }
            other => return other.map_err(Error::from),
        }
    }
}

impl Hub {
    /// What the jobs that this process has run come to, for a monitoring system: how many have ended and how, how
    /// long they took, and their bytes.
    pub fn job_metrics(&self) -> Vec<prometheus::proto::MetricFamily> {
        self.inner.registry.totals().collect()
    }

    /// How many jobs of each kind and state have not ended, those of other processes included.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn unfinished(&self) -> Result<BTreeMap<(JobType, Status), u64>> {
        let backups = self.catalog().unfinished_backups().await?;
        let jobs = self.catalog().unfinished_jobs().await?;
        let backups = backups.iter().map(|backup| (JobType::Backup, backup.status));
        let mut counts = BTreeMap::new();
        for key in backups.chain(jobs.iter().map(|job| (job.job_type, job.status))) {
            *counts.entry(key).or_insert(0) += 1;
        }
        Ok(counts)
    }

    /// A job of any kind: of this process as it is now, of others as it last wrote.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn job(&self, id: &str) -> Result<JobView> {
        if let Some(view) = self.inner.registry.view(id) {
            return Ok(view.borrow().clone());
        }
        self.job_row(id).await
    }

    /// Jobs of all kinds, backups included, newest first, and how many match.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an offset beyond all reason; the catalog's own.
    pub async fn jobs(&self, query: &JobQuery) -> Result<(Vec<JobView>, u64)> {
        self.jobs_among(query, None).await
    }

    /// [`jobs`](Hub::jobs) for a caller for whom only these VMs exist.
    ///
    /// # Errors
    /// The same.
    pub async fn jobs_among(&self, query: &JobQuery, only: Only<'_>) -> Result<(Vec<JobView>, u64)> {
        let filter = JobFilter {
            job_type: query.job_type,
            status: query.status,
            backup_id: query.backup_id.clone(),
            vm_names: only.map(<[_]>::to_vec),
            limit: query.limit.unwrap_or(api::DEFAULT_LIMIT).min(api::MAX_LIMIT),
            offset: query.offset.unwrap_or(0),
        };
        let page = self.catalog().all_jobs(&filter).await?;
        let views = page.items.iter().map(|job| match job {
            AnyJob::Backup(backup) => JobView::from(&**backup),
            AnyJob::Job(job) => view_of(job),
        });
        Ok((views.collect(), page.total))
    }

    /// Asks a job to stop, whoever runs it. It has stopped when its state is final.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Ended`].
    pub async fn cancel(&self, id: &str) -> Result<JobView> {
        if self.inner.registry.stop(id) {
            return self.job(id).await;
        }
        let asked = match JobId::new(id) {
            Ok(job) if self.catalog().job(&job).await?.is_some() => {
                self.catalog().request_job_cancel(&job).await?
            }
            _ => {
                let backup = BackupId::new(id).map_err(|_| Error::missing(Missing::Job, id))?;
                match self.catalog().request_cancel(&backup).await {
                    Err(catalog::Error::NotFound { .. }) => return Err(Error::missing(Missing::Job, id)),
                    other => other?,
                }
            }
        };
        match asked {
            CancelRequest::Noted => self.job(id).await,
            CancelRequest::Ended(status) => Err(Error::Ended { id: id.to_owned(), status }),
        }
    }

    pub(crate) async fn job_row(&self, id: &str) -> Result<JobView> {
        if let Ok(job) = JobId::new(id)
            && let Some(row) = self.catalog().job(&job).await?
        {
            return Ok(view_of(&row));
        }
        if let Ok(backup) = BackupId::new(id)
            && let Some(record) = self.catalog().backup(&backup).await?
        {
            return Ok(JobView::from(&record));
        }
        Err(Error::missing(Missing::Job, id))
    }
}
