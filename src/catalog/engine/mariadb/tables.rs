//! Making the tables on a server, and bringing them up to date.
//!
//! The texts are those of `schema`, with what MariaDB needs besides: the engine, and the character set whose
//! order is that of bytes, whatever the database was made with; `LONGTEXT` for `TEXT`, which holds only 64 KiB
//! there. A change of tables is no transaction on MariaDB, so every statement is made one that can run again
//! (`IF NOT EXISTS`) and a migration is noted once all of it is done: a hub that dies half-way leaves what the
//! next one completes. A lock of the server's keeps two from doing so at once; it ends with its connection.

use super::errors::classify;
use super::marks;
use crate::schema::{self, KNOWN};
use crate::{Error, Result};
use sqlx::{AssertSqlSafe, MySqlConnection, Row};
use std::sync::Arc;
use std::time::Duration;

/// What the tables need; earlier ones lack something that is relied upon.
const OLDEST: (u32, u32) = (10, 6);

const HISTORY: &str = "CREATE TABLE IF NOT EXISTS _sqlx_migrations (version BIGINT NOT NULL, \
     description VARCHAR(255) NOT NULL, installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, \
     success BOOLEAN NOT NULL, checksum VARBINARY(64) NOT NULL, execution_time BIGINT NOT NULL, \
     PRIMARY KEY (version)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin";

/// Refuses what is no MariaDB, or one that is too old.
pub(super) async fn check_server(connection: &mut MySqlConnection, place: &Arc<str>) -> Result<()> {
    let row = sqlx::query("SELECT VERSION() AS v").fetch_one(connection).await;
    let version: String = row.and_then(|row| row.try_get("v")).map_err(|e| classify(e, place))?;
    let mut numbers = version.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version.contains("MariaDB") && found >= OLDEST {
        return Ok(());
    }
    Err(Error::Refused {
        place: Arc::clone(place),
        reason: format!("it is {version}, the catalog needs MariaDB {}.{} or later", OLDEST.0, OLDEST.1),
    })
}

/// Makes or changes the tables where that is needed; true where there were none.
pub(super) async fn bring_up_to_date(
    connection: &mut MySqlConnection,
    place: &Arc<str>,
    patience: Duration,
) -> Result<bool> {
    let fail = |error| classify(error, place);
    if is_known(version(connection).await.map_err(fail)?, place)? {
        forget_marks(connection).await.map_err(fail)?;
        return Ok(false);
    }
    let lock = "SELECT GET_LOCK(CONCAT('sendense/', DATABASE()), ?) AS n";
    let seconds = i64::try_from(patience.as_secs()).unwrap_or(i64::MAX);
    let row = sqlx::query(lock).bind(seconds).fetch_one(&mut *connection).await.map_err(fail)?;
    let got: Option<i64> = row.try_get("n").map_err(fail)?;
    if got != Some(1) {
        return Err(Error::Locked { place: Arc::clone(place), waited: patience });
    }
    let made = migrate(connection, place).await;
    // It ends with the connection in any case.
    let release = "DO RELEASE_LOCK(CONCAT('sendense/', DATABASE()))";
    let _ = sqlx::raw_sql(release).execute(connection).await;
    made
}

/// True where nothing is to be done.
fn is_known(version: Option<i64>, place: &Arc<str>) -> Result<bool> {
    match version {
        Some(found) if found > KNOWN => Err(Error::Newer { place: Arc::clone(place), found, known: KNOWN }),
        version => Ok(version == Some(KNOWN)),
    }
}

/// The version of the tables; `None` where there are none yet.
async fn version(connection: &mut MySqlConnection) -> Result<Option<i64>, sqlx::Error> {
    let tables = "SELECT COUNT(*) AS n FROM information_schema.tables \
                  WHERE table_schema = DATABASE() AND table_name = '_sqlx_migrations'";
    let tables: i64 = sqlx::query(tables).fetch_one(&mut *connection).await?.try_get("n")?;
    if tables == 0 {
        return Ok(None);
    }
    sqlx::query("SELECT MAX(version) AS n FROM _sqlx_migrations").fetch_one(connection).await?.try_get("n")
}

