//! New backups: one that begins, or many that a repository is found to hold.

use super::row::{fields, insert_disks, insert_tags};
use super::update::write_back;
use crate::counts::{Changes, Entry};
use crate::engine::Session;
use crate::engine::transaction;
use crate::fields::{Value, inserts, text};
use crate::statement::Statement;
use crate::{Catalog, Error, Result, chains, repositories};
use model::{Backup, ContextId, Repository, RepositoryId};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

/// Backups in one transaction of an import: bounds its memory, and how long others wait.
const PORTION: usize = 5_000;
/// How long an import stays away from the write lock between two portions: others who wait for it look again
/// at least every 100 ms, and must find it free now and then.
const PAUSE: Duration = Duration::from_millis(50);

/// What an import does with a backup that the catalog has already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Leave it.
    Keep,
    /// Take the imported record where it differs.
    Replace,
}

/// What an import did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Imported {
    /// New ones.
    pub inserted: u64,
    /// Those whose record differed and was replaced.
    pub replaced: u64,
    /// Those that were there, and were the same or were to be kept.
    pub kept: u64,
}

impl Catalog {
    /// Records a new backup, with the request that it came from as JSON text.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] where its id is taken (try the next stamp); [`Error::NotFound`] for the
    /// repository; [`Error::Value`].
    pub async fn insert_backup(&self, backup: &Backup, request: Option<&str>) -> Result<()> {
        transaction!(self.engine.write(), |session| {
            let mut known = BTreeMap::new();
            let repository = repository(session, &mut known, &backup.repository_id).await?;
            let mut row = new_row(backup, repository)?;
            row.push(("request", Value::MaybeText(request.map(str::to_owned))));
            for statement in inserts("backup_jobs", vec![row]) {
                if session.insert_new(statement).await? == 0 {
                    return Err(Error::AlreadyExists { what: "backup", id: backup.id.to_string() });
                }
            }
            insert_disks(session, &[backup]).await?;
            insert_tags(session, &[backup]).await?;
            if backup.is_point() {
                chains::recompute(session, &backup.vm_context_id).await?;
            }
            let mut changes = Changes::default();
            changes.add(&Entry::of_backup(backup)?);
            changes.write(session).await?;
            Ok(())
        })
    }

    /// Records many backups: what `repo scan` found. They go in by portions, each of them one transaction, so
    /// that backups that run meanwhile can report. Give the points of a VM one after the other: its chains are
    /// made anew once a portion.
    ///
    /// # Errors
    /// As [`insert_backup`](Catalog::insert_backup); an id that comes twice is [`Error::AlreadyExists`].
    /// Portions before the failing one stay.
    pub async fn import_backups(&self, backups: &[Backup], existing: Existing) -> Result<Imported> {
        let mut done = Imported::default();
        for (position, portion) in backups.chunks(PORTION).enumerate() {
            if position > 0 {
                tokio::time::sleep(PAUSE).await;
            }
            let imported = self.import_portion(portion, existing).await?;
            done.inserted += imported.inserted;
            done.replaced += imported.replaced;
            done.kept += imported.kept;
        }
        Ok(done)
    }

    async fn import_portion(&self, backups: &[Backup], existing: Existing) -> Result<Imported> {
        let mut done = Imported::default();
        transaction!(self.engine.write(), |session| {
            let mut repositories = BTreeMap::new();
            let mut contexts: BTreeSet<ContextId> = BTreeSet::new();
            let mut changes = Changes::default();
            let known = known_ids(session, backups).await?;
            let mut rows = Vec::with_capacity(backups.len());
            let mut new = Vec::with_capacity(backups.len());
            for backup in backups {
                if !known.contains(backup.id.as_str()) {
                    let repository = repository(session, &mut repositories, &backup.repository_id).await?;
                    rows.push(new_row(backup, repository)?);
                    new.push(backup);
                    contexts.insert(backup.vm_context_id.clone());
                    changes.add(&Entry::of_backup(backup)?);
                } else if existing == Existing::Replace
                    && replace(session, backup, &mut contexts, &mut changes).await?
                {
                    done.replaced += 1;
                } else {
                    done.kept += 1;
                }
            }
            done.inserted = new.len() as u64;
            for statement in inserts("backup_jobs", rows) {
                if session.insert_new(statement).await? == 0 {
                    return Err(Error::AlreadyExists { what: "backup", id: "given twice".to_owned() });
                }
            }
            insert_disks(session, &new).await?;
            insert_tags(session, &new).await?;
            for context in &contexts {
                chains::recompute(session, context).await?;
            }
            changes.write(session).await?;
            Ok(done)
        })
    }
}

/// Which of these backups the catalog has.
async fn known_ids(session: &mut Session, backups: &[Backup]) -> Result<HashSet<String>> {
    let mut query = Statement::new("SELECT id FROM backup_jobs WHERE id IN (");
    query.push_list(backups.iter().map(|backup| backup.id.to_string())).push(")");
    session.all(query).await?.iter().map(|row| row.text("id")).collect()
}

/// Takes the imported record; false where it is what the catalog has.
async fn replace(
    session: &mut Session,
    backup: &Backup,
    contexts: &mut BTreeSet<ContextId>,
    changes: &mut Changes,
) -> Result<bool> {
    let Some(old) = super::query::one(session, &backup.id).await? else { return Ok(false) };
    if old == *backup {
        return Ok(false);
    }
    contexts.extend(write_back(session, &old, backup, changes).await?);
    Ok(true)
}

/// The repository of that id, looked up once a transaction.
pub(super) async fn repository<'a>(
    session: &mut Session,
    known: &'a mut BTreeMap<RepositoryId, Repository>,
    id: &RepositoryId,
) -> Result<&'a Repository> {
    if !known.contains_key(id) {
        match repositories::find(session, id).await? {
            Some(found) if found.id == *id => {
                known.insert(id.clone(), found);
            }
            _ => return Err(repositories::not_found(id)),
        }
    }
    known.get(id).ok_or_else(|| repositories::not_found(id))
}

fn new_row(backup: &Backup, repository: &Repository) -> Result<crate::fields::Fields> {
    let mut row = fields(backup)?;
    row.push(("repository_type", text(repository.kind.as_str())));
    row.push(("repository_path", text(repository.path.as_str())));
    Ok(row)
}
