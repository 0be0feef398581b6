//! All points of a VM as folders of their times, each opened and leased when somebody enters it.
//!
//! A point that nobody has used for the mount's idle time, of which nothing is open and in which no process stands, is
//! closed again; who asks for something in it later opens it anew. Names are given once: a point keeps its own as long as
//! the mount lasts, also when one of the same second is deleted.

use super::lasting::Times;
use crate::browse::Session;
use crate::{Error, Hub};
use api::MountBackup;
use jiff::Timestamp;
use model::{Backup, BackupId, ContextId};
use mount::{Forest, Grove, Plant};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// How long a list of points is good for.
const FRESH: Duration = Duration::from_secs(1);
/// The link to the newest point.
const LATEST: &str = "latest";

#[derive(Default)]
struct State {
    names: HashMap<BackupId, String>,
    /// When the points were listed, and what they were, oldest first.
    listed: Option<(Instant, Vec<(String, Backup)>)>,
    open: BTreeMap<String, Arc<Session>>,
}

/// The points of one VM.
pub(super) struct PointsOfVm {
    hub: Hub,
    /// Where questions to the catalog are waited for: the kernel's requests come on threads without an executor.
    runtime: Handle,
    /// The mount, whose name the leases have.
    id: String,
    context: ContextId,
    /// How each is opened.
    request: MountBackup,
    times: Arc<Times>,
    path: PathBuf,
    state: Mutex<State>,
    /// One is opened at a time.
    opening: Mutex<()>,
}

impl PointsOfVm {
    pub(super) fn new(
        hub: Hub,
        id: String,
        context: ContextId,
        request: MountBackup,
        times: Arc<Times>,
        path: &Path,
    ) -> Self {
        PointsOfVm {
            hub,
            runtime: Handle::current(),
            id,
            context,
            request,
            times,
            path: path.to_owned(),
            state: Mutex::default(),
            opening: Mutex::new(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The points with their names, oldest first.
    fn points(&self) -> guestfs::Result<Vec<(String, Backup)>> {
        if let Some((at, points)) = &self.lock().listed
            && at.elapsed() < FRESH
        {
            return Ok(points.clone());
        }
        let mut points = self.runtime.block_on(self.hub.points_of(&self.context)).map_err(failed)?;
        points.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        let mut state = self.lock();
        let named: Vec<(String, Backup)> =
            points.into_iter().map(|point| (name(&mut state.names, &point), point)).collect();
        state.listed = Some((Instant::now(), named.clone()));
        Ok(named)
    }

    /// The names of those that are open.
    pub(super) fn open_names(&self) -> Vec<String> {
        self.lock().open.keys().cloned().collect()
    }

    /// Closes those that nobody has used for their idle time.
    pub(super) async fn close_unused(&self) {
        let now = Timestamp::now();
        let due: Vec<String> = {
            let state = self.lock();
            // One reference is the map's; a file that is open holds another.
            let due = state
                .open
                .iter()
                .filter(|(_, session)| session.times().expires() <= now && Arc::strong_count(session) == 1);
            due.map(|(name, _)| name.clone()).collect()
        };
        for name in due {
            if !mount::holders(&self.path.join(&name)).is_empty() {
                if let Some(session) = self.lock().open.get(&name) {
                    session.times().touch();
                }
                continue;
            }
            let closed = {
                let mut state = self.lock();
                let unused = state.open.get(&name).is_some_and(|session| Arc::strong_count(session) == 1);
                if unused { state.open.remove(&name) } else { None }
            };
            if let Some(session) = closed {
                session.release().await;
            }
        }
    }

    /// Closes all of them.
    pub(super) async fn release(&self) {
        let open = std::mem::take(&mut self.lock().open);
        for session in open.into_values() {
            session.release().await;
        }
    }

    fn is_open(&self, name: &str) -> Option<Arc<Session>> {
        let session = self.lock().open.get(name).cloned()?;
        session.times().touch();
        Some(session)
    }
}

/// A point's name: its time to the second, and a number where several have that.
fn name(names: &mut HashMap<BackupId, String>, point: &Backup) -> String {
    if let Some(name) = names.get(&point.id) {
        return name.clone();
    }
    let time = point.created_at.strftime("%Y-%m-%dT%H-%M-%SZ").to_string();
    let mut name = time.clone();
    let mut number = 2;
    while names.values().any(|taken| *taken == name) {
        name = format!("{time}-{number}");
        number += 1;
    }
    names.insert(point.id.clone(), name.clone());
    name
}

/// What went wrong in the hub, for who reads the mount.
fn failed(error: Error) -> guestfs::Error {
    match error {
        Error::NotFound { .. } => guestfs::Error::NotFound,
        error => guestfs::Error::Io { offset: 0, source: io::Error::other(error.to_string()) },
    }
}

impl Forest for PointsOfVm {
    fn groves(&self) -> guestfs::Result<Vec<Grove>> {
        self.times.touch();
        let points = self.points()?;
        let time = |point: &Backup| guestfs::Timestamp {
            seconds: point.created_at.as_second(),
            nanos: u32::try_from(point.created_at.subsec_nanosecond()).unwrap_or_default(),
        };
        let mut groves: Vec<Grove> = points
            .iter()
            .map(|(name, point)| Grove { name: name.clone(), time: time(point), link: None })
            .collect();
        if let Some((name, newest)) = points.last() {
            groves.push(Grove { name: LATEST.to_owned(), time: time(newest), link: Some(name.clone()) });
        }
        Ok(groves)
    }

    fn open(&self, name: &str) -> guestfs::Result<Arc<dyn Plant>> {
        self.times.touch();
        if let Some(session) = self.is_open(name) {
            return Ok(session);
        }
        let _one = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = self.is_open(name) {
            return Ok(session);
        }
        let points = self.points()?;
        let (_, point) = points.iter().find(|(known, _)| known == name).ok_or(guestfs::Error::NotFound)?;
        let opened = self.hub.open_session(self.id.clone(), point, &self.request, "mount");
        let session = Arc::new(self.runtime.block_on(opened).map_err(failed)?);
        self.lock().open.insert(name.to_owned(), Arc::clone(&session));
        Ok(session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_by_time_and_are_kept() {
        let mut names = HashMap::new();
        let disk = (0, model::BackupType::Full, None);
        let mut point = crate::fixture::point("backup-pg-20261127-140512", 0, &[disk]);
        point.created_at = "2026-11-27T14:05:12.9Z".parse().unwrap();
        assert_eq!(name(&mut names, &point), "2026-11-27T14-05-12Z");
        let mut second = point.clone();
        second.id = BackupId::new("backup-pg-20261127-140512-2").unwrap();
        assert_eq!(name(&mut names, &second), "2026-11-27T14-05-12Z-2");
        assert_eq!(name(&mut names, &point), "2026-11-27T14-05-12Z");
        assert_eq!(name(&mut names, &second), "2026-11-27T14-05-12Z-2");
    }
}
