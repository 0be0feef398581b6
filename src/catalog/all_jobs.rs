//! The list of all that runs or ran: backups and other jobs, newest first, as one.
//!
//! A page needs the newest of both down to its end, but only their times and ids; of what is on it the rest is read. How
//! many there are, and at which day a late page begins, the numbers of both tell (`counts`).
//!
//! Not here: a job's row and what changes it (`jobs`).

use crate::backups::by_ids;
use crate::backups::listing::{self, Span};
use crate::counts::BACKUP;
use crate::engine::{Session, transaction};
use crate::fields::number;
use crate::statement::Statement;
use crate::{BackupFilter, Catalog, JobRecord, Page, Result};
use model::{Backup, BackupId, JobType, Status, VmName};
use std::collections::HashMap;

/// From 1,000 ids on MariaDB makes a table of them.
const IDS_PER_QUERY: usize = 500;

/// A backup or another job.
#[derive(Debug, Clone, PartialEq)]
pub enum AnyJob {
    /// A backup.
    Backup(Box<Backup>),
    /// Something else.
    Job(Box<JobRecord>),
}

/// Which jobs to list.
#[derive(Debug, Clone, PartialEq)]
pub struct JobFilter {
    /// Of this type; of all, backups among them, where nothing is said.
    pub job_type: Option<JobType>,
    /// In this state.
    pub status: Option<Status>,
    /// About this point.
    pub backup_id: Option<BackupId>,
    /// For one of these VMs.
    pub vm_names: Option<Vec<VmName>>,
    /// At most so many.
    pub limit: u32,
    /// After so many.
    pub offset: u64,
}

impl Default for JobFilter {
    fn default() -> Self {
        JobFilter { job_type: None, status: None, backup_id: None, vm_names: None, limit: 100, offset: 0 }
    }
}

impl JobFilter {
    fn backups(&self) -> bool {
        self.job_type.is_none_or(|kind| kind == JobType::Backup)
    }

    fn others(&self) -> bool {
        self.job_type != Some(JobType::Backup)
    }

    fn backup_filter(&self) -> BackupFilter {
        BackupFilter { status: self.status, vm_names: self.vm_names.clone(), ..BackupFilter::default() }
    }
}

/// When it was made, its id, and whether it is a backup.
type Found = (String, String, bool);

impl Catalog {
    /// Backups and other jobs, newest first, and how many match in all.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn all_jobs(&self, filter: &JobFilter) -> Result<Page<AnyJob>> {
        transaction!(self.engine.read(), |session| {
            let (found, total) = match filter.backup_id.is_some() || filter.vm_names.is_some() {
                true => of_some(session, filter).await?,
                false => of_all(session, filter).await?,
            };
            Ok(Page { items: records(session, found).await?, total })
        })
    }
}

/// Those of a point or of some VMs: there are few, and they are counted as they stand.
async fn of_some(session: &mut Session, filter: &JobFilter) -> Result<(Vec<Found>, u64)> {
    let depth = filter.offset.saturating_add(filter.limit.into());
    let (mut found, mut total) = (Vec::new(), 0);
    if filter.backups() {
        match &filter.backup_id {
            Some(id) => {
                let backups = by_ids(session, &[id.to_string()]).await?;
                let fits = |backup: &&Backup| {
                    filter.status.is_none_or(|status| status == backup.status)
                        && filter.vm_names.as_ref().is_none_or(|names| names.contains(&backup.vm_name))
                };
                for backup in backups.iter().filter(fits) {
                    let at = crate::fields::stamp("created_at", backup.created_at)?;
                    found.push((at, backup.id.to_string(), true));
                    total += 1;
                }
            }
            None => {
                let backups = filter.backup_filter();
                total += session.number(listing::counting(&backups)?).await?;
                if let Some(newest) = listing::newest(session, &backups, &Span::default(), depth).await? {
                    found.extend(keys(session, newest, true).await?);
                }
            }
        }
    }
    if filter.others() {
        total += session.number(some_others(filter, "COUNT(*) AS n")).await?;
        let mut newest = some_others(filter, "created_at, id");
        newest.push(" ORDER BY created_at DESC, id DESC LIMIT ").push_bind(number("offset", depth)?);
        found.extend(keys(session, newest, false).await?);
    }
    Ok((cut(found, filter.offset, filter.limit), total))
}

/// Jobs of a point or of some VMs.
pub(crate) fn some_others(filter: &JobFilter, what: &str) -> Statement {
    let index = if filter.backup_id.is_some() { "idx_jobs_backup_id" } else { "idx_jobs_vm_name" };
    let mut query = Statement::new(format!("SELECT {what} FROM jobs [index {index}] WHERE 1 = 1"));
    query.push_equal([("backup_id", filter.backup_id.as_ref().map(|id| id.to_string()))]);
    of_kind(&mut query, filter);
    if let Some(names) = &filter.vm_names {
        query.push_among("vm_name", names.iter().map(VmName::as_str));
    }
    query
}

