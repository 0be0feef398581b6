//! The tables' versions: migrations in the program itself, applied in order, each exactly once.
//!
//! A migration that was released is never changed again (its checksum is kept in `_sqlx_migrations`); a change
//! of the tables is a new file, a line in [`TEXTS`] and the next number in [`KNOWN`].
//!
//! # What a migration may hold
//! One text for SQLite and MariaDB; a test reads each, and the tests of the tables run on both.
//! - `CREATE TABLE`, `CREATE INDEX`, `CREATE UNIQUE INDEX`, `DROP INDEX`, `ALTER TABLE … ADD COLUMN`; and `DELETE FROM`, `UPDATE`,
//!   `INSERT INTO … SELECT` that come to the same when they run twice: on MariaDB a migration that was
//!   interrupted runs again from its beginning. One statement ends with `;` at the end of a line, and no `;`
//!   stands anywhere else. No `IF NOT EXISTS`, engine or character set: the engine adds them.
//! - `VARCHAR(n)`, `TEXT`, `LONGTEXT`, `BIGINT`, `DOUBLE`. What is in a key or an index is a `VARCHAR` (all of an
//!   index together at most 767 characters); `TEXT` has no limit on either database, and no default.
//! - No name that MariaDB keeps for itself (`key`, `rank`, `row`, `groups`, `offset`, `system` …), and no quotes.
//!
//! # What a query may hold
//! Queries are `statement::Statement`s with `?` for every value, run in `transaction!`.
//! - `[index NAME]` behind a table and `[join]` for `JOIN` fix how a list is read (`statement`).
//! - No `RETURNING`, `ON CONFLICT`, `ON DUPLICATE KEY`, `||`, functions on dates or JSON; `COUNT`, `SUM` (as
//!   `CAST(SUM(…) AS SIGNED)`), `MAX`, `COALESCE`, `CASE`, `SUBSTR` are the same on both.
//! - An `UPDATE` must not depend on whether a column that it sets is seen old or new on its right side, and it
//!   counts rows that match, changed or not.
//! - A row that is read to be changed in the same transaction is read with `for_change`.
//! - The work of a transaction may run more than once, so it changes nothing outside of itself; where it
//!   returns early without wanting what it did, it says `roll_back`.
//! - A rule that others must not break is a unique key or a condition of the statement itself.
//!
//! Not here: who may migrate and when (`engine`).

use crate::Error;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::{Row, SqlSafeStr, SqliteConnection};
use std::sync::Arc;

/// The newest version that this program knows.
pub(crate) const KNOWN: i64 = 5;

/// Number, name, text.
const TEXTS: [(i64, &str, &str); KNOWN as usize] = [
    (1, "initial", include_str!("migrations/0001_initial.sql")),
    (2, "restore mounts", include_str!("migrations/0002_restore_mounts.sql")),
    (3, "users", include_str!("migrations/0003_users.sql")),
    (4, "counts", include_str!("migrations/0004_counts.sql")),
    (5, "audit order", include_str!("migrations/0005_audit_order.sql")),
];

pub(crate) fn migrations() -> Vec<Migration> {
    let migration = |(version, name, text): (i64, &'static str, &'static str)| {
        Migration::new(version, name.into(), MigrationType::Simple, text.into_sql_str(), false)
    };
    TEXTS.into_iter().map(migration).collect()
}

/// The statements of a migration, without its comments.
pub(crate) fn statements(sql: &str) -> Vec<String> {
    let code: Vec<&str> = sql.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
    let code = code.join("\n");
    code.split(";\n")
        .map(|statement| statement.trim().trim_end_matches(';').to_owned())
        .filter(|s| !s.is_empty())
        .collect()
}

/// The table of an index that some migration makes.
pub(crate) fn table_of_index(index: &str) -> Option<&'static str> {
    let made = format!("INDEX {index} ON ");
    let rest = TEXTS.into_iter().find_map(|(_, _, sql)| sql.split_once(made.as_str()))?.1;
    rest.split([' ', '(']).next()
}

/// The statements that make the numbers of lists anew (`counts`).
pub(crate) fn counting() -> Vec<String> {
    let of_numbers = |statement: &String| {
        ["list_counts", "tag_counts"].iter().any(|table| {
            ["DELETE FROM ", "INSERT INTO "]
                .iter()
                .any(|verb| statement.starts_with(&format!("{verb}{table}")))
        })
    };
    TEXTS.into_iter().flat_map(|(_, _, sql)| statements(sql)).filter(of_numbers).collect()
}

