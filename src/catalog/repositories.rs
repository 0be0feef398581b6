//! Repositories: `backup_repositories`, and what the catalog's backups take up in each.
//!
//! At most one is the default: whoever becomes it takes that from the one before, in the same transaction.

use crate::engine::Session;
use crate::engine::transaction;
use crate::fields::{Fields, Row, flag, inserts, maybe_int, text, time, update};
use crate::statement::Statement;
use crate::{Catalog, Error, Result};
use model::{Repository, RepositoryId, Space, VmName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What the completed backups of a repository come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Restore points.
    pub backup_count: u64,
    /// Bytes of their files.
    pub size_bytes: u64,
}

/// What lists count by (`counts`) holds their sizes too.
pub(crate) const USAGE: &str = "SELECT repository_id, CAST(SUM(entries) AS SIGNED) AS n, \
                                CAST(SUM(size_bytes) AS SIGNED) AS total FROM list_counts WHERE day = '' \
                                AND job_type = 'backup' AND status = 'completed' GROUP BY repository_id";

/// The `config` column: what `POST /repositories` takes under that name, without secrets.
#[derive(Serialize, Deserialize)]
struct Config {
    disk_path: String,
}

impl Catalog {
    /// Registers a repository.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] where its id or name is taken.
    pub async fn insert_repository(&self, repository: &Repository) -> Result<()> {
        transaction!(self.engine.write(), |session| {
            for statement in inserts("backup_repositories", vec![fields(repository)?]) {
                if session.insert_new(statement).await? == 0 {
                    return Err(taken(repository));
                }
            }
            step_down(session, repository).await?;
            Ok(())
        })
    }

    /// Replaces the record of a repository (found by its id).
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::AlreadyExists`] where another has the name.
    pub async fn update_repository(&self, repository: &Repository) -> Result<()> {
        transaction!(self.engine.write(), |session| {
            let other = Statement::new("SELECT id FROM backup_repositories WHERE name = ? AND id <> ?");
            let other = other.bind(repository.name.as_str()).bind(repository.id.as_str());
            if session.optional(other).await?.is_some() {
                return Err(taken(repository));
            }
            let statement = update("backup_repositories", fields(repository)?, "id", repository.id.as_str());
            if session.execute(statement).await? == 0 {
                return Err(not_found(&repository.id));
            }
            step_down(session, repository).await?;
            Ok(())
        })
    }

    /// The repository of that id, or of that name where no id is so.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn repository(&self, id_or_name: &RepositoryId) -> Result<Option<Repository>> {
        transaction!(self.engine.read(), |session| find(session, id_or_name).await)
    }

    /// The one that is used where none is named.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn default_repository(&self) -> Result<Option<Repository>> {
        transaction!(self.engine.read(), |session| {
            let query =
                Statement::new("SELECT * FROM backup_repositories WHERE is_default = 1 ORDER BY id LIMIT 1");
            session.optional(query).await?.as_ref().map(read).transpose()
        })
    }

    /// All repositories, by name.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn repositories(&self) -> Result<Vec<Repository>> {
        transaction!(self.engine.read(), |session| {
            let rows = session.all(Statement::new("SELECT * FROM backup_repositories ORDER BY name")).await?;
            rows.iter().map(read).collect()
        })
    }

    /// Makes a repository the default.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn set_default_repository(&self, id: &RepositoryId) -> Result<()> {
        transaction!(self.engine.write(), |session| {
            let set = Statement::new("UPDATE backup_repositories SET is_default = 1 WHERE id = ?");
            if session.execute(set.bind(id.as_str())).await? == 0 {
                return Err(not_found(id));
            }
            let clear = Statement::new("UPDATE backup_repositories SET is_default = 0 WHERE id <> ?");
            session.execute(clear.bind(id.as_str())).await?;
            Ok(())
        })
    }

    /// Notes the room that was last seen there.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn note_space(&self, id: &RepositoryId, space: Space) -> Result<()> {
        let row = vec![
            ("total_size_bytes", maybe_int("total_size_bytes", Some(space.total))?),
            ("available_size_bytes", maybe_int("available_size_bytes", Some(space.available))?),
        ];
        transaction!(self.engine.write_light(), |session| {
            if session.execute(update("backup_repositories", row.clone(), "id", id.as_str())).await? == 0 {
                return Err(not_found(id));
            }
            Ok(())
        })
    }

    /// Forgets a repository; with `force` the rows of its backups too. No file is touched.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::InUse`] without `force` while the catalog has backups there, in any
    /// state but failed and cancelled.
    pub async fn remove_repository(&self, id: &RepositoryId, force: bool) -> Result<()> {
        transaction!(self.engine.write(), |session| {
            let found = Statement::new("SELECT id FROM backup_repositories WHERE id = ?")
                .bind(id.as_str())
                .for_change();
            if session.optional(found).await?.is_none() {
                return Err(not_found(id));
            }
            let count = "SELECT COUNT(*) AS n FROM backup_jobs WHERE repository_id = ? \
                         AND status NOT IN ('failed', 'cancelled')";
            let backups = session.number(Statement::new(count).bind(id.as_str())).await?;
            if backups > 0 && !force {
                return Err(Error::InUse { what: "repository", id: id.to_string(), backups });
            }
            let jobs = "SELECT id FROM backup_jobs WHERE repository_id = ?";
            for (table, key) in
                [("backup_disks", "backup_job_id"), ("backup_tags", "backup_job_id"), ("job_log", "job_id")]
            {
                let delete = format!("DELETE FROM {table} WHERE {key} IN ({jobs})");
                session.execute(Statement::new(delete).bind(id.as_str())).await?;
            }
            for table in ["backup_jobs", "backup_chains", "list_counts", "tag_counts"] {
                let delete = format!("DELETE FROM {table} WHERE repository_id = ?");
                session.execute(Statement::new(delete).bind(id.as_str())).await?;
            }
            let delete = Statement::new("DELETE FROM backup_repositories WHERE id = ?");
            session.execute(delete.bind(id.as_str())).await?;
            Ok(())
        })
    }

    /// What the completed backups come to, by repository; one without any is not in the map.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn usage(&self) -> Result<BTreeMap<RepositoryId, Usage>> {
        transaction!(self.engine.read(), |session| {
            let rows = session.all(Statement::new(USAGE)).await?;
            rows.iter()
                .filter(|row| row.int("n").map_or(true, |n| n > 0))
                .map(|row| {
                    let usage = Usage { backup_count: row.int("n")?, size_bytes: row.int("total")? };
                    Ok((row.parse("repository_id")?, usage))
                })
                .collect()
        })
    }
}

