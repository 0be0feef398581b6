//! Pushing disks to a hub: what lies between a backup that was accepted and its end.
//!
//! Three things go on at once: the disks are written (`agent`), the hub is told how far that is, and the job is followed
//! as any other is. The first to end decides: a job that ended elsewhere (a request to cancel, a signal here that the
//! follower has passed on, a hub that can't go on) ends the writing; a writer that failed has the hub told why.

use crate::backup_job;
use crate::connect::During;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::follow::{Follow, ended_badly, is_away};
use agent::Gauge;
pub use agent::{Disks, PushOptions};
use api::{Backup, Client, ClientError, ErrorCode, JobView, Telemetry};
use model::{BackupId, JobId, JobType, SourceUri, Status, shell_word};
use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;
use tokio::time::MissedTickBehavior;

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
    let task = backup_job::task(&backup);
    let backup = opened(client, backup).await?;
    let mut push = match disks.push(&backup, options) {
        Ok(push) => push,
        Err(error) => {
            // Nobody will write to it; where it can't be told, silence ends it.
            let _ = client.cancel_backup(&backup.id).await;
            return Err(failure(&error));
        }
    };
    let note = backup_job::started(&backup, follow.ui());
    let mut job = pin!(follow.job(task, &note));
    let sent = {
        let mut telling = pin!(tell(push.gauge(), client, &id));
        tokio::select! {
            ended = &mut job => {
                // It was cancelled, or the hub could not go on.
                push.stop();
                let ended = ended?;
                return Err(match ended.status {
                    Status::Completed => unfinished(&backup),
                    _ => unmade(&ended, follow),
                });
            }
            sent = push.done() => sent,
            never = &mut telling => match never {},
        }
    };
    match sent {
        Ok(()) => {
            let ended = tokio::select! {
                biased;
                ended = &mut job => ended?,
                completed = complete(client, &backup.id) => {
                    completed.during(|| format!("{} was sent, but can't be completed", backup.id))?;
                    job.await?
                }
            };
            match ended.status {
                Status::Completed => backup_job::record(follow, client, &backup, &ended).await,
                _ => Err(unmade(&ended, follow)),
            }
        }
        Err(error) => {
            let last: Telemetry = push.gauge().failed(&error);
            match client.send_telemetry(JobType::Backup, &id, &last).await {
                Ok(_) => {}
                // It has ended before, which is why it could not be written: its record says what happened.
                Err(refused) if refused.code() == ErrorCode::JobEnded => {}
                Err(_) => return Err(failure(&error)),
            }
            let ended = job.await?;
            Err(match (ended.status, ended.error_code.as_deref()) {
                (Status::Completed, _) => unfinished(&backup),
                // What the hub was told by us says it better in our words.
                (_, Some("source_unavailable")) => failure(&error),
                _ => unmade(&ended, follow),
            })
        }
    }
}

/// Somebody else has said that all is written.
fn unfinished(backup: &Backup) -> Failure {
    let id = &backup.id;
    Failure::new(Exit::Incomplete, "conflict", format!("{id} was completed before all was sent"))
        .why("somebody else has completed it: it lacks what was not there yet")
        .next(format!("push again, and remove it: sendense-ctl backup delete {}", shell_word(id.as_str())))
}

/// Why a job that has ended made no point. Trying again is to push again: what was sent is gone.
fn unmade(ended: &JobView, follow: &Follow<'_>) -> Failure {
    let verb = if ended.status == Status::Cancelled { "was cancelled" } else { "failed" };
    let vm = ended.vm_name.as_ref().map(|vm| format!(" of {vm}")).unwrap_or_default();
    let failure = ended_badly(ended, &format!("the backup{vm} {verb}"), follow.stopping());
    let next = match failure.exit {
        Exit::NoSpace => "see the room with: sendense-ctl repo list; make some, then push again",
        Exit::Unreachable => "see what is wrong: sendense-ctl doctor; then push again",
        _ => "push again",
    };
    failure.next(next)
}

/// Says that all is written, until the hub has heard it. How long that is tried is for who follows the job.
async fn complete(client: &Client, id: &BackupId) -> std::result::Result<(), ClientError> {
    loop {
        match client.complete_backup(id).await {
            Err(error) if is_away(&error) => tokio::time::sleep(LOOK).await,
            // That it has ended meanwhile is told by the job.
            Err(error) if error.code() == ErrorCode::JobEnded => return Ok(()),
            other => return other.map(drop),
        }
    }
}

/// Tells the hub every now and then how far it is.
async fn tell(mut gauge: Gauge, client: &Client, id: &JobId) -> Infallible {
    let mut tell = tokio::time::interval(TELL);
    tell.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tell.tick().await;
        // One that is lost is made good by the next; the data itself is a sign of life.
        let now = gauge.telemetry();
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
        agent::Error::Export { reason, .. } if reason.contains("certificate") => failure.next(
            "name the folder with ca-cert.pem, the authority of the certificate of the hub's exports: --tls-certificates DIR",
        ),
        agent::Error::Export { .. } => failure.next(
            "check that the hub's push.listen and push.ports can be reached from here, or that a tunnel leads there",
        ),
        agent::Error::Misnamed { .. } | agent::Error::Answer(_) | agent::Error::Cancelled => failure,
    }
}