async fn migrate(connection: &mut MySqlConnection, place: &Arc<str>) -> Result<bool> {
    let fail = |error| classify(error, place);
    let found = version(connection).await.map_err(fail)?;
    // Another hub was faster.
    if is_known(found, place)? {
        return Ok(false);
    }
    if found.is_none() {
        refuse_foreign(connection, place).await?;
        // First, so that a database whose making was interrupted is known to be ours.
        for table in [HISTORY, marks::TABLE] {
            sqlx::raw_sql(table).execute(&mut *connection).await.map_err(fail)?;
        }
    }
    let created = found.is_none();
    let found = found.unwrap_or(0);
    for migration in schema::migrations().iter().filter(|migration| migration.version > found) {
        for statement in for_server(migration.sql.as_str()) {
            sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *connection).await.map_err(fail)?;
        }
        let note = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                    VALUES (?, ?, 1, ?, 0)";
        let note = sqlx::query(note)
            .bind(migration.version)
            .bind(migration.description.as_ref())
            .bind(migration.checksum.as_ref());
        note.execute(&mut *connection).await.map_err(fail)?;
    }
    Ok(created)
}

/// A database that has tables but none of ours belongs to another program.
async fn refuse_foreign(connection: &mut MySqlConnection, place: &Arc<str>) -> Result<()> {
    let tables = "SELECT COUNT(*) AS n FROM information_schema.tables WHERE table_schema = DATABASE() \
                  AND table_name <> '_sqlx_migrations'";
    let history = "SELECT COUNT(*) AS n FROM information_schema.tables WHERE table_schema = DATABASE() \
                   AND table_name = '_sqlx_migrations'";
    let mut counts = [0i64; 2];
    for (count, query) in counts.iter_mut().zip([tables, history]) {
        let row = sqlx::query(query).fetch_one(&mut *connection).await;
        *count = row.and_then(|row| row.try_get("n")).map_err(|e| classify(e, place))?;
    }
    if counts[0] == 0 || counts[1] > 0 {
        return Ok(());
    }
    let reason = "it has tables of another program: make a database of its own for the catalog".to_owned();
    Err(Error::Refused { place: Arc::clone(place), reason })
}

/// Rows of processes that have long ended. They are looked up without a lock, so nobody is waited for.
async fn forget_marks(connection: &mut MySqlConnection) -> Result<(), sqlx::Error> {
    let old = format!(
        "SELECT writer FROM _commit_marks WHERE left_at < UNIX_TIMESTAMP() - {} LIMIT 1000",
        marks::KEPT
    );
    for row in sqlx::query(AssertSqlSafe(old)).fetch_all(&mut *connection).await? {
        let writer: String = row.try_get("writer")?;
        sqlx::query("DELETE FROM _commit_marks WHERE writer = ?")
            .bind(writer)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

/// What the server says of its tables' files, for a person.
pub(super) async fn check(connection: &mut MySqlConnection) -> Result<Vec<String>, sqlx::Error> {
    let tables = "SELECT table_name AS n FROM information_schema.tables WHERE table_schema = DATABASE()";
    let mut names = Vec::new();
    for row in sqlx::query(tables).fetch_all(&mut *connection).await? {
        names.push(row.try_get::<String, _>("n")?);
    }
    let mut problems = Vec::new();
    let check = format!("CHECK TABLE {}", names.join(", "));
    for row in sqlx::raw_sql(AssertSqlSafe(check)).fetch_all(connection).await? {
        let (table, kind, text): (String, String, String) =
            (row.try_get("Table")?, row.try_get("Msg_type")?, row.try_get("Msg_text")?);
        if kind != "status" && kind != "note" || kind == "status" && text != "OK" {
            problems.push(format!("{table}: {text}"));
        }
    }
    Ok(problems)
}

/// The statements of a migration as MariaDB is to run them.
fn for_server(sql: &str) -> Vec<String> {
    schema::statements(sql)
        .into_iter()
        .map(|statement| {
            if let Some(index) = statement.strip_prefix("DROP INDEX ") {
                let table = schema::table_of_index(index).unwrap_or_default();
                return format!("DROP INDEX IF EXISTS {index} ON {table}");
            }
            let statement = statement
                .replacen("CREATE TABLE ", "CREATE TABLE IF NOT EXISTS ", 1)
                .replacen("CREATE INDEX ", "CREATE INDEX IF NOT EXISTS ", 1)
                .replacen("CREATE UNIQUE INDEX ", "CREATE UNIQUE INDEX IF NOT EXISTS ", 1)
                .replacen(" ADD COLUMN ", " ADD COLUMN IF NOT EXISTS ", 1);
            let statement = statement.replace(" TEXT", " LONGTEXT");
            if statement.starts_with("CREATE TABLE") {
                format!("{statement} ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin")
            } else {
                statement
            }
        })
        .collect()
}
