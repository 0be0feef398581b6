//! The catalog on a server: MariaDB, where several hubs share it.
//!
//! The model: two pools of a few connections. Those that read see one moment each (`REPEATABLE READ`, read
//! only) and never wait for a writer. Those that write are `SERIALIZABLE`: what a transaction has read stays
//! so until it ends, as if it were alone; where two stand in each other's way the server has one of them try
//! again. Every transaction that writes leaves its mark (`marks`), by which a commit that got no answer
//! can be looked up.
//!
//! A connection goes back to its pool only after a clean end. Whatever else happens to a transaction (its
//! future is dropped, an answer does not come in time) its connection is closed, and the server rolls it
//! back; one whose network is cut is ended by the server itself after [`IDLE_LIMIT`] seconds, so its locks don't stay.
//!
//! Not here: when something is tried again (`turn`), how the tables are made (`tables`).

mod address;
mod errors;
mod marks;
mod tables;

pub(crate) use address::Address;
pub(super) use marks::Mark;

use super::turn::NotCommitted;
use super::{AnyRow, Kind, bound};
use crate::statement::{Dialect, Statement};
use crate::{Error, Result};
use errors::classify;
use jiff::{SignedDuration, Timestamp};
use marks::Marks;
use sqlx::mysql::{MySqlPool, MySqlPoolOptions};
use sqlx::pool::PoolConnection;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, MySql, MySqlConnection, Row};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

const READERS: u32 = 6;
const WRITERS: u32 = 6;

/// How long the first connection may take; later ones are tried again until the patience ends.
const CONNECT: Duration = Duration::from_secs(10);

/// How long one statement may take. It bounds how long a cut network goes unnoticed.
const ANSWER: Duration = Duration::from_secs(30);

/// Seconds after which the server ends a transaction that has changed something and says nothing more.
const IDLE_LIMIT: u32 = 60;

/// Clocks that differ by less are taken for the same, so that times don't jump.
const SAME_CLOCK: SignedDuration = SignedDuration::from_secs(2);

/// The open database.
#[derive(Debug)]
pub(crate) struct MariaDb {
    address: Address,
    place: Arc<str>,
    patience: Duration,
    created: bool,
    readers: MySqlPool,
    writers: MySqlPool,
    marks: Arc<Marks>,
    /// Microseconds.
    clock_ahead: Arc<AtomicI64>,
}

impl MariaDb {
    pub(super) async fn connect(address: &Address, patience: Duration) -> Result<MariaDb> {
        let place: Arc<str> = address.to_string().into();
        let clock_ahead = Arc::new(AtomicI64::new(0));
        let mut first = within(CONNECT, &place, address.options().connect()).await?;
        let prepared = async {
            tables::check_server(&mut first, &place).await?;
            let created = tables::bring_up_to_date(&mut first, &place, patience).await?;
            compare_clocks(&mut first, &clock_ahead).await.map_err(|e| classify(e, &place))?;
            Ok(created)
        };
        let created = prepared.await?;
        // Its work is done; that it could not say goodbye changes nothing.
        let _ = first.close().await;
        let engine = MariaDb {
            readers: pool(address, READERS, "REPEATABLE READ", None),
            writers: pool(address, WRITERS, "SERIALIZABLE", Some(Arc::clone(&clock_ahead))),
            address: address.clone(),
            place,
            patience,
            created,
            marks: Arc::default(),
            clock_ahead,
        };
        Ok(engine)
    }

    pub(super) fn place(&self) -> Arc<str> {
        Arc::clone(&self.place)
    }

    pub(super) fn created(&self) -> bool {
        self.created
    }

    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    pub(super) fn clock_ahead(&self) -> SignedDuration {
        let ahead = SignedDuration::from_micros(self.clock_ahead.load(Ordering::Relaxed));
        if ahead.abs() < SAME_CLOCK { SignedDuration::ZERO } else { ahead }
    }

    pub(super) async fn begin(&self, kind: Kind) -> Result<Transaction> {
        let pool = if kind == Kind::Read { &self.readers } else { &self.writers };
        let connection = match pool.acquire().await {
            Ok(connection) => connection,
            Err(sqlx::Error::PoolTimedOut) => return Err(self.why().await),
            Err(error) => return Err(classify(error, &self.place)),
        };
        let mut transaction = Transaction {
            connection: Some(connection),
            mark: (kind != Kind::Read).then(|| self.marks.next()),
            place: self.place(),
        };
        let begin = match &transaction.mark {
            None => "START TRANSACTION READ ONLY".to_owned(),
            Some(mark) => format!("START TRANSACTION; {}", mark.leave()),
        };
        transaction.plain(begin).await?;
        Ok(transaction)
    }

    /// Whether the transaction that left this mark was committed. Waits for it where it is still on its way:
    /// its mark's row is locked until then.
    pub(super) async fn has_happened(&self, mark: &Mark) -> Result<bool> {
        let mut transaction = self.begin(Kind::Write).await?;
        let found = transaction.all(mark.look()).await;
        transaction.roll_back().await;
        let row = found?.into_iter().next();
        let left: Option<i64> = match row {
            Some(row) => Some(row.get("mark").map_err(|e| classify(e, &self.place))?),
            None => None,
        };
        Ok(left == Some(mark.number()))
    }

