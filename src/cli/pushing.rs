//! Pushing disks to a hub: what lies between a backup that was accepted and its end.
//!
//! Three things go on at once: the disks are written (`agent`), the hub is told how far that is, and the job is followed
//! as any other is. The first to end decides: a job that ended elsewhere (a request to cancel, a signal here that the
//! follower has passed on, a hub that can't go on) ends the writing; a writer that failed has the hub told why.

use crate::backup_job;
use crate::connect::During;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::follow::{Follow, ended_badly};
use agent::Push;
pub use agent::{Disks, PushOptions};
use api::{Backup, Client, ErrorCode, Telemetry};
use model::{JobId, JobType, SourceUri};
use std::pin::pin;
use std::time::Duration;

/// How often the hub is told how far it is.
const TELL: Duration = Duration::from_secs(5);
/// How long the exports of a backup that was accepted may take to appear, and how often they are looked for.
const OPENING: Duration = Duration::from_secs(300);
const LOOK: Duration = Duration::from_millis(500);

/// Opens the sources.
///
/// # Errors
/// The first that can't be read.
pub fn open(sources: &[SourceUri]) -> Result<Disks> {
    Disks::open(sources).map_err(|error| failure(&error))
}

/// Pushes all disks of an accepted backup, completes it, and follows it to its end.
///
/// # Errors
/// Why it is no point; the hub has been told, where that was possible.
pub async fn whole(
    follow: &Follow<'_>,
    client: &Client,
    disks: Disks,
    backup: Backup,
    options: &PushOptions,
) -> Result<Backup> {
    let id: JobId = backup.id.clone().into();
    let what = format!("the backup of {} failed", backup.vm_name);
    let task = backup_job::task(&backup);
    let backup = opened(client, backup).await?;
    let mut push = match disks.push(&backup, options) {
        Ok(push) => push,
        Err(error) => {
            // Nobody will write to it.
            client.cancel_backup(&backup.id).await.during(|| format!("{} can't be cancelled", backup.id))?;
            return Err(failure(&error));
        }
    };
    let note = backup_job::started(&backup, follow.ui());
    let mut job = pin!(follow.job(task, &note));
    let sent = tokio::select! {
        ended = &mut job => {
            // It was cancelled, or the hub could not go on.
            push.stop();
            let ended = ended?;
            return match follow.outcome(ended, &what) {
                Ok(_) => client.backup(&backup.id).await.during(|| format!("{} can't be shown", backup.id)),
                Err(failure) => Err(failure),
            };
        }
        sent = send(&mut push, client, &id) => sent,
    };
    match sent {
        Ok(()) => {
            // That it has ended meanwhile is told by the job.
            if let Err(error) = client.complete_backup(&backup.id).await
                && error.code() != ErrorCode::JobEnded
            {
                return Err(error).during(|| format!("{} was sent, but can't be completed", backup.id));
            }
            let ended = job.await?;
            follow.outcome(ended, &what)?;
            client.backup(&backup.id).await.during(|| format!("{} was made but can't be shown", backup.id))
        }
        Err(error) => {
            let last: Telemetry = push.failed(&error);
            if client.send_telemetry(JobType::Backup, &id, &last).await.is_err() {
                // The hub is not there, or has ended it: whichever it is, nothing can be done from here.
                return Err(failure(&error));
            }
            let ended = job.await?;
            match ended.error_code.as_deref() {
                // What the hub was told by us says it better in our words.
                Some("source_unavailable") => Err(failure(&error)),
                _ => Err(ended_badly(&ended, &what, follow.stopping())),
            }
        }
    }
}

/// Waits until all is sent, and tells the hub every now and then how far it is.
async fn send(push: &mut Push, client: &Client, id: &JobId) -> agent::Result<()> {
    let mut tell = tokio::time::interval(TELL);
    loop {
        tokio::select! {
            done = push.done() => return done,
            _ = tell.tick() => {}
        }
        // One that is lost is made good by the next; the data itself is a sign of life.
        let now = push.telemetry();
        let _ = client.send_telemetry(JobType::Backup, id, &now).await;
    }
}

/// The backup when its exports are there.
async fn opened(client: &Client, mut backup: Backup) -> Result<Backup> {
    let what = format!("{} has nowhere to write to", backup.id);
    let opened = tokio::time::timeout(OPENING, async {
        while backup.nbd_targets_string.is_empty() && !backup.status.is_final() {
            tokio::time::sleep(LOOK).await;
            backup = client.backup(&backup.id).await.during(|| what.clone())?;
        }
        Ok::<_, Failure>(backup)
    });
    match opened.await {
        Ok(Ok(backup)) if backup.nbd_targets_string.is_empty() => {
            let why = backup.error_message.clone().unwrap_or_else(|| format!("it is {}", backup.status));
            Err(Failure::new(Exit::Failed, "internal", what).why(why))
        }
        Ok(opened) => opened,
        Err(_) => {
            Err(Failure::new(Exit::Unreachable, "timed_out", what).why("the hub did not open its exports"))
        }
    }
}

/// A failure on this side, for a person.
fn failure(error: &agent::Error) -> Failure {
    let code = error.code();
    let failure = Failure::new(Exit::from_number(code.exit_code()), code.as_str(), "nothing was pushed")
        .why(error.to_string());
    match error {
        agent::Error::Source { .. } => failure.next("check that the source exists and may be read, then push again"),
        agent::Error::Export { .. } => failure.next(
            "check that the hub's push.listen and push.ports can be reached from here, or that a tunnel leads there",
        ),
        agent::Error::Answer(_) | agent::Error::Cancelled => failure,
    }
}
