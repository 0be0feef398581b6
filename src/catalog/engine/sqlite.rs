//! The catalog in a file: SQLite.
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
//! Not here: finding, making and migrating the file (`opening`), tables (`schema`), queries.

mod opening;

use super::{AnyRow, Kind, bound};
use crate::statement::{Dialect, Statement};
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
use tokio::sync::{Mutex, OwnedMutexGuard};

const READERS: u32 = 3;
/// How long a connection, or the turn to write, is waited for at least.
const ACQUIRE: Duration = Duration::from_secs(30);
/// At most 32 MiB of pages for the connection that imports: what a transaction changes beyond that goes through
/// the WAL several times. Other transactions touch a few pages and keep no more.
const CACHE: &str = "-32768";

/// The open file.
#[derive(Debug)]
pub(crate) struct Sqlite {
    path: Arc<Path>,
    place: Arc<str>,
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
    /// One at a time, in the order in which they come. Without it the two would wait for each other as processes do:
    /// by looking again every now and then, up to 100 ms later.
    turn: Arc<Mutex<()>>,
}

impl Writers {
    fn new(options: &SqliteConnectOptions, busy: Duration) -> Writers {
        // A WAL that an import has made large is cut back when it is next begun anew.
        let options = options.clone().pragma("journal_size_limit", "16777216");
        let durable = options.clone().synchronous(SqliteSynchronous::Full).pragma("cache_size", CACHE);
        let light = options.synchronous(SqliteSynchronous::Normal);
        Writers { durable: pool(durable, 1, busy), light: pool(light, 1, busy), turn: Arc::default() }
    }
}