/// A table as the migrations make it.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    /// In their order.
    pub(crate) columns: Vec<(&'static str, Kind)>,
    /// The columns of its primary key.
    pub(crate) key: Vec<&'static str>,
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Integer,
    Real,
}

/// All tables, those that others refer to first.
pub(crate) fn tables() -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    for (_, _, sql) in TEXTS {
        let mut inside = false;
        for line in sql.lines().map(str::trim) {
            if let Some(rest) = line.strip_prefix("CREATE TABLE ") {
                let name = rest.split([' ', '(']).next().unwrap_or(rest);
                tables.push(Table { name, columns: Vec::new(), key: Vec::new() });
                inside = true;
            } else if line.starts_with(')') {
                inside = false;
            } else if let Some(rest) = line.strip_prefix("ALTER TABLE ") {
                let (name, column) = rest.split_once(" ADD COLUMN ").unwrap_or((rest, ""));
                if let Some(table) = tables.iter_mut().find(|table| table.name == name) {
                    table.columns.extend(column_of(column));
                }
            } else if inside && let Some(table) = tables.last_mut() {
                match line.strip_prefix("PRIMARY KEY (") {
                    Some(key) => {
                        let key = key.split(')').next().unwrap_or(key);
                        table.key.extend(key.split(',').map(str::trim));
                    }
                    None => table.columns.extend(column_of(line)),
                }
            }
        }
    }
    tables
}

/// The column that a line declares; `None` where it declares none.
fn column_of(line: &'static str) -> Option<(&'static str, Kind)> {
    let mut words = line.split([' ', '(', ',', ';']);
    let name = words.next()?;
    let kind = match words.next()? {
        "VARCHAR" | "TEXT" | "LONGTEXT" => Kind::Text,
        "BIGINT" => Kind::Integer,
        "DOUBLE" => Kind::Real,
        _ => return None,
    };
    Some((name, kind))
}

/// The version of a file's tables; `None` where there are none yet.
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
pub(crate) async fn migrate(connection: &mut SqliteConnection, place: &Arc<str>) -> Result<(), Failure> {
    match version(connection).await.map_err(Failure::Sql)? {
        // Another process was faster.
        Some(KNOWN) => return Ok(()),
        Some(found) if found > KNOWN => {
            return Err(Failure::Other(Error::Newer { place: Arc::clone(place), found, known: KNOWN }));
        }
        Some(_) => {}
        None => refuse_foreign(connection, place).await?,
    }
    Migrator::with_migrations(migrations()).run_direct(None, connection, false).await.map_err(|error| {
        match error {
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => Failure::Sql(error),
            other => Failure::Other(corrupt(place, other.to_string())),
        }
    })
}

/// A database that has tables but none of ours belongs to another program.
async fn refuse_foreign(connection: &mut SqliteConnection, place: &Arc<str>) -> Result<(), Failure> {
    let count = async {
        sqlx::query("SELECT COUNT(*) AS n FROM sqlite_schema").fetch_one(connection).await?.try_get("n")
    };
    let tables: i64 = count.await.map_err(Failure::Sql)?;
    if tables == 0 {
        return Ok(());
    }
    Err(Failure::Other(corrupt(place, "it is a SQLite database of another program".to_owned())))
}

fn corrupt(place: &Arc<str>, reason: String) -> Error {
    Error::Corrupt { place: Arc::clone(place), reason }
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
            let statements = statements(migration.sql.as_str());
            for statement in &statements {
                let known = [
                    "CREATE TABLE ",
                    "CREATE INDEX ",
                    "CREATE UNIQUE INDEX ",
                    "DROP INDEX ",
                    "ALTER TABLE ",
                    "DELETE FROM ",
                    "UPDATE ",
                    "INSERT INTO ",
                ];
                assert!(known.iter().any(|known| statement.starts_with(known)), "{statement}");
                assert!(!statement.contains(';'), "two statements in one: {statement}");
                if let Some(index) = statement.strip_prefix("DROP INDEX ") {
                    assert!(table_of_index(index).is_some(), "{statement}");
                }
                if statement.starts_with("ALTER TABLE ") {
                    assert!(statement.contains(" ADD COLUMN "), "{statement}");
                }
                if statement.starts_with("INSERT INTO ") {
                    assert!(statement.contains("SELECT "), "{statement}");
                }
            }
            let sql = statements.join("\n").to_uppercase();
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
