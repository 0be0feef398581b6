//! The database engine: which database the catalog lives in, and transactions on it.
//!
//! The model: an [`Engine`] is SQLite or MariaDB, and everything above speaks to it through [`transaction!`],
//! which gives a [`Session`]; statements, rows and errors are the same whichever it is. A transaction sees one
//! moment, and what writes is alone in effect: SQLite's take the write lock at their start, MariaDB's are
//! `SERIALIZABLE`. So a rule that is looked at and acted upon in one transaction can't be broken side by side.
//!
//! The work within `transaction!` may run more than once: MariaDB may refuse it for another's sake (a
//! deadlock), or be gone for a while. What it returns is the answer of the run that was committed. It must change
//! nothing outside of itself.
//!
//! A transaction that is dropped half-way is rolled back.
//!
//! Not here: queries, tables (`schema`), where a catalog is and how one names it (`location`).

mod mariadb;
mod sqlite;
mod turn;

pub(crate) use turn::{Turn, transaction, typed};

use crate::fields::{Row, Value};
use crate::statement::Statement;
use crate::{Error, Result};
use sqlx::AssertSqlSafe;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use mariadb::Address;

/// How long a catalog in a file waits for another process's write lock before [`Error::Locked`].
///
/// The lock is held for one transaction and its fsync; but on a disk that several backups keep busy an fsync
/// takes seconds, and who waits is not served in order.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a change waits for a server that can't be reached before [`Error::Unreachable`]. A job goes on
/// meanwhile; it must give up before other hubs take it for dead ([`HEARTBEAT_LIMIT`](crate::HEARTBEAT_LIMIT)).
pub(crate) const SERVER_PATIENCE: Duration = Duration::from_secs(150);

/// What a transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Reads one moment.
    Read,
    /// Changes something; durable when it has returned.
    Write,
    /// Progress, heartbeats, leases: a power cut may take the latest of them, and who writes them
    /// tries again by itself.
    Light,
}

/// The open database.
#[derive(Debug)]
pub(crate) enum Engine {
    Sqlite(sqlite::Sqlite),
    MariaDb(Box<mariadb::MariaDb>),
}

impl Engine {
    /// Opens the catalog in a file and brings its tables up to date; makes it where it is missing.
    pub(crate) async fn open(path: &Path, busy: Duration) -> Result<Engine> {
        Ok(Engine::Sqlite(sqlite::Sqlite::open(path, busy).await?))
    }

    /// Opens the catalog on a server and brings its tables up to date; its database must exist.
    pub(crate) async fn connect(address: &Address, patience: Duration) -> Result<Engine> {
        Ok(Engine::MariaDb(Box::new(mariadb::MariaDb::connect(address, patience).await?)))
    }

    /// Where it is, for messages.
    pub(crate) fn place(&self) -> Arc<str> {
        match self {
            Engine::Sqlite(engine) => engine.place(),
            Engine::MariaDb(engine) => engine.place(),
        }
    }

    /// True where this call of `open` made it.
    pub(crate) fn created(&self) -> bool {
        match self {
            Engine::Sqlite(engine) => engine.created(),
            Engine::MariaDb(engine) => engine.created(),
        }
    }

    pub(crate) fn is_writable(&self) -> bool {
        match self {
            Engine::Sqlite(engine) => engine.is_writable(),
            Engine::MariaDb(_) => true,
        }
    }

    /// How far the server's clock is ahead of this machine's.
    pub(crate) fn clock_ahead(&self) -> jiff::SignedDuration {
        match self {
            Engine::Sqlite(_) => jiff::SignedDuration::ZERO,
            Engine::MariaDb(engine) => engine.clock_ahead(),
        }
    }

    /// A transaction that reads one moment.
    pub(crate) fn read(&self) -> Turn<'_> {
        Turn::new(self, Kind::Read)
    }

    /// A transaction that may write; durable when it has returned.
    pub(crate) fn write(&self) -> Turn<'_> {
        Turn::new(self, Kind::Write)
    }

    /// A transaction for progress, heartbeats and leases: in order with all others, but a power cut may take
    /// the latest of them.
    pub(crate) fn write_light(&self) -> Turn<'_> {
        Turn::new(self, Kind::Light)
    }

    /// What is wrong with the database itself, for a person; empty where it is sound. Reads all of it.
    pub(crate) async fn check(&self) -> Result<Vec<String>> {
        match self {
            Engine::Sqlite(engine) => engine.check().await,
            Engine::MariaDb(engine) => engine.check().await,
        }
    }

    /// Closes all connections.
    pub(crate) async fn close(&self) {
        match self {
            Engine::Sqlite(engine) => engine.close().await,
            Engine::MariaDb(engine) => engine.close().await,
        }
    }

    async fn begin(&self, kind: Kind) -> Result<Session> {
        let transaction = match self {
            Engine::Sqlite(engine) => Transaction::Sqlite(engine.begin(kind).await?),
            Engine::MariaDb(engine) => Transaction::MariaDb(engine.begin(kind).await?),
        };
        Ok(Session { transaction, place: self.place(), keep: kind != Kind::Read })
    }
}

