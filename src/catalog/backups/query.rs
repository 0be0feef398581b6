//! Looking backups up. Every list is driven by an index (`plans` looks at them).

use super::listing::{self, Listing};
use super::row::{IDS_PER_QUERY, read_all};
use crate::engine::Session;
use crate::engine::transaction;
use crate::statement::Statement;
use crate::{Catalog, ChainSummary, Page, Result};
use jiff::Timestamp;
use model::{Backup, BackupId, BackupType, ContextId, RepositoryId, Status, VmName};

pub(super) const UNFINISHED: &str = "SELECT * FROM backup_jobs [index idx_status] WHERE status IN ('pending', 'running', 'stalled') ORDER BY created_at, id";

/// Which backups to list. All conditions must hold.
#[derive(Debug, Clone, PartialEq)]
pub struct BackupFilter {
    /// Of the VM of that name.
    pub vm_name: Option<VmName>,
    /// Of one of these VMs.
    pub vm_names: Option<Vec<VmName>>,
    /// Of the VM of that context id.
    pub vm_context_id: Option<ContextId>,
    /// In that repository (its id).
    pub repository_id: Option<RepositoryId>,
    /// Of that type.
    pub backup_type: Option<BackupType>,
    /// In that state.
    pub status: Option<Status>,
    /// With that tag.
    pub tag: Option<TagFilter>,
    /// Made at that time or later.
    pub since: Option<Timestamp>,
    /// Made at that time or earlier.
    pub until: Option<Timestamp>,
    /// At most so many.
    pub limit: u32,
    /// After so many.
    pub offset: u64,
}

/// A tag, or a tag with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagFilter {
    /// Its key.
    pub key: String,
    /// Its value; any where `None`.
    pub value: Option<String>,
}

/// What a row holds beside the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackupState {
    /// State.
    pub status: Status,
    /// Grows with each change of the point's files.
    pub generation: u64,
    /// True where someone wants the job to stop.
    pub cancel_requested: bool,
    /// True while a deleter (or who merges it away) holds its mark.
    pub deleting: bool,
}

impl Default for BackupFilter {
    fn default() -> Self {
        BackupFilter {
            vm_name: None,
            vm_names: None,
            vm_context_id: None,
            repository_id: None,
            backup_type: None,
            status: None,
            tag: None,
            since: None,
            until: None,
            limit: 100,
            offset: 0,
        }
    }
}

impl Catalog {
    /// The backup of that id.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn backup(&self, id: &BackupId) -> Result<Option<Backup>> {
        transaction!(self.engine.read(), |session| one(session, id).await)
    }

    /// What the catalog holds of that backup beside its record; `None` where it has no row.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn backup_state(&self, id: &BackupId) -> Result<Option<BackupState>> {
        transaction!(self.engine.read(), |session| {
            let query = "SELECT status, generation, cancel_requested, (SELECT COUNT(*) FROM leases l \
                         WHERE l.id = b.deleting_lease_id) AS deleting FROM backup_jobs b WHERE b.id = ?";
            let row = session.optional(Statement::new(query).bind(id.as_str())).await?;
            row.map(|row| {
                Ok(BackupState {
                    status: row.parse("status")?,
                    generation: row.int("generation")?,
                    cancel_requested: row.flag("cancel_requested")?,
                    deleting: row.flag("deleting")?,
                })
            })
            .transpose()
        })
    }

    /// The request that a backup came from, as it was given to [`insert_backup`](Catalog::insert_backup).
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn backup_request(&self, id: &BackupId) -> Result<Option<String>> {
        transaction!(self.engine.read(), |session| {
            let query = Statement::new("SELECT request FROM backup_jobs WHERE id = ?").bind(id.as_str());
            match session.optional(query).await? {
                Some(row) => row.maybe_text("request"),
                None => Ok(None),
            }
        })
    }

    /// Backups, newest first, and how many match in all.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn backups(&self, filter: &BackupFilter) -> Result<Page<Backup>> {
        transaction!(self.engine.read(), |session| {
            let (items, total) = page(session, filter).await?;
            let seen = items.len() as u64;
            let last_page = seen < u64::from(filter.limit) && (seen > 0 || filter.offset == 0);
            let total = match total {
                Some(total) => total,
                None if last_page => filter.offset + seen,
                None => session.number(listing::counting(filter)?).await?,
            };
            Ok(Page { items, total })
        })
    }

    /// How many backups match; `limit` and `offset` do not count.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn count_backups(&self, filter: &BackupFilter) -> Result<u64> {
        transaction!(self.engine.read(), |session| {
            match listing::list(session, filter).await?.total {
                Some(total) => Ok(total),
                None => session.number(listing::counting(filter)?).await,
            }
        })
    }

    /// The restore points (completed) of a VM, in one repository or all, oldest first: what a chain graph is
    /// made of.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn points_of_vm(
        &self,
        context: &ContextId,
        repository: Option<&RepositoryId>,
    ) -> Result<Vec<Backup>> {
        let query = points_query(context, repository, None);
        transaction!(self.engine.read(), |session| {
            let rows = session.all(query.clone()).await?;
            read_all(session, &rows).await
        })
    }

    /// The newest restore point of a VM, in one repository or all.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn newest_point_of(
        &self,
        context: &ContextId,
        repository: Option<&RepositoryId>,
    ) -> Result<Option<Backup>> {
        let filter = BackupFilter {
            vm_context_id: Some(context.clone()),
            repository_id: repository.cloned(),
            status: Some(Status::Completed),
            limit: 1,
            ..BackupFilter::default()
        };
        transaction!(self.engine.read(), |session| Ok(page(session, &filter).await?.0.into_iter().next()))
    }

    /// Backups whose id begins so, in any state, at most `limit`, in descending order of their ids: of one VM
    /// the newest first. Ask for one more than needed to learn whether there are more.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn backups_with_prefix(&self, prefix: &str, limit: u32) -> Result<Vec<Backup>> {
        let query = prefix_query(prefix, limit);
        transaction!(self.engine.read(), |session| {
            let rows = session.all(query.clone()).await?;
            read_all(session, &rows).await
        })
    }

    /// The newest restore point, or with `back` the one so many before it, of a VM or of all, among those made
    /// from `since` to `until` (both included).
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn latest_point(
        &self,
        vm: Option<&VmName>,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
        back: u32,
    ) -> Result<Option<Backup>> {
        let filter = BackupFilter {
            vm_name: vm.cloned(),
            status: Some(Status::Completed),
            since,
            until,
            limit: 1,
            offset: u64::from(back),
            ..BackupFilter::default()
        };
        transaction!(self.engine.read(), |session| Ok(page(session, &filter).await?.0.into_iter().next()))
    }

    /// The backups that have not ended, oldest first.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn unfinished_backups(&self) -> Result<Vec<Backup>> {
        transaction!(self.engine.read(), |session| {
            let rows = session.all(Statement::new(UNFINISHED)).await?;
            read_all(session, &rows).await
        })
    }
}

