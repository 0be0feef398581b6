//! A transaction from its beginning to its end, run again where the server asks for it.
//!
//! SQLite's runs once: it waits for its lock at its beginning and then is alone. MariaDB's may be refused
//! half-way, because another transaction needs the same rows in another order (a deadlock: one of them is to
//! try again), or because the server is gone. Both are tried again until the patience ends, so a server
//! that is restarted under a backup loses nothing: its writes wait, and then follow in their order, because
//! who writes waits for each.
//!
//! When the connection is lost while a commit is on its way, nobody can tell from here whether it happened.
//! Then the server is asked for the transaction's mark (`mariadb::marks`); what did happen is not done again.

use super::{Engine, Kind, SERVER_PATIENCE, Session};
use crate::{Error, Result};
use std::time::{Duration, Instant};

/// Runs work in a transaction: `transaction!(self.engine.write(), |session| { …; Ok(answer) })`.
macro_rules! transaction {
    ($turn:expr, |$session:ident| $work:expr) => {{
        let mut turn = $turn;
        loop {
            let mut held = match turn.begin().await {
                Ok(held) => held,
                Err(error) => break Err(error),
            };
            let $session = &mut held;
            let answer = $crate::engine::typed(async { $work }).await;
            if let Some(answer) = turn.settle(held, answer).await {
                break answer;
            }
        }
    }};
}
pub(crate) use transaction;

/// Says that work ends with this crate's result.
pub(crate) fn typed<T, F: Future<Output = Result<T>>>(work: F) -> F {
    work
}

/// How long who reads waits for a server that can't be reached.
const READ_PATIENCE: Duration = Duration::from_secs(30);

/// How long what is written often waits: it comes again by itself.
const LIGHT_PATIENCE: Duration = Duration::from_secs(10);

/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// One transaction, until it has happened or failed.
pub(crate) struct Turn<'e> {
    engine: &'e Engine,
    kind: Kind,
    begun: Instant,
    tries: u32,
}

impl<'e> Turn<'e> {
    pub(super) fn new(engine: &'e Engine, kind: Kind) -> Turn<'e> {
        Turn { engine, kind, begun: Instant::now(), tries: 0 }
    }

    /// The next attempt.
    pub(crate) async fn begin(&mut self) -> Result<Session> {
        loop {
            match self.engine.begin(self.kind).await {
                Err(error) if self.again(&error).await => {}
                Err(error) => return Err(self.in_all(error)),
                Ok(session) => return Ok(session),
            }
        }
    }

    /// Ends an attempt: commits where the work succeeded. `None` where it must be done again.
    pub(crate) async fn settle<T>(&mut self, session: Session, answer: Result<T>) -> Option<Result<T>> {
        let Session { transaction, keep, .. } = session;
        let failed = match answer {
            Ok(answer) if !keep => {
                transaction.roll_back().await;
                return Some(Ok(answer));
            }
            Ok(answer) => match transaction.commit().await {
                Ok(()) => return Some(Ok(answer)),
                Err(NotCommitted::No(error)) => error,
                Err(NotCommitted::Unknown(error, mark)) => match self.ask_for(&error, mark).await {
                    Ok(true) => return Some(Ok(answer)),
                    Ok(false) => error,
                    Err(error) => return Some(Err(error)),
                },
            },
            Err(error) => {
                transaction.roll_back().await;
                error
            }
        };
        if self.again(&failed).await { None } else { Some(Err(self.in_all(failed))) }
    }

    /// Whether a transaction whose commit got no answer has happened.
    async fn ask_for(&mut self, error: &Error, mark: super::mariadb::Mark) -> Result<bool> {
        let Engine::MariaDb(engine) = self.engine else { return Ok(false) };
        let mut last = None;
        while self.again(last.as_ref().unwrap_or(error)).await {
            match engine.has_happened(&mark).await {
                Ok(happened) => return Ok(happened),
                Err(error) => last = Some(error),
            }
        }
        let reason = format!("{error}; whether the last change was made is not known");
        Err(Error::Unreachable { place: self.engine.place(), reason, waited: self.begun.elapsed() })
    }

    /// Pauses where another attempt may help and there is time for it.
    async fn again(&mut self, error: &Error) -> bool {
        if !error.is_passing() || self.begun.elapsed() >= self.patience() {
            return false;
        }
        // At once the first time: a pooled connection may be of before a restart.
        let pause = match self.tries {
            0 => Duration::ZERO,
            tries => Duration::from_millis(5 << tries.min(10)).min(LONGEST_PAUSE),
        };
        self.tries += 1;
        if self.tries == 2 {
            tracing::warn!(%error, "the catalog's server is asked again");
        }
        tokio::time::sleep(pause.mul_f64(jitter())).await;
        true
    }

    fn patience(&self) -> Duration {
        let Engine::MariaDb(engine) = self.engine else { return Duration::ZERO };
        match self.kind {
            Kind::Read => READ_PATIENCE.min(engine.patience()),
            Kind::Light => LIGHT_PATIENCE.min(engine.patience()),
            Kind::Write => engine.patience(),
        }
    }

    /// The failure of the last attempt, with the time of all.
    fn in_all(&self, error: Error) -> Error {
        match error {
            Error::Unreachable { place, reason, .. } => {
                Error::Unreachable { place, reason, waited: self.begun.elapsed() }
            }
            Error::Deadlock { place, .. } => Error::Locked { place, waited: self.begun.elapsed() },
            other => other,
        }
    }
}

/// Between a half and one, so that two who stood in each other's way don't meet again.
fn jitter() -> f64 {
    0.5 + f64::from(uuid::Uuid::new_v4().as_bytes()[0]) / 512.0
}

/// Why a commit did not succeed.
pub(super) enum NotCommitted {
    /// It has not happened.
    No(Error),
    /// The connection was lost meanwhile: the mark tells.
    Unknown(Error, super::mariadb::Mark),
}

impl super::Transaction {
    async fn commit(self) -> Result<(), NotCommitted> {
        match self {
            super::Transaction::Sqlite(transaction) => transaction.commit().await.map_err(NotCommitted::No),
            super::Transaction::MariaDb(transaction) => transaction.commit().await,
        }
    }

    /// What can't be rolled back any more is, by its end.
    async fn roll_back(self) {
        match self {
            super::Transaction::Sqlite(transaction) => transaction.roll_back().await,
            super::Transaction::MariaDb(transaction) => transaction.roll_back().await,
        }
    }
}

const _: () = assert!(SERVER_PATIENCE.as_secs() * 2 <= crate::HEARTBEAT_LIMIT.as_secs() as u64);
