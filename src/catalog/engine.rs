//! The database engine: the one module that knows it is SQLite.
//!
//! The model: one file in WAL mode. Reads go through a few connections that see one moment each and never
//! wait for a writer. Writes go through one connection a process, in transactions that take the write lock at
//! their start (so none has to be upgraded half-way and fail), with `synchronous=FULL`: what a call has
//! returned for survives a power cut. What is written often and may be lost with the power (progress,
//! heartbeats, leases: their process is gone then too) goes through a second connection with
//! `synchronous=NORMAL`, which costs no fsync. Connections open at first use.
//!
//! A transaction that is dropped half-way is rolled back. A process that is killed leaves a WAL that the next
//! one replays. The file's identity (device, inode) is checked before each transaction, because SQLite would
//! go on writing into a file that was deleted, and all of it would be lost silently.
//!
//! Not here: finding, making and migrating the file (`opening`), tables (`schema`), queries. What MariaDB
//! will need differently is this module's surface: [`Db`], [`LOCK_ROWS`], [`Engine::write`] and the
//! classification of errors.

mod opening;

use crate::fields::Row;
use crate::{Error, Result, schema};
use opening::{Opening, Place};
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The database.
pub(crate) type Db = sqlx::Sqlite;
/// A statement whose text is put together.
pub(crate) type Builder = sqlx::QueryBuilder<Db>;
/// A statement with its values.
pub(crate) type Query<'q> = sqlx::query::Query<'q, Db, <Db as sqlx::Database>::Arguments>;

/// Behind a `SELECT` whose rows are changed later in the same transaction. SQLite's write transactions are
/// alone from their start; MariaDB needs ` FOR UPDATE`.
pub(crate) const LOCK_ROWS: &str = "";

/// How long a statement waits for another process's write lock before [`Error::Locked`].
///
/// The lock is held for one transaction and its fsync; but on a disk that several backups keep busy an fsync
/// takes seconds, and who waits is not served in order.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(15);

const READERS: u32 = 3;
/// At most 32 MiB of pages for the connection that imports: what a transaction changes beyond that goes through
/// the WAL several times. Other transactions touch a few pages and keep no more.
const CACHE: &str = "-32768";

/// The open database.
#[derive(Debug)]
pub(crate) struct Engine {
    path: Arc<Path>,
    busy: Duration,
    /// Device and inode of the file that the connections hold.
    identity: (u64, u64),
    created: bool,
    readers: SqlitePool,
    /// `Err` holds why nothing can be written.
    writers: Result<Writers, String>,
}

#[derive(Debug)]
struct Writers {
    durable: SqlitePool,
    light: SqlitePool,
}

impl Writers {
    fn new(options: &SqliteConnectOptions, busy: Duration) -> Writers {
        // A WAL that an import has made large is cut back when it is next begun anew.
        let options = options.clone().pragma("journal_size_limit", "16777216");
        let durable = options.clone().synchronous(SqliteSynchronous::Full).pragma("cache_size", CACHE);
        let light = options.synchronous(SqliteSynchronous::Normal);
        Writers { durable: pool(durable, 1, busy), light: pool(light, 1, busy) }
    }
}

impl Engine {
    /// Opens the catalog and brings its tables up to date; creates it where it is missing.
    pub(crate) async fn open(path: &Path, busy: Duration) -> Result<Engine> {
        let path: Arc<Path> = std::path::absolute(path)
            .map_err(|source| Error::Io { path: path.to_owned(), operation: "open", source })?
            .into();
        let opening = Opening { path: Arc::clone(&path), busy };
        let place = opening.place().await?;
        let options = match &place {
            Place::ReadOnly { .. } => opening.read_only_options(),
            _ => opening.options(),
        };
        let engine = Engine {
            identity: opening.identity()?,
            created: matches!(place, Place::New),
            readers: pool(options.clone().pragma("query_only", "ON"), READERS, busy),
            writers: match place {
                Place::ReadOnly { reason } => Err(reason),
                _ => Ok(Writers::new(&options, busy)),
            },
            path,
            busy,
        };
        if engine.created || !engine.is_up_to_date().await? {
            if engine.writers.is_err() {
                return Err(engine.not_writable("its tables must be brought up to date first"));
            }
            opening.bring_up_to_date(&options).await?;
        }
        Ok(engine)
    }