    /// What is wrong with the tables, for a person.
    pub(super) async fn check(&self) -> Result<Vec<String>> {
        let mut connection = self.readers.acquire().await.map_err(|e| classify(e, &self.place))?;
        tables::check(&mut connection).await.map_err(|e| classify(e, &self.place))
    }

    pub(super) async fn close(&self) {
        self.readers.close().await;
        self.writers.close().await;
    }

    /// Why no connection was to be had: asks the server itself.
    async fn why(&self) -> Error {
        match within(CONNECT, &self.place, self.address.options().connect()).await {
            Err(error) => error,
            Ok(connection) => {
                let _ = connection.close().await;
                Error::Locked { place: self.place(), waited: ACQUIRE }
            }
        }
    }
}

/// How long a connection of a pool is waited for; why there was none is asked afterwards.
const ACQUIRE: Duration = Duration::from_secs(5);

fn pool(address: &Address, size: u32, isolation: &'static str, clock: Option<Arc<AtomicI64>>) -> MySqlPool {
    // Strict, whatever the server's own settings are: a value that does not fit is an error, never cut off.
    let settings = format!(
        "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', autocommit = 1, \
         tx_isolation = '{}', innodb_lock_wait_timeout = 10, idle_write_transaction_timeout = {IDLE_LIMIT}",
        isolation.replace(' ', "-")
    );
    MySqlPoolOptions::new()
        .max_connections(size)
        .test_before_acquire(false)
        .acquire_timeout(ACQUIRE)
        .after_connect(move |connection, _| {
            let settings = settings.clone();
            let clock = clock.clone();
            Box::pin(async move {
                sqlx::raw_sql(AssertSqlSafe(settings)).execute(&mut *connection).await?;
                match clock {
                    Some(clock) => compare_clocks(connection, &clock).await,
                    None => Ok(()),
                }
            })
        })
        .connect_lazy_with(address.options())
}

/// How far the server's clock is ahead of ours.
async fn compare_clocks(connection: &mut MySqlConnection, ahead: &AtomicI64) -> Result<(), sqlx::Error> {
    let before = Timestamp::now();
    let row = sqlx::query("SELECT CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED) AS n")
        .fetch_one(&mut *connection)
        .await?;
    let after = Timestamp::now();
    let theirs: i64 = row.try_get("n")?;
    let ours = before.as_microsecond().midpoint(after.as_microsecond());
    ahead.store(theirs.saturating_sub(ours), Ordering::Relaxed);
    Ok(())
}

/// What the server answers, unless it takes too long.
async fn within<T>(
    limit: Duration,
    place: &Arc<str>,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T> {
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done.map_err(|error| classify(error, place)),
        Err(_) => Err(Error::Unreachable {
            place: Arc::clone(place),
            reason: "it does not answer".to_owned(),
            waited: limit,
        }),
    }
}

/// A transaction: every statement goes through here, so every failure is classified in one place.
pub(super) struct Transaction {
    /// Taken out at a clean end; what is still here is closed.
    connection: Option<PoolConnection<MySql>>,
    mark: Option<Mark>,
    place: Arc<str>,
}

impl Transaction {
    /// Runs a statement; returns how many rows it touched (also those that were so already).
    pub(super) async fn execute(&mut self, statement: Statement) -> Result<u64> {
        let place = Arc::clone(&self.place);
        let (text, values, _) = statement.into_parts(Dialect::MariaDb);
        let query = bound::<MySql>(text, values);
        let done = within(ANSWER, &place, query.execute(&mut **self.connection()?)).await?;
        Ok(done.rows_affected())
    }

    pub(super) async fn all(&mut self, statement: Statement) -> Result<Vec<AnyRow>> {
        let place = Arc::clone(&self.place);
        let (mut text, values, for_change) = statement.into_parts(Dialect::MariaDb);
        if for_change {
            text.push_str(" FOR UPDATE");
        }
        let query = bound::<MySql>(text, values);
        let rows = within(ANSWER, &place, query.fetch_all(&mut **self.connection()?)).await?;
        Ok(rows.into_iter().map(AnyRow::MariaDb).collect())
    }

    /// Statements without values or rows.
    async fn plain(&mut self, text: String) -> Result<()> {
        let place = Arc::clone(&self.place);
        let connection = self.connection()?;
        within(ANSWER, &place, sqlx::raw_sql(AssertSqlSafe(text)).execute(&mut **connection)).await?;
        Ok(())
    }

    pub(super) async fn commit(mut self) -> Result<(), NotCommitted> {
        match self.plain("COMMIT".to_owned()).await {
            Ok(()) => {
                drop(self.connection.take());
                Ok(())
            }
            Err(error @ Error::Unreachable { .. }) => match self.mark.take() {
                Some(mark) => Err(NotCommitted::Unknown(error, mark)),
                None => Err(NotCommitted::No(error)),
            },
            Err(error) => Err(NotCommitted::No(error)),
        }
    }

    /// What can't be rolled back any more is, by its end.
    pub(super) async fn roll_back(mut self) {
        if self.plain("ROLLBACK".to_owned()).await.is_ok() {
            drop(self.connection.take());
        }
    }

    fn connection(&mut self) -> Result<&mut PoolConnection<MySql>> {
        self.connection.as_mut().ok_or_else(|| Error::Refused {
            place: Arc::clone(&self.place),
            reason: "the transaction has ended".to_owned(),
        })
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.close_on_drop();
        }
    }
}
