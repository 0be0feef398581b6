//! Backups whose disks a client writes: one export of our NBD server a disk, until the client says that it is done.
//!
//! The job is a backup like any other (`backup`): its lease, its record, its transaction. Only the phase in which data
//! moves differs: instead of copying from a source each disk has a thread that makes a [`PushDisk`], serves it at a port
//! of its own ([`serve`]), and waits in the [`Session`] for the client's word. Then nothing more is taken, and the
//! disk's files are made durable. Whatever ends the job before that (a request, a limit, silence, a full disk, the
//! hub's own end) closes the ports and removes the files; a killed process leaves partial files, which the next one
//! removes with all others.
//!
//! What a client sends is hostile: it can write nothing but its own disks, of the sizes it has named.

mod core;
mod disk;
mod life;
mod parts;
mod ranges;
mod receive;
mod serve;
mod session;
mod touched;
mod vm;

pub(crate) use receive::{Receiving, receive};
pub use serve::PushTarget;
pub(crate) use serve::certificates;
pub(crate) use session::{Known, Session, Sessions};

use crate::control::Stop;
use crate::{Error, Hub, Result};
use api::{JobView, Telemetry};
use model::{Backup, BackupId, Status};
use std::time::Duration;

/// How long the answer to a start waits for the exports; whoever gets it without them asks again.
const OPENING: Duration = Duration::from_secs(30);

impl Hub {
    /// The exports of a backup that a client writes, while they are there and if this process serves them.
    pub fn push_targets(&self, id: &BackupId) -> Vec<PushTarget> {
        self.inner.sessions.get(id).map(|session| session.targets()).unwrap_or_default()
    }

    /// The client of a backup has written everything. It is a point when its state says so.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Ended`]; [`Error::Conflict`] where no client writes it, it is not ready for one, or
    /// another process receives it.
    pub async fn complete_backup(&self, id: &BackupId) -> Result<Backup> {
        let record = self.backup(id).await?;
        if record.status.is_final() {
            return Err(Error::Ended { id: id.to_string(), status: record.status });
        }
        let Some(session) = self.inner.sessions.get(id) else {
            return Err(not_theirs(&record));
        };
        if !session.complete() {
            return Err(Error::Conflict {
                message: format!("{id} is not ready to be written yet"),
                hint: "wait until nbd_targets_string names its exports".into(),
            });
        }
        Ok(record)
    }

    /// Waits until the exports of a backup are there, and gives its record; where it fails before, why.
    pub(crate) async fn until_open(&self, record: Backup, session: &Session) -> Result<Backup> {
        let id = record.id.clone();
        let ended = tokio::select! {
            biased;
            () = session.opened() => None,
            ended = self.wait(id.as_str()) => Some(ended?),
            () = tokio::time::sleep(OPENING) => return Ok(record),
        };
        match ended {
            None => self.backup(&id).await,
            Some(JobView { status: Status::Completed, .. }) => self.backup(&id).await,
            Some(job) => Err(Error::Job {
                code: job.error_code.and_then(|code| code.parse().ok()),
                message: job.error_message.unwrap_or_else(|| format!("{id} is {}", job.status)),
            }),
        }
    }

    /// What the client of a backup wants, besides telling how far it is.
    pub(crate) fn obey(&self, id: &BackupId, session: &Session, message: &Telemetry) -> Result<()> {
        match message.status {
            Status::Completed if !session.complete() => {
                return Err(Error::Conflict {
                    message: format!("{id} is not ready to be written yet"),
                    hint: "wait until nbd_targets_string names its exports".into(),
                });
            }
            Status::Failed => {
                let said = message.error.as_deref().unwrap_or("it did not say why");
                // It becomes a line of a record and of logs.
                let said: String =
                    said.chars().map(|c| if c.is_control() { ' ' } else { c }).take(500).collect();
                self.inner.registry.stop_for(id.as_str(), Stop::Reported(said));
            }
            Status::Cancelled => {
                self.inner.registry.stop_for(id.as_str(), Stop::Cancelled);
            }
            Status::Completed | Status::Pending | Status::Running | Status::Stalled => {}
        }
        Ok(())
    }
}

/// What a client is told that ends a backup which this process does not receive.
pub(crate) fn not_theirs(record: &Backup) -> Error {
    let id = &record.id;
    match record.is_push() {
        true => Error::Conflict {
            message: format!("{id} is received by another process"),
            hint: "ask the hub at which it was started".into(),
        },
        false => Error::Conflict {
            message: format!("{id} is not written by a client: the hub ends it by itself"),
            hint: "`sendense-ctl backup watch` shows how it goes".into(),
        },
    }
}