/// Those of all VMs.
async fn of_all(session: &mut Session, filter: &JobFilter) -> Result<(Vec<Found>, u64)> {
    let mut total = 0;
    let mut kinds: Vec<(String, String)> = Vec::new();
    for row in session.all(kinds_query(filter)).await? {
        total += row.int("n")?;
        let kind = (row.text("job_type")?, row.text("status")?);
        if kind.0 != BACKUP {
            kinds.push(kind);
        }
    }
    if total <= filter.offset {
        return Ok((Vec::new(), total));
    }
    let mut days = Vec::new();
    if filter.offset > 0 {
        for row in session.all(days_query(filter)).await? {
            days.push((row.text("day")?, row.int("n")?));
        }
    }
    let (span, offset) = listing::skip_days(days, filter.offset);
    let depth = offset.saturating_add(filter.limit.into());
    let mut found = Vec::new();
    if filter.backups()
        && let Some(newest) = listing::newest(session, &filter.backup_filter(), &span, depth).await?
    {
        found.extend(keys(session, newest, true).await?);
    }
    if filter.others() && !kinds.is_empty() {
        found.extend(keys(session, newest_others(filter, &kinds, &span, depth)?, false).await?);
    }
    Ok((cut(found, offset, filter.limit), total))
}

fn of_kind(query: &mut Statement, filter: &JobFilter) {
    query.push_equal([
        ("job_type", filter.job_type.map(|kind| kind.to_string())),
        ("status", filter.status.map(|status| status.to_string())),
    ]);
}

pub(crate) fn kinds_query(filter: &JobFilter) -> Statement {
    let mut query = Statement::new(
        "SELECT job_type, status, CAST(SUM(entries) AS SIGNED) AS n FROM list_counts WHERE day = ''",
    );
    of_kind(&mut query, filter);
    query.push(" AND entries > 0 GROUP BY job_type, status");
    query
}

pub(crate) fn days_query(filter: &JobFilter) -> Statement {
    let mut query =
        Statement::new("SELECT day, CAST(SUM(entries) AS SIGNED) AS n FROM list_counts WHERE day > ''");
    of_kind(&mut query, filter);
    query.push(" GROUP BY day ORDER BY day DESC");
    query
}

/// The newest jobs that are no backups, of these types and states.
pub(crate) fn newest_others(
    filter: &JobFilter,
    kinds: &[(String, String)],
    span: &Span,
    depth: u64,
) -> Result<Statement> {
    let until = |query: &mut Statement| {
        if let Some(until) = &span.until {
            query.push(" AND created_at <= ").push_bind(until.as_str());
        }
    };
    let ranges = match filter.job_type.is_none() && filter.status.is_none() {
        true => {
            let mut all = Statement::new("SELECT created_at, id FROM jobs [index idx_jobs_created_at] WHERE 1 = 1");
            until(&mut all);
            vec![all]
        }
        false => kinds
            .iter()
            .map(|(job_type, status)| {
                let mut range = Statement::new(
                    "SELECT created_at, id FROM jobs [index idx_jobs_listing] WHERE job_type = ? AND status = ?",
                )
                .bind(job_type.as_str())
                .bind(status.as_str());
                until(&mut range);
                range
            })
            .collect(),
    };
    listing::merged(ranges, 0, depth)
}

async fn keys(session: &mut Session, statement: Statement, backups: bool) -> Result<Vec<Found>> {
    let rows = session.all(statement).await?;
    rows.iter().map(|row| Ok((row.text("created_at")?, row.text("id")?, backups))).collect()
}

/// What is on the page, of both.
fn cut(mut found: Vec<Found>, offset: u64, limit: u32) -> Vec<Found> {
    found.sort_unstable_by(|a, b| b.cmp(a));
    let skip = usize::try_from(offset).unwrap_or(usize::MAX);
    found.into_iter().skip(skip).take(limit as usize).collect()
}

async fn records(session: &mut Session, found: Vec<Found>) -> Result<Vec<AnyJob>> {
    let ids = |backups: bool| -> Vec<String> {
        found.iter().filter(|(.., is_backup)| *is_backup == backups).map(|(_, id, _)| id.clone()).collect()
    };
    let mut records: HashMap<(String, bool), AnyJob> = HashMap::with_capacity(found.len());
    for backup in by_ids(session, &ids(true)).await? {
        records.insert((backup.id.to_string(), true), AnyJob::Backup(Box::new(backup)));
    }
    for ids in ids(false).chunks(IDS_PER_QUERY) {
        let mut query = Statement::new("SELECT * FROM jobs [key jobs] WHERE id IN (");
        query.push_list(ids.iter().map(String::as_str)).push(")");
        for row in session.all(query).await? {
            let job = crate::jobs::read(&row)?;
            records.insert((job.id.to_string(), false), AnyJob::Job(Box::new(job)));
        }
    }
    Ok(found.into_iter().filter_map(|(_, id, backup)| records.remove(&(id, backup))).collect())
}