/// A transaction that runs.
enum Transaction {
    Sqlite(sqlite::Transaction),
    MariaDb(mariadb::Transaction),
}

/// A transaction, as queries see it.
pub(crate) struct Session {
    transaction: Transaction,
    place: Arc<str>,
    keep: bool,
}

impl Session {
    /// Runs a statement; returns how many rows it touched.
    pub(crate) async fn execute(&mut self, statement: Statement) -> Result<u64> {
        match &mut self.transaction {
            Transaction::Sqlite(transaction) => transaction.execute(statement).await,
            Transaction::MariaDb(transaction) => transaction.execute(statement).await,
        }
    }

    /// Runs an insert; returns how many rows it made: none where one of that key exists.
    pub(crate) async fn insert_new(&mut self, statement: Statement) -> Result<u64> {
        match self.execute(statement).await {
            Err(Error::Duplicate { .. }) => Ok(0),
            other => other,
        }
    }

    pub(crate) async fn all(&mut self, statement: Statement) -> Result<Vec<Row>> {
        let rows = match &mut self.transaction {
            Transaction::Sqlite(transaction) => transaction.all(statement).await?,
            Transaction::MariaDb(transaction) => transaction.all(statement).await?,
        };
        Ok(rows.into_iter().map(|row| Row { row, place: Arc::clone(&self.place) }).collect())
    }

    /// The one row of a statement that has at most one.
    pub(crate) async fn optional(&mut self, statement: Statement) -> Result<Option<Row>> {
        Ok(self.all(statement).await?.into_iter().next())
    }

    /// The one number of an aggregate, in a column named `n`.
    pub(crate) async fn number(&mut self, statement: Statement) -> Result<u64> {
        match self.optional(statement).await? {
            Some(row) => row.int("n"),
            None => Ok(0),
        }
    }

    /// What was done so far is taken back when the work returns, whatever it returns.
    pub(crate) fn roll_back(&mut self) {
        self.keep = false;
    }
}

/// A row of either database.
pub(crate) enum AnyRow {
    Sqlite(sqlx::sqlite::SqliteRow),
    MariaDb(sqlx::mysql::MySqlRow),
}

impl AnyRow {
    pub(crate) fn get<T>(&self, column: &str) -> Result<T, sqlx::Error>
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
        T: for<'r> sqlx::Decode<'r, sqlx::MySql> + sqlx::Type<sqlx::MySql>,
    {
        use sqlx::Row as _;
        match self {
            AnyRow::Sqlite(row) => row.try_get(column),
            AnyRow::MariaDb(row) => row.try_get(column),
        }
    }
}

/// A statement as the driver takes it. The text is this crate's own ([`Statement`]): values are only bound.
fn bound<DB: sqlx::Database>(
    text: String,
    values: Vec<Value>,
) -> sqlx::query::Query<'static, DB, DB::Arguments>
where
    DB::Arguments: sqlx::IntoArguments<DB>,
    String: sqlx::Encode<'static, DB> + sqlx::Type<DB>,
    Option<String>: sqlx::Encode<'static, DB> + sqlx::Type<DB>,
    i64: sqlx::Encode<'static, DB> + sqlx::Type<DB>,
    Option<i64>: sqlx::Encode<'static, DB> + sqlx::Type<DB>,
    f64: sqlx::Encode<'static, DB> + sqlx::Type<DB>,
{
    let mut query = sqlx::query::<DB>(AssertSqlSafe(text));
    for value in values {
        query = match value {
            Value::Text(value) => query.bind(value),
            Value::MaybeText(value) => query.bind(value),
            Value::Int(value) => query.bind(value),
            Value::MaybeInt(value) => query.bind(value),
            Value::Real(value) => query.bind(value),
        };
    }
    query
}
