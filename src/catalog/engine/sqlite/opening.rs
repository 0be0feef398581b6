//! Finding the catalog's file, making it, and bringing its tables up to date.
//!
//! The file is looked at before SQLite does, so that what is wrong with its place has a name. Several processes may
//! do all this at once: the folder is locked while the file is made, and the write lock is held while
//! tables are. A process that dies half-way leaves an empty file or none, and the next one goes on from there.
//!
//! Not here: connections and transactions (`sqlite`), the migrations themselves (`schema`).

use super::classify;
use crate::{Error, Result, schema};
use rustix::fs::{Access, FlockOperation};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor};
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a SQLite database begins with (<https://www.sqlite.org/fileformat.html>, 1.2).
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Where the catalog was found to be.
pub(super) enum Place {
    /// This process has just made the empty file.
    New,
    Existing,
    ReadOnly {
        reason: String,
    },
}

/// What is done once, when a process opens the catalog.
pub(super) struct Opening {
    pub(super) path: Arc<Path>,
    pub(super) place: Arc<str>,
    pub(super) busy: Duration,
}

impl Opening {
    pub(super) fn options(&self) -> SqliteConnectOptions {
        SqliteConnectOptions::new().filename(&self.path).busy_timeout(self.busy).foreign_keys(true)
    }

    /// Without a WAL beside it the file is complete, and SQLite needs no shared memory to read it; with one
    /// it must find or make that, so the file is opened the usual read-only way.
    pub(super) fn read_only_options(&self) -> SqliteConnectOptions {
        self.options().read_only(true).immutable(!self.beside("-wal").exists())
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    }

    fn io(&self, operation: &'static str) -> impl FnOnce(io::Error) -> Error {
        let place = Arc::clone(&self.place);
        move |source| match source.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
            Some(rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT) => Error::NoSpace { place },
            _ => Error::Io { place, operation, source },
        }
    }

    pub(super) fn identity(&self) -> Result<(u64, u64)> {
        let found = fs::metadata(&self.path).map_err(self.io("open"))?;
        Ok((found.dev(), found.ino()))
    }

    /// Looks at the file before SQLite does, for errors that name the cause; makes it where it is missing.
    pub(super) async fn place(&self) -> Result<Place> {
        let found = match fs::metadata(&self.path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return self.create().await,
            Err(error) => return Err(self.io("open")(error)),
        };
        if !found.is_file() {
            return Err(self.io("open")(io::Error::other("it is not a regular file")));
        }
        let mut magic = Vec::with_capacity(MAGIC.len());
        fs::File::open(&self.path)
            .and_then(|file| file.take(MAGIC.len() as u64).read_to_end(&mut magic))
            .map_err(self.io("open"))?;
        if !magic.is_empty() && magic != MAGIC {
            let reason = "it is not a SQLite database".to_owned();
            return Err(Error::Corrupt { place: Arc::clone(&self.place), reason });
        }
        let folder = self.path.parent().unwrap_or(&self.path);
        let denied = rustix::fs::access(&*self.path, Access::WRITE_OK)
            .and_then(|()| rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK));
        Ok(match denied {
            Ok(()) => Place::Existing,
            Err(error) => Place::ReadOnly { reason: io::Error::from(error).to_string() },
        })
    }

    /// Makes the empty file, for its owner only.
    ///
    /// A WAL and shared memory that a deleted catalog has left would be taken for the new one's, so they go
    /// first; the folder is locked meanwhile, so that no process removes those of another's new catalog.
    async fn create(&self) -> Result<Place> {
        let folder = self.path.parent().unwrap_or(&self.path);
        let guard = fs::File::open(folder).map_err(self.io("create"))?;
        let deadline = Instant::now() + self.busy;
        while let Err(error) = rustix::fs::flock(&guard, FlockOperation::NonBlockingLockExclusive) {
            if error != rustix::io::Errno::WOULDBLOCK {
                return Err(self.io("create")(error.into()));
            }
            if Instant::now() >= deadline {
                return Err(Error::Locked { place: Arc::clone(&self.place), waited: self.busy });
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if self.path.exists() {
            return Ok(Place::Existing);
        }
        for suffix in ["-wal", "-shm", "-journal"] {
            match fs::remove_file(self.beside(suffix)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(self.refused(error)),
                _ => {}
            }
        }
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        options.open(&self.path).map_err(|error| self.refused(error))?;
        // So that a power cut doesn't take the name of a catalog whose rows are durable.
        guard.sync_all().map_err(self.io("create"))?;
        Ok(Place::New)
    }

    fn refused(&self, error: io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Error::NotWritable { place: Arc::clone(&self.place), reason: error.to_string() }
            }
            _ => self.io("create")(error),
        }
    }

    /// WAL mode and the missing migrations, under the write lock, so that of several processes one does it and
    /// the others find it done.
    pub(super) async fn bring_up_to_date(&self, options: &SqliteConnectOptions) -> Result<()> {
        let fail = |error| classify(error, &self.path, self.busy);
        let mut connection = options.connect().await.map_err(fail)?;
        self.switch_to_wal(&mut connection).await?;
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(fail)?;
        schema::migrate(&mut transaction, &self.place).await.map_err(|e| e.into_error(fail))?;
        transaction.commit().await.map_err(fail)?;
        connection.close().await.map_err(fail)
    }

    /// The switch needs the file for itself for a moment, which SQLite does not wait for.
    async fn switch_to_wal(&self, connection: &mut sqlx::SqliteConnection) -> Result<()> {
        let deadline = Instant::now() + self.busy;
        loop {
            match connection.execute("PRAGMA journal_mode = WAL").await {
                Ok(_) => return Ok(()),
                Err(error) => {
                    let error = classify(error, &self.path, self.busy);
                    if !matches!(error, Error::Locked { .. }) || Instant::now() >= deadline {
                        return Err(error);
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
