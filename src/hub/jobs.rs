//! Jobs: everything that takes time.
//!
//! A backup's job is its own record; all others (restore, verify, merge) have a row in `jobs`. Both are shown
//! as [`JobView`]s. A job of this process is in the [`Registry`], and its task is looked after by
//! [`supervise`](fn@supervise); one of another process is only a row. Stopping a job that is not ours is a wish in its row,
//! which its own process reads once a second.

mod registry;
mod run;
mod supervise;

pub(crate) use registry::{Entry, Registry};
pub(crate) use run::{Outcome, Running, Starting, Tally, view_of};
pub(crate) use supervise::{Bounds, Report, supervise};

use crate::{Error, Hub, Missing, Only, Result};
use api::{JobQuery, JobView};
use catalog::{BackupFilter, CancelRequest, JobFilter};
use model::{BackupId, JobId, JobType};
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
        let limit = query.limit.unwrap_or(api::DEFAULT_LIMIT).min(api::MAX_LIMIT);
        let offset = query.offset.unwrap_or(0);
        // Both lists are needed from the beginning, because a page takes from both.
        let depth = u32::try_from(offset).ok().and_then(|offset| offset.checked_add(limit));
        let depth = depth.ok_or_else(|| Error::invalid("offset", "it is too large"))?;
        let mut found = Vec::new();
        let mut total = 0;
        if query.job_type.is_none_or(|kind| kind == JobType::Backup) {
            match &query.backup_id {
                Some(id) => {
                    let one = self.catalog().backup(id).await?;
                    let one = one.filter(|one| {
                        query.status.is_none_or(|status| status == one.status)
                            && only.is_none_or(|only| only.contains(&one.vm_name))
                    });
                    total += u64::from(one.is_some());
                    found.extend(one.iter().map(JobView::from));
                }
                None => {
                    let filter = BackupFilter {
                        status: query.status,
                        vm_names: only.map(<[_]>::to_vec),
                        limit: depth,
                        ..BackupFilter::default()
                    };
                    let page = self.catalog().backups(&filter).await?;
                    total += page.total;
                    found.extend(page.items.iter().map(JobView::from));
                }
            }
        }
        if query.job_type != Some(JobType::Backup) {
            let filter = JobFilter {
                job_type: query.job_type,
                status: query.status,
                backup_id: query.backup_id.clone(),
                vm_names: only.map(<[_]>::to_vec),
                limit: depth,
                ..JobFilter::default()
            };
            let page = self.catalog().jobs(&filter).await?;
            total += page.total;
            found.extend(page.items.iter().map(view_of));
        }
        found.sort_by(|a, b| (b.created_at, &b.id).cmp(&(a.created_at, &a.id)));
        let skip = usize::try_from(offset).unwrap_or(usize::MAX);
        Ok((found.into_iter().skip(skip).take(limit as usize).collect(), total))
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
