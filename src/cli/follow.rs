//! Following jobs to their end: progress to the reporter, signals to the jobs, one result a job.
//!
//! A [`Follow`] serves any number of jobs at once, from one task of one thread. The first signal to stop is
//! passed on to every job as a request to cancel (or, for a job that is only watched, ends the watching);
//! the jobs are then followed on until they have ended. A stream of events that breaks off is taken up
//! again; what counts in the end is the job's own record.

use crate::connect::During;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::interrupt::{Interrupts, Wish};
use crate::progress::{Reporter, Task};
use crate::ui::Ui;
use api::{Client, ClientError, ErrorCode, Event, JobView};
use futures_util::future::join_all;
use model::{JobId, JobType, Status, shell_word};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// How often in a row the events of a job may break off while the hub answers.
const MAX_BREAKS: u32 = 5;

/// How long a hub may not answer at all before it is given up, and how long to wait between two tries.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(500);

/// What a signal to stop means for the jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnStop {
    /// They are ours: cancel them and wait. Where a hub elsewhere runs them a terminal that is closed is no wish to cancel.
    Cancel,
    /// They can't go on without this process: cancel them and wait.
    CancelAlways,
    /// They are someone else's: leave them running.
    Leave,
}

/// Follows jobs.
#[derive(Debug)]
pub struct Follow<'a> {
    client: &'a Client,
    ui: &'a Ui,
    on_stop: OnStop,
    reporter: RefCell<Reporter>,
    stop: Cell<Option<Exit>>,
    stopped: Notify,
}

impl<'a> Follow<'a> {
    /// Follows jobs of that hub for that user.
    pub fn new(client: &'a Client, ui: &'a Ui, on_stop: OnStop, reporter: Reporter) -> Self {
        Follow {
            client,
            ui,
            on_stop,
            reporter: RefCell::new(reporter),
            stop: Cell::new(None),
            stopped: Notify::new(),
        }
    }

    /// The user's side.
    pub fn ui(&self) -> &Ui {
        self.ui
    }

    /// Runs all `works` at once to their end, while signals are obeyed.
    pub async fn all<T>(
        &self,
        interrupts: &mut Interrupts,
        works: impl IntoIterator<Item = impl Future<Output = T>>,
    ) -> Vec<T> {
        let mut works = pin!(join_all(works));
        let ends = loop {
            tokio::select! {
                wish = interrupts.next() => self.obey(wish),
                ends = &mut works => break ends,
            }
        };
        self.ui.screen.clear();
        ends
    }

    fn obey(&self, wish: Wish) {
        match wish {
            Wish::Status => {
                for line in self.reporter.borrow().status_lines(self.ui) {
                    self.ui.screen.line(&line);
                }
            }
            Wish::Stop(exit) => {
                self.stop.set(Some(exit));
                self.ui.screen.abandon();
                if !self.leaves(exit) {
                    self.ui.note("cancelling; once more to end at once");
                }
                self.stopped.notify_waiters();
            }
        }
    }

    /// Whether the jobs go on where that signal stops this process.
    fn leaves(&self, exit: Exit) -> bool {
        match self.on_stop {
            OnStop::Cancel => exit == Exit::HungUp && !self.client.is_in_process(),
            OnStop::CancelAlways => false,
            OnStop::Leave => true,
        }
    }

    /// The code to end with, once a signal asked to stop.
    pub fn stopping(&self) -> Option<Exit> {
        self.stop.get()
    }

    /// Waits for a signal to stop.
    pub async fn stopped(&self) -> Exit {
        loop {
            if let Some(exit) = self.stop.get() {
                return exit;
            }
            self.stopped.notified().await;
        }
    }

    /// Follows a job to its end. `note` says what was begun, for a person.
    ///
    /// # Errors
    /// Where the hub does not answer any more, or the watching was interrupted. How the job ended is in its
    /// record, see [`outcome`](Self::outcome).
    pub async fn job(&self, task: Task, note: &str) -> Result<JobView> {
        let id = JobId::new(task.job_id.as_str())
            .map_err(|error| Failure::local("the job can't be followed", &error))?;
        let label = task.label().to_owned();
        let handle = self.reporter.borrow_mut().begin(self.ui, task, note);
        let ended = self.until_final(&id, &label, handle).await;
        self.reporter.borrow_mut().end(handle);
        ended
    }

