//! Looking after a job while its threads work.
//!
//! The threads know nothing of catalogs: they count, and they stop when told to. The supervisor sits in the
//! job's task beside them. Four times a second it shows the counters to this process's watchers and looks at
//! the clock and at the room that is left; once a second it writes the progress to the job's row, which tells
//! it whether another process wants the job cancelled.
//!
//! A catalog that is busy or gone for a moment does not end a job. When nothing could be written for
//! [`PATIENCE`], the job stops by itself: others may by then take its lease for abandoned.

use crate::control::{Control, Stop};
use crate::failure::{Place, available};
use crate::{Error, Result};
use std::future::Future;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval};

const SHOW: Duration = Duration::from_millis(250);
const WRITE: Duration = Duration::from_secs(1);

/// How long a job goes on without being able to write its row.
///
/// As long as the catalog's own writes are patient with a server, and far less than what others wait before
/// they take this process for dead.
const PATIENCE: Duration = Duration::from_secs(150);

/// A job's side of being looked after.
pub(crate) trait Report: Send {
    /// Shows how far it is to this process's watchers.
    fn show(&mut self);

    /// Writes how far it is; true where somebody wants it cancelled.
    fn write(&mut self) -> impl Future<Output = Result<bool>> + Send;
}

/// What a job may use up.
#[derive(Default)]
pub(crate) struct Bounds {
    /// When it must have ended, and how many seconds that gave it.
    pub deadline: Option<(Instant, u64)>,
    /// Whose room it uses up.
    pub place: Option<Place>,
}

impl Bounds {
    /// The end of a time limit that begins now; none where it is further away than clocks go.
    pub(crate) fn deadline(seconds: u64) -> Option<(Instant, u64)> {
        Instant::now().checked_add(Duration::from_secs(seconds)).map(|at| (at, seconds))
    }
}

/// Waits for `work`, and looks after it meanwhile.
pub(crate) async fn supervise<T>(
    work: impl Future<Output = T> + Send,
    report: &mut impl Report,
    control: &Control,
    bounds: Bounds,
) -> T {
    let mut written = Instant::now();
    let mut show = interval(SHOW);
    let mut write = interval(WRITE);
    for ticks in [&mut show, &mut write] {
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    tokio::pin!(work);
    loop {
        tokio::select! {
            biased;
            outcome = &mut work => return outcome,
            _ = write.tick() => match report.write().await {
                Ok(cancel) => {
                    written = Instant::now();
                    if cancel {
                        control.stop(Stop::Cancelled);
                    }
                }
                Err(error) if written.elapsed() < PATIENCE && is_passing(&error) => {
                    tracing::warn!(%error, "progress can't be written; the job goes on");
                }
                Err(error) => {
                    control.stop(Stop::LeaseLost(error.to_string()));
                }
            },
            _ = show.tick() => {
                report.show();
                watch_bounds(control, &bounds);
            }
        }
    }
}

/// A catalog may come back, and its disk may get room again; a row that is gone or ended by somebody else does not.
fn is_passing(error: &Error) -> bool {
    matches!(error, Error::Catalog { .. } | Error::NoSpace { .. })
}

fn watch_bounds(control: &Control, bounds: &Bounds) {
    if let Some((deadline, seconds)) = bounds.deadline
        && Instant::now() >= deadline
    {
        control.stop(Stop::TimedOut(seconds));
    }
    // Only local file systems for now, where this answers at once.
    if let Some(place) = &bounds.place
        && let Some(available) = available(&place.root)
        && available < place.reserve
    {
        let name = format!("repository {}", place.name);
        control.stop(Stop::NoSpace { place: name, available, reserve: place.reserve });
    }
}