impl Catalog {
    /// What of a repository's contents is of these VMs.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn usage_of(&self, id: &RepositoryId, names: &[VmName]) -> Result<Usage> {
        transaction!(self.engine.read(), |session| {
            let mut query = Statement::new(
                "SELECT COUNT(*) AS n, CAST(COALESCE(SUM(size_bytes), 0) AS SIGNED) AS total FROM backup_jobs \
                 WHERE status = 'completed' AND repository_id = ?",
            )
            .bind(id.as_str());
            query.push_among("vm_name", names.iter().map(VmName::as_str));
            match session.optional(query).await? {
                Some(row) => Ok(Usage { backup_count: row.int("n")?, size_bytes: row.int("total")? }),
                None => Ok(Usage::default()),
            }
        })
    }
}

pub(crate) fn not_found(id: &RepositoryId) -> Error {
    Error::NotFound { what: "repository", id: id.to_string() }
}

fn taken(repository: &Repository) -> Error {
    Error::AlreadyExists { what: "repository", id: repository.name.to_string() }
}

/// Where this one is the default, no other is.
async fn step_down(session: &mut Session, repository: &Repository) -> Result<()> {
    if repository.default {
        let clear = Statement::new("UPDATE backup_repositories SET is_default = 0 WHERE id <> ?");
        session.execute(clear.bind(repository.id.as_str())).await?;
    }
    Ok(())
}

pub(crate) async fn find(session: &mut Session, id_or_name: &RepositoryId) -> Result<Option<Repository>> {
    let query = "SELECT * FROM backup_repositories WHERE id = ? OR name = ?";
    let rows = session.all(Statement::new(query).bind(id_or_name.as_str()).bind(id_or_name.as_str())).await?;
    let found = rows.iter().map(read).collect::<Result<Vec<_>>>()?;
    let by_id = found.iter().position(|repository| repository.id == *id_or_name);
    Ok(found.into_iter().nth(by_id.unwrap_or(0)))
}

fn fields(repository: &Repository) -> Result<Fields> {
    let config = serde_json::to_string(&Config { disk_path: repository.path.clone() })
        .map_err(|e| Error::Value { field: "config", reason: e.to_string() })?;
    Ok(vec![
        ("id", text(repository.id.as_str())),
        ("name", text(repository.name.as_str())),
        ("repository_type", text(repository.kind.as_str())),
        ("config", text(config)),
        ("enabled", flag(repository.enabled)),
        ("is_default", flag(repository.default)),
        ("immutable", flag(repository.immutable)),
        ("reserve_bytes", maybe_int("reserve_bytes", repository.reserve_bytes)?),
        ("created_at", time("created_at", repository.created_at)?),
        ("updated_at", time("updated_at", repository.updated_at)?),
    ])
}

fn read(row: &Row) -> Result<Repository> {
    let config: Option<Config> = row.json("config")?;
    Ok(Repository {
        id: row.parse("id")?,
        name: row.parse("name")?,
        kind: row.word("repository_type")?,
        path: config.map(|config| config.disk_path).unwrap_or_default(),
        enabled: row.flag("enabled")?,
        default: row.flag("is_default")?,
        immutable: row.flag("immutable")?,
        reserve_bytes: row.maybe_int("reserve_bytes")?,
        created_at: row.parse("created_at")?,
        updated_at: row.parse("updated_at")?,
    })
}