impl Sqlite {
    /// Opens the catalog and brings its tables up to date; creates it where it is missing.
    pub(crate) async fn open(path: &Path, busy: Duration) -> Result<Sqlite> {
        let path: Arc<Path> = std::path::absolute(path)
            .map_err(|source| Error::Io {
                place: path.display().to_string().into(),
                operation: "open",
                source,
            })?
            .into();
        let place_name: Arc<str> = path.display().to_string().into();
        let opening = Opening { path: Arc::clone(&path), place: Arc::clone(&place_name), busy };
        let place = opening.place().await?;
        let options = match &place {
            Place::ReadOnly { .. } => opening.read_only_options(),
            _ => opening.options(),
        };
        let engine = Sqlite {
            place: place_name,
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
        let mut transaction = self.begin(Kind::Read).await?;
        let version = schema::version(&mut transaction.inner).await.map_err(|e| self.fail(e))?;
        // Ended here and not some time after the drop: a migration needs the file for itself.
        transaction.commit().await?;
        match version {
            Some(found) if found > schema::KNOWN => {
                Err(Error::Newer { place: self.place(), found, known: schema::KNOWN })
            }
            version => Ok(version == Some(schema::KNOWN)),
        }
    }

    pub(crate) fn place(&self) -> Arc<str> {
        Arc::clone(&self.place)
    }

    /// True where this call of `open` made the file.
    pub(crate) fn created(&self) -> bool {
        self.created
    }

    pub(crate) fn is_writable(&self) -> bool {
        self.writers.is_ok()
    }

    pub(super) async fn begin(&self, kind: Kind) -> Result<Transaction> {
        let writers = match kind {
            Kind::Read => None,
            _ => Some(self.writers.as_ref().map_err(|reason| self.not_writable(reason))?),
        };
        self.check_identity()?;
        let turn = match writers {
            Some(writers) => Some(self.turn(writers).await?),
            None => None,
        };
        let begun = match (writers, kind) {
            (None, _) => self.readers.begin().await,
            (Some(writers), Kind::Light) => writers.light.begin_with("BEGIN IMMEDIATE").await,
            (Some(writers), _) => writers.durable.begin_with("BEGIN IMMEDIATE").await,
        };
        let inner = begun.map_err(|e| self.fail(e))?;
        Ok(Transaction {
            inner,
            path: Arc::clone(&self.path),
            place: self.place(),
            busy: self.busy,
            _turn: turn,
        })
    }

    async fn turn(&self, writers: &Writers) -> Result<OwnedMutexGuard<()>> {
        let waited = self.busy.max(ACQUIRE);
        tokio::time::timeout(waited, Arc::clone(&writers.turn).lock_owned())
            .await
            .map_err(|_| Error::Locked { place: self.place(), waited })
    }

    /// What is wrong with the file itself, for a person; empty where it is sound. Reads all of it.
    pub(crate) async fn check(&self) -> Result<Vec<String>> {
        let mut transaction = self.begin(Kind::Read).await?;
        let mut problems = Vec::new();
        for row in transaction.all(Statement::new("PRAGMA quick_check(20)")).await? {
            let found: String = row.get("quick_check").map_err(|e| self.fail(e))?;
            if found != "ok" {
                problems.push(found);
            }
        }
        for row in transaction.all(Statement::new("PRAGMA foreign_key_check")).await?.iter().take(20) {
            let table: String = row.get("table").map_err(|e| self.fail(e))?;
            let parent: String = row.get("parent").map_err(|e| self.fail(e))?;
            problems.push(format!("a row of {table} refers to one of {parent} that does not exist"));
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

    fn check_identity(&self) -> Result<()> {
        match fs::metadata(&self.path) {
            Ok(found) if (found.dev(), found.ino()) == self.identity => Ok(()),
            _ => Err(Error::Replaced { place: self.place() }),
        }
    }

    fn not_writable(&self, reason: impl Into<String>) -> Error {
        Error::NotWritable { place: self.place(), reason: reason.into() }
    }

    fn fail(&self, error: sqlx::Error) -> Error {
        classify(error, &self.path, self.busy)
    }
}

/// A transaction: every statement goes through here, so every failure is classified in one place.
pub(super) struct Transaction {
    inner: sqlx::Transaction<'static, sqlx::Sqlite>,
    path: Arc<Path>,
    place: Arc<str>,
    busy: Duration,
    /// Last: whoever is next begins when it has ended.
    _turn: Option<OwnedMutexGuard<()>>,
}

impl Transaction {
    /// Runs a statement; returns how many rows it touched.
    pub(super) async fn execute(&mut self, statement: Statement) -> Result<u64> {
        let (text, values, _) = statement.into_parts(Dialect::Sqlite);
        match bound::<sqlx::Sqlite>(text, values).execute(&mut *self.inner).await {
            Ok(done) => Ok(done.rows_affected()),
            Err(sqlx::Error::Database(e)) if e.is_unique_violation() => {
                Err(Error::Duplicate { place: Arc::clone(&self.place), reason: e.message().to_owned() })
            }
            Err(error) => Err(self.fail(error)),
        }
    }

    /// Its write transactions are alone from their start, so nothing has to be locked.
    pub(super) async fn all(&mut self, statement: Statement) -> Result<Vec<AnyRow>> {
        let (text, values, _) = statement.into_parts(Dialect::Sqlite);
        let rows = bound::<sqlx::Sqlite>(text, values).fetch_all(&mut *self.inner).await;
        Ok(rows.map_err(|e| self.fail(e))?.into_iter().map(AnyRow::Sqlite).collect())
    }

    pub(super) async fn commit(self) -> Result<()> {
        let Transaction { inner, path, busy, _turn, .. } = self;
        inner.commit().await.map_err(|e| classify(e, &path, busy))
    }

    /// What can't be rolled back any more is, by its end.
    pub(super) async fn roll_back(self) {
        let Transaction { inner, _turn, .. } = self;
        let _ = inner.rollback().await;
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
        .acquire_timeout(busy.max(ACQUIRE))
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
    let place: Arc<str> = path.display().to_string().into();
    match error {
        sqlx::Error::PoolTimedOut => Error::Locked { place, waited: busy },
        sqlx::Error::Io(source) => Error::Io { place, operation: "open", source },
        sqlx::Error::Database(error) => {
            let code: i32 = error.code().and_then(|code| code.parse().ok()).unwrap_or(1);
            let reason = error.message().to_owned();
            match code & 0xff {
                5 | 6 => Error::Locked { place, waited: busy },
                // 1032 is SQLITE_READONLY_DBMOVED.
                8 if code == 1032 => Error::Replaced { place },
                8 => Error::NotWritable { place, reason },
                // Shared memory that can't grow fails as plain I/O.
                10 | 14 if is_full(path) => Error::NoSpace { place },
                10 | 14 => Error::Io { place, operation: "read or write", source: io::Error::other(reason) },
                11 | 26 => Error::Corrupt { place, reason },
                13 => Error::NoSpace { place },
                _ => Error::Refused { place, reason },
            }
        }
        error @ (sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Decode(_)
        | sqlx::Error::ColumnNotFound(_)) => Error::Corrupt { place, reason: error.to_string() },
        error => Error::Refused { place, reason: error.to_string() },
    }
}