    async fn until_final(&self, id: &JobId, label: &str, handle: usize) -> Result<JobView> {
        let mut asked = false;
        let mut breaks = 0;
        let mut lost: Option<Instant> = None;
        loop {
            let broken = match self.client.job_events(id).await {
                Ok(mut events) => loop {
                    tokio::select! {
                        exit = self.stopped(), if !asked => {
                            asked = true;
                            self.ask_to_end(id, label, exit).await?;
                        }
                        event = events.next() => match event {
                            Ok(Some(Event::Progress(now))) => {
                                breaks = 0;
                                self.reporter.borrow_mut().progress(self.ui, handle, now);
                            }
                            Ok(Some(Event::Final(job))) => return Ok(*job),
                            Ok(Some(Event::Error(_)) | None) => break None,
                            Err(error) => break Some(error),
                        }
                    }
                },
                Err(error) => Some(error),
            };
            let job = match self.client.job(id).await {
                Err(error) if is_away(&error) => {
                    let since = *lost.get_or_insert_with(|| {
                        let what = match &error {
                            ClientError::Transport(_) => "the connection to the hub is lost".to_owned(),
                            other => other.to_string(),
                        };
                        self.ui.note(&format!("{label}: {what}, trying again"));
                        Instant::now()
                    });
                    if since.elapsed() > PATIENCE {
                        return Err(error).during(|| format!("{label} can't be followed any more"));
                    }
                    tokio::select! {
                        exit = self.stopped() => return self.lose(id, label, exit),
                        () = tokio::time::sleep(PAUSE) => continue,
                    }
                }
                other => other.map_err(|error| self.give_up(id, label, error))?,
            };
            if lost.take().is_some() {
                breaks = 0;
                self.ui.note(&format!("{label}: the hub is back"));
            }
            if job.status.is_final() {
                return Ok(job);
            }
            breaks += 1;
            if let (Some(error), true) = (broken, breaks > MAX_BREAKS) {
                return Err(error).during(|| format!("{label} can't be followed any more"));
            }
            tokio::time::sleep(Duration::from_millis(200) * breaks).await;
        }
    }

    /// The hub does not let this be watched any more.
    fn give_up(&self, id: &JobId, label: &str, error: ClientError) -> Failure {
        let logged_out = error.code() == ErrorCode::Unauthorized;
        let failure = Failure::from(error).during(format!("{label} can't be followed any more"));
        match logged_out {
            true => failure.next(format!(
                "the job goes on: log in again, then: sendense-ctl backup watch {}",
                shell_word(id.as_str())
            )),
            false => failure,
        }
    }

    /// A signal came while the hub does not answer: the job can't be asked to end.
    fn lose(&self, id: &JobId, label: &str, exit: Exit) -> Result<JobView> {
        Err(Failure::new(exit, "interrupted", format!("stopped following {label}"))
            .why("the hub does not answer; whether the job goes on is not known")
            .next(format!("sendense-ctl backup watch {}", shell_word(id.as_str()))))
    }

    async fn ask_to_end(&self, id: &JobId, label: &str, exit: Exit) -> Result<()> {
        if self.leaves(exit) {
            return Err(Failure::new(exit, "interrupted", format!("stopped watching {label}"))
                .why("the job itself goes on")
                .next(format!("sendense-ctl backup watch {}", shell_word(id.as_str()))));
        }
        match self.client.cancel_job(id).await {
            Err(error) if error.code() != ErrorCode::JobEnded => {
                self.ui.warn(&format!("{label} could not be cancelled: {error}"));
            }
            _ => {}
        }
        Ok(())
    }

    /// The job if it completed; what to tell the user if it did not.
    ///
    /// # Errors
    /// It failed or was cancelled.
    pub fn outcome(&self, job: JobView, what: &str) -> Result<JobView> {
        if job.status == Status::Completed {
            return Ok(job);
        }
        Err(ended_badly(&job, what, self.stopping()))
    }
}

/// True where the hub, or what it works with, does not answer now and may do so again.
pub(crate) fn is_away(error: &ClientError) -> bool {
    let passing = [ErrorCode::HubUnreachable, ErrorCode::CatalogUnavailable, ErrorCode::CatalogLocked]
        .contains(&error.code());
    passing && matches!(error, ClientError::Transport(_) | ClientError::Api(_))
}

