//! Watching jobs: progress any number of times, then how it ended, then nothing more.
//!
//! A job of this process is watched through its channel, one of another process by looking at its row once a
//! second. Which of the two makes no difference to who watches. Dropping the stream ends the watching and
//! nothing else.

use crate::{Error, Hub, Result};
use api::{ApiError, ErrorBody, Event, JobView, Telemetry};
use futures_util::Stream;
use jiff::Timestamp;
use std::pin::Pin;
use std::time::Duration;
use tokio::sync::watch;

/// How often another process's row is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// The events of one job.
pub type Events = Pin<Box<dyn Stream<Item = Event> + Send>>;

enum Stage {
    /// A job of this process.
    Ours(watch::Receiver<JobView>, bool),
    /// A job of another one, or one that has ended.
    Theirs(bool),
    Over,
}

impl Hub {
    /// The events of a job or backup, beginning with how it is now.
    ///
    /// # Errors
    /// [`Error::NotFound`]. Later failures to look are the stream's last event.
    pub async fn watch(&self, id: &str) -> Result<Events> {
        let stage = match self.inner.registry.view(id) {
            Some(view) => Stage::Ours(view, true),
            None => {
                self.job_row(id).await?;
                Stage::Theirs(true)
            }
        };
        let state = (self.clone(), id.to_owned(), stage);
        Ok(Box::pin(futures_util::stream::unfold(state, next)))
    }

    /// Waits until a job or backup has ended, and tells how.
    ///
    /// # Errors
    /// [`Error::NotFound`]; the catalog's own.
    pub async fn wait(&self, id: &str) -> Result<JobView> {
        if let Some(mut view) = self.inner.registry.view(id)
            && let Ok(ended) = view.wait_for(|job| job.status.is_final()).await
        {
            return Ok(ended.clone());
        }
        loop {
            let job = self.job_row(id).await?;
            if job.status.is_final() {
                return Ok(job);
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

async fn next((hub, id, stage): (Hub, String, Stage)) -> Option<(Event, (Hub, String, Stage))> {
    let (event, stage) = match stage {
        Stage::Over => return None,
        Stage::Ours(mut view, at_once) => {
            let changed = at_once || view.changed().await.is_ok();
            let job = view.borrow_and_update().clone();
            if job.status.is_final() {
                (Event::Final(Box::new(job)), Stage::Over)
            } else if changed {
                (Event::Progress(Telemetry::of_job(&job, Timestamp::now())), Stage::Ours(view, false))
            } else {
                // Its task is gone without an end; whatever there is to know is in its row.
                row_event(&hub, &id).await
            }
        }
        Stage::Theirs(at_once) => {
            if !at_once {
                tokio::time::sleep(LOOK).await;
            }
            row_event(&hub, &id).await
        }
    };
    Some((event, (hub, id, stage)))
}

async fn row_event(hub: &Hub, id: &str) -> (Event, Stage) {
    match hub.job_row(id).await {
        Ok(job) if job.status.is_final() => (Event::Final(Box::new(job)), Stage::Over),
        Ok(job) => {
            let at = job.last_telemetry_at.unwrap_or_else(Timestamp::now);
            (Event::Progress(Telemetry::of_job(&job, at)), Stage::Theirs(false))
        }
        Err(error) => (Event::Error(body_of(&error)), Stage::Over),
    }
}

fn body_of(error: &Error) -> ErrorBody {
    let mut told = ApiError::new(error.code(), error.to_string());
    told.hint = error.hint();
    ErrorBody::from(told)
}
