//! The tables' versions: migrations in the program itself, applied in order, each exactly once.
//!
//! A migration that was released is never changed again (its checksum is kept in `_sqlx_migrations`); a change
//! of the tables is a new file. The texts use only what SQLite and MariaDB both understand.
//!
//! Not here: who may migrate and when (`engine`).

use crate::Error;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{Row, SqlSafeStr, SqliteConnection};
use std::path::{Path, PathBuf};

/// The newest version that this program knows.
pub(crate) const KNOWN: i64 = 2;

fn migrations() -> Vec<Migration> {
    let texts = [
        ("initial", include_str!("migrations/0001_initial.sql")),
        ("restore mounts", include_str!("migrations/0002_restore_mounts.sql")),
    ];
    let migration = |(version, (description, sql)): (i64, (&'static str, &'static str))| {
        Migration::new(version, description.into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    (1..).zip(texts).map(migration).collect()
}

/// The version of the tables; `None` where there are none yet.
pub(crate) async fn version(connection: &mut SqliteConnection) -> Result<Option<i64>, sqlx::Error> {
    let tables: i64 = sqlx::query("SELECT COUNT(*) AS n FROM sqlite_schema WHERE name = '_sqlx_migrations'")
        .fetch_one(&mut *connection)
        .await?
        .try_get("n")?;
    if tables == 0 {
        return Ok(None);
    }
    sqlx::query("SELECT MAX(version) AS n FROM _sqlx_migrations").fetch_one(connection).await?.try_get("n")
}

/// Why the tables could not be brought up to date.
pub(crate) enum Failure {
    Sql(sqlx::Error),
    Other(Error),
}

impl Failure {
    pub(crate) fn into_error(self, classify: impl FnOnce(sqlx::Error) -> Error) -> Error {
        match self {
            Failure::Sql(error) => classify(error),
            Failure::Other(error) => error,
        }
    }
}

/// Applies what is missing, inside the caller's transaction, which holds the write lock.
pub(crate) async fn migrate(connection: &mut SqliteConnection, path: &Path) -> Result<(), Failure> {
    match version(connection).await.map_err(Failure::Sql)? {
        // Another process was faster.
        Some(KNOWN) => return Ok(()),
        Some(found) if found > KNOWN => {
            return Err(Failure::Other(Error::Newer { path: path.to_owned(), found, known: KNOWN }));
        }
        Some(_) => {}
        None => refuse_foreign(connection, path).await?,
    }
    Migrator::with_migrations(migrations()).run_direct(None, connection, false).await.map_err(|error| {
        match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => Failure::Sql(error),
            other => Failure::Other(corrupt(path, other.to_string())),
        }
    })
}

/// A database that has tables but none of ours belongs to another program.
async fn refuse_foreign(connection: &mut SqliteConnection, path: &Path) -> Result<(), Failure> {
    let count = async {
        sqlx::query("SELECT COUNT(*) AS n FROM sqlite_schema").fetch_one(connection).await?.try_get("n")
    };
    let tables: i64 = count.await.map_err(Failure::Sql)?;
    if tables == 0 {
        return Ok(());
    }
    Err(Failure::Other(corrupt(path, "it is a SQLite database of another program".to_owned())))
}

fn corrupt(path: &Path, reason: String) -> Error {
    Error::Corrupt { path: PathBuf::from(path), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_known_version_is_the_last_migration_and_none_is_missing() {
        let versions: Vec<i64> = migrations().iter().map(|m| m.version).collect();
        assert_eq!(versions, (1..=KNOWN).collect::<Vec<_>>());
    }

    #[test]
    fn migrations_use_only_what_both_databases_understand() {
        for migration in migrations() {
            let sql: String = migration
                .sql
                .as_str()
                .lines()
                .filter(|line| !line.trim_start().starts_with("--"))
                .collect::<Vec<_>>()
                .join("\n")
                .to_uppercase();
            for dialect in [
                "AUTOINCREMENT",
                "AUTO_INCREMENT",
                "WITHOUT ROWID",
                "STRICT",
                "`",
                "IF NOT EXISTS",
                "DATETIME",
                "BLOB",
            ] {
                assert!(!sql.contains(dialect), "{dialect}");
            }
        }
    }
}