/// Why a job that has ended did not complete. `what` is the headline; `stop` the code of a signal that asked
/// for the end.
pub fn ended_badly(job: &JobView, what: &str, stop: Option<Exit>) -> Failure {
    let code = job.error_code.clone().unwrap_or_else(|| match job.status {
        Status::Cancelled => ErrorCode::Cancelled.as_str().to_owned(),
        _ => ErrorCode::Internal.as_str().to_owned(),
    });
    let known = code.parse::<ErrorCode>().unwrap_or(ErrorCode::Internal);
    let exit = match (job.status, stop) {
        (Status::Cancelled, Some(exit)) => exit,
        _ => Exit::from_number(known.exit_code()),
    };
    let why = match (job.status, &job.error_message) {
        (Status::Cancelled, _) if job.job_type == JobType::Consolidate => {
            "it was asked to end; all backups that are left are whole".to_owned()
        }
        (Status::Cancelled, Some(message)) if message != "cancelled" => {
            format!("{message}; nothing of it is left")
        }
        (Status::Cancelled, _) => "it was asked to end; nothing of it is left".to_owned(),
        (_, Some(message)) => message.clone(),
        (status, None) => format!("the job ended as {status}"),
    };
    let mut failure = Failure::new(exit, &code, what).why(why);
    failure.next = job.error_hint.clone().or_else(|| hint(job, known));
    failure
}

/// What to do next, where the hub does not say it.
fn hint(job: &JobView, code: ErrorCode) -> Option<String> {
    const REPOSITORY: &str = "see what is wrong: sendense-ctl repo list; sendense-ctl repo test NAME";
    if job.job_type != JobType::Backup {
        return (code == ErrorCode::RepositoryUnavailable).then(|| REPOSITORY.to_owned());
    }
    let retry = format!("sendense-ctl backup retry {}", shell_word(job.id.as_str()));
    let vm = job.vm_name.as_ref().map(|vm| shell_word(vm.as_str()));
    Some(match (code, vm) {
        (ErrorCode::SourceUnavailable | ErrorCode::TrackingLost, Some(vm)) => {
            format!("look at its disks with: sendense-ctl vm show {vm}; then: {retry}")
        }
        (ErrorCode::TimedOut, Some(vm)) => {
            format!("allow it more time: sendense-ctl backup start --vm {vm} --timeout DURATION")
        }
        (ErrorCode::RepositoryUnavailable, _) => format!("{REPOSITORY}; then: {retry}"),
        (ErrorCode::NoSpace, _) => {
            format!("see the room with: sendense-ctl repo list; make some, then: {retry}")
        }
        _ => retry,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Phase;

    fn job(status: Status, code: Option<&str>) -> JobView {
        let id = JobId::new("backup-pg-20251006-120000").unwrap();
        JobView {
            id: id.clone(),
            job_id: id,
            job_type: JobType::Backup,
            status,
            current_phase: Phase::Failed,
            vm_name: Some(model::VmName::new("pg").unwrap()),
            backup_id: None,
            bytes_transferred: 0,
            bytes_processed: 0,
            total_bytes: 0,
            progress_percent: 0.0,
            transfer_speed_bps: 0,
            eta_seconds: None,
            last_telemetry_at: None,
            error_message: code.map(|code| format!("it was {code}")),
            error_code: code.map(str::to_owned),
            error_hint: None,
            created_at: "2025-10-06T12:00:00Z".parse().unwrap(),
            started_at: None,
            completed_at: None,
            disks: Vec::new(),
            result: None,
        }
    }

    #[test]
    fn a_failed_job_gives_its_codes_number_and_something_to_type() {
        let failure = ended_badly(&job(Status::Failed, Some("no_space")), "pg was not backed up", None);
        assert_eq!(failure.exit, Exit::NoSpace);
        assert_eq!(failure.why.as_deref(), Some("it was no_space"));
        assert!(failure.next.is_some_and(|next| next.contains("backup retry backup-pg-20251006-120000")));
    }

    #[test]
    fn a_cancelled_job_gives_the_signals_number() {
        for (stop, exit) in
            [(Some(Exit::Terminated), Exit::Terminated), (Some(Exit::Interrupted), Exit::Interrupted)]
        {
            assert_eq!(ended_badly(&job(Status::Cancelled, None), "x", stop).exit, exit);
        }
        assert_eq!(ended_badly(&job(Status::Cancelled, None), "x", None).exit, Exit::Interrupted);
        let stopped =
            JobView { error_message: Some("the hub was stopped".into()), ..job(Status::Cancelled, None) };
        let why = ended_badly(&stopped, "x", None).why;
        assert_eq!(why.as_deref(), Some("the hub was stopped; nothing of it is left"));
        assert_eq!(ended_badly(&job(Status::Failed, None), "x", Some(Exit::Interrupted)).exit, Exit::Failed);
    }
}