/// One backup, within a transaction.
pub(super) async fn one(session: &mut Session, id: &BackupId) -> Result<Option<Backup>> {
    let query = Statement::new("SELECT * FROM backup_jobs WHERE id = ?").bind(id.as_str());
    let rows = session.all(query).await?;
    Ok(read_all(session, &rows).await?.into_iter().next())
}

/// The backups of a page, in its order, and how many match where that is known already. Their ids come first, from an
/// index: a database that is asked for whole rows reads, or even sorts, all of those before the page too.
async fn page(session: &mut Session, filter: &BackupFilter) -> Result<(Vec<Backup>, Option<u64>)> {
    let Listing { total, statement } = listing::list(session, filter).await?;
    let rows = match statement {
        Some(statement) => session.all(statement).await?,
        None => Vec::new(),
    };
    let ids = rows.iter().map(|row| row.text("id")).collect::<Result<Vec<_>>>()?;
    Ok((by_ids(session, &ids).await?, total))
}

/// The backups of these ids, newest first.
pub(crate) async fn by_ids(session: &mut Session, ids: &[String]) -> Result<Vec<Backup>> {
    let mut backups = Vec::with_capacity(ids.len());
    for ids in ids.chunks(IDS_PER_QUERY) {
        let rows = session.all(rows_query(ids)).await?;
        backups.extend(read_all(session, &rows).await?);
    }
    backups.sort_by(|a, b| (b.created_at, &b.id).cmp(&(a.created_at, &a.id)));
    Ok(backups)
}

pub(super) fn rows_query(ids: &[String]) -> Statement {
    let mut query = Statement::new("SELECT * FROM backup_jobs [key backup_jobs] WHERE id IN (");
    query.push_list(ids.iter().map(String::as_str)).push(")");
    query
}

pub(super) fn prefix_query(prefix: &str, limit: u32) -> Statement {
    let mut query = Statement::new("SELECT * FROM backup_jobs [key backup_jobs] WHERE id >= ");
    query.push_bind(prefix.to_owned());
    if let Some(end) = after_prefix(prefix) {
        query.push(" AND id < ").push_bind(end);
    }
    query.push(" ORDER BY id DESC LIMIT ").push_bind(i64::from(limit));
    query
}

/// The points of a chain's VM and repository that were made at that time or later.
pub(crate) async fn points_since(
    session: &mut Session,
    chain: &ChainSummary,
    since: &str,
) -> Result<Vec<Backup>> {
    let query = points_query(&chain.vm_context_id, Some(&chain.repository_id), Some(since));
    let rows = session.all(query).await?;
    read_all(session, &rows).await
}

pub(super) fn points_query(
    context: &ContextId,
    repository: Option<&RepositoryId>,
    since: Option<&str>,
) -> Statement {
    let mut query = Statement::new(
        "SELECT * FROM backup_jobs b [index idx_vm_context_id] WHERE vm_context_id = ? AND status = 'completed'",
    )
    .bind(context.as_str());
    if let Some(repository) = repository {
        query.push(" AND repository_id = ").push_bind(repository.as_str());
    }
    if let Some(since) = since {
        query.push(" AND created_at >= ").push_bind(since);
    }
    query.push(" ORDER BY created_at, id");
    query
}

/// The first text after all that begin with `prefix`, in the order of code points; `None` where there is no end.
fn after_prefix(prefix: &str) -> Option<String> {
    let mut text = prefix.to_owned();
    while let Some(last) = text.pop() {
        // Between the two lie the surrogates, which are no characters.
        let next = if last == '\u{D7FF}' { Some('\u{E000}') } else { char::from_u32(last as u32 + 1) };
        if let Some(next) = next {
            text.push(next);
            return Some(text);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix_is_after_all_that_begin_with_it_and_before_all_others() {
        assert_eq!(after_prefix(""), None);
        assert_eq!(after_prefix("backup-pg").as_deref(), Some("backup-ph"));
        assert_eq!(after_prefix("a%_"), Some("a%`".to_owned()));
        assert_eq!(after_prefix("a\u{10FFFF}").as_deref(), Some("b"));
        assert_eq!(after_prefix("a\u{D7FF}").as_deref(), Some("a\u{E000}"));
        assert_eq!(after_prefix("\u{10FFFF}"), None);
        let end = after_prefix("büro-🐘").unwrap();
        assert!("büro-🐘\u{10FFFF}\u{10FFFF}" < end.as_str());
        assert!("büro-🐙" >= end.as_str());
    }
}