    /// One look at the version, on the connection that the first list will use.
    async fn is_up_to_date(&self) -> Result<bool> {
        let mut session = self.read().await?;
        let version = schema::version(session.connection()).await.map_err(|e| self.fail(e))?;
        // Ended here and not some time after the drop: a migration needs the file for itself.
        session.commit().await?;
        match version {
            Some(found) if found > schema::KNOWN => {
                Err(Error::Newer { path: self.path.to_path_buf(), found, known: schema::KNOWN })
            }
            version => Ok(version == Some(schema::KNOWN)),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// True where this call of `open` made the file.
    pub(crate) fn created(&self) -> bool {
        self.created
    }

    pub(crate) fn is_writable(&self) -> bool {
        self.writers.is_ok()
    }

    /// A transaction that reads one moment.
    pub(crate) async fn read(&self) -> Result<Session> {
        self.check_identity()?;
        let transaction = self.readers.begin().await.map_err(|e| self.fail(e))?;
        Ok(self.session(transaction))
    }

    /// A transaction that may write; durable when [`Session::commit`] has returned.
    pub(crate) async fn write(&self) -> Result<Session> {
        self.begin_write(|writers| &writers.durable).await
    }

    /// A transaction for progress, heartbeats and leases: in order with all others, but a power cut may take
    /// the latest of them.
    pub(crate) async fn write_light(&self) -> Result<Session> {
        self.begin_write(|writers| &writers.light).await
    }

    async fn begin_write(&self, choose: impl FnOnce(&Writers) -> &SqlitePool) -> Result<Session> {
        let writers = self.writers.as_ref().map_err(|reason| self.not_writable(reason))?;
        self.check_identity()?;
        let transaction = choose(writers).begin_with("BEGIN IMMEDIATE").await.map_err(|e| self.fail(e))?;
        Ok(self.session(transaction))
    }

    /// What is wrong with the file itself, for a person; empty where it is sound. Reads all of it.
    pub(crate) async fn check(&self) -> Result<Vec<String>> {
        let mut session = self.read().await?;
        let mut problems = Vec::new();
        for row in session.all(sqlx::query("PRAGMA quick_check(20)")).await? {
            let found = row.text("quick_check")?;
            if found != "ok" {
                problems.push(found);
            }
        }
        for row in session.all(sqlx::query("PRAGMA foreign_key_check")).await?.iter().take(20) {
            problems.push(format!(
                "a row of {} refers to one of {} that does not exist",
                row.text("table")?,
                row.text("parent")?
            ));
        }
        Ok(problems)
    }

    /// Closes all connections; the last process to do so takes the WAL into the file.
    pub(crate) async fn close(&self) {
        self.readers.close().await;
        if let Ok(writers) = &self.writers {
            writers.light.close().await;
            writers.durable.close().await;
        }
    }

    fn session(&self, transaction: sqlx::Transaction<'static, Db>) -> Session {
        Session { transaction, path: Arc::clone(&self.path), busy: self.busy }
    }

    fn check_identity(&self) -> Result<()> {
        match fs::metadata(&self.path) {
            Ok(found) if (found.dev(), found.ino()) == self.identity => Ok(()),
            _ => Err(Error::Replaced { path: self.path.to_path_buf() }),
        }
    }

    fn not_writable(&self, reason: impl Into<String>) -> Error {
        Error::NotWritable { path: self.path.to_path_buf(), reason: reason.into() }
    }

    fn fail(&self, error: sqlx::Error) -> Error {
        classify(error, &self.path, self.busy)
    }
}

/// A transaction: every statement goes through here, so every failure is classified in one place.
pub(crate) struct Session {
    transaction: sqlx::Transaction<'static, Db>,
    path: Arc<Path>,
    busy: Duration,
}

impl Session {
    pub(crate) fn connection(&mut self) -> &mut <Db as sqlx::Database>::Connection {
        &mut self.transaction
    }

    /// Runs a statement; returns how many rows it touched.
    pub(crate) async fn execute(&mut self, query: Query<'_>) -> Result<u64> {
        let done = query.execute(&mut *self.transaction).await.map_err(|e| self.fail(e))?;
        Ok(done.rows_affected())
    }

    /// Runs an insert; returns how many rows it made: none where one of that key exists.
    pub(crate) async fn insert_new(&mut self, query: Query<'_>) -> Result<u64> {
        match query.execute(&mut *self.transaction).await {
            Ok(done) => Ok(done.rows_affected()),
            Err(sqlx::Error::Database(e)) if e.is_unique_violation() => Ok(0),
            Err(error) => Err(self.fail(error)),
        }
    }

    pub(crate) async fn all(&mut self, query: Query<'_>) -> Result<Vec<Row>> {
        let rows = query.fetch_all(&mut *self.transaction).await.map_err(|e| self.fail(e))?;
        Ok(rows.into_iter().map(|row| Row { row, path: Arc::clone(&self.path) }).collect())
    }

    pub(crate) async fn optional(&mut self, query: Query<'_>) -> Result<Option<Row>> {
        let row = query.fetch_optional(&mut *self.transaction).await.map_err(|e| self.fail(e))?;
        Ok(row.map(|row| Row { row, path: Arc::clone(&self.path) }))
    }

    /// The one number of an aggregate, in a column named `n`.
    pub(crate) async fn number(&mut self, query: Query<'_>) -> Result<u64> {
        match self.optional(query).await? {
            Some(row) => row.int("n"),
            None => Ok(0),
        }
    }

    pub(crate) async fn commit(self) -> Result<()> {
        let (path, busy) = (self.path, self.busy);
        self.transaction.commit().await.map_err(|e| classify(e, &path, busy))
    }

    fn fail(&self, error: sqlx::Error) -> Error {
        classify(error, &self.path, self.busy)
    }
}

fn pool(options: SqliteConnectOptions, size: u32, busy: Duration) -> SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(size)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        // SQLite itself rolls a transaction back when the disk is full or fails; the driver then takes the
        // connection for one that is still within it, and it can't be used again.
        .before_acquire(|connection, _| Box::pin(async move { Ok(!connection.is_in_transaction()) }))
        .acquire_timeout(busy.max(Duration::from_secs(30)))
        .connect_lazy_with(options)
}

/// True where the file system has no room left for as much as the first transaction takes.
fn is_full(path: &Path) -> bool {
    const LEAST: u64 = 128 << 10;
    let folder = path.parent().unwrap_or(path);
    rustix::fs::statvfs(folder).is_ok_and(|found| found.f_bavail.saturating_mul(found.f_frsize) < LEAST)
}

/// SQLite's result codes (<https://www.sqlite.org/rescode.html>) as our kinds.
fn classify(error: sqlx::Error, path: &Path, busy: Duration) -> Error {
    let path = path.to_path_buf();
    match error {
        sqlx::Error::PoolTimedOut => Error::Locked { path, waited: busy },
        sqlx::Error::Io(source) => Error::Io { path, operation: "open", source },
        sqlx::Error::Database(error) => {
            let code: i32 = error.code().and_then(|code| code.parse().ok()).unwrap_or(1);
            let reason = error.message().to_owned();
            match code & 0xff {
                5 | 6 => Error::Locked { path, waited: busy },
                // 1032 is SQLITE_READONLY_DBMOVED.
                8 if code == 1032 => Error::Replaced { path },
                8 => Error::NotWritable { path, reason },
                // Shared memory that can't grow fails as plain I/O.
                10 | 14 if is_full(&path) => Error::NoSpace { path },
                10 | 14 => Error::Io { path, operation: "read or write", source: io::Error::other(reason) },
                11 | 26 => Error::Corrupt { path, reason },
                13 => Error::NoSpace { path },
                _ => Error::Refused { path, reason },
            }
        }
        error @ (sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Decode(_)
        | sqlx::Error::ColumnNotFound(_)) => Error::Corrupt { path, reason: error.to_string() },
        error => Error::Refused { path, reason: error.to_string() },
    }
}
