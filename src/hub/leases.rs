//! Holding leases: taking them, keeping them alive, giving them back.
//!
//! A lease of this process is a [`Guard`]. One task beats for all of them while there are any; where a lease
//! turns out to be no longer held (another process took this one for dead), the job that it was for is
//! stopped. A guard is to be [released](Guard::release); one that is dropped, on whatever thread, gives its lease back as
//! soon as the executor gets to it, and one whose process is killed is found dead by the others. A lease that can't be given
//! back, because the catalog does not work, is given back later: this process may live for months, and others take it for a
//! holder as long.
//!
//! A lease that stands in the way is looked at: if its process is provably gone, what it left is put right
//! first (`recovery`) and the lease is taken then.

use crate::control::{Control, Stop};
use crate::{Error, Holder, Hub, Result};
use catalog::{Acquired, Catalog, Lease, LeaseHolder, LeaseMode, LeaseRequest, Owner, OwnerState, Resource};
use model::{BackupId, ContextId, Repository, VmName};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// How often a held lease shows a sign of life.
const BEAT: Duration = Duration::from_secs(5);

/// How often a lease of a dead process is taken away before giving up; each try makes progress.
const TRIES: u32 = 16;

/// How long to wait for a lease that is only ever held for moments.
const MOMENTS: Duration = Duration::from_secs(20);

struct Held {
    lease: Lease,
    control: Weak<Control>,
}

#[derive(Default)]
struct State {
    held: BTreeMap<String, Held>,
    /// Those that could not be given back yet.
    owed: Vec<Lease>,
    beating: bool,
}

/// The leases of this process.
#[derive(Clone)]
pub(crate) struct LeaseKeeper {
    catalog: Catalog,
    state: Arc<Mutex<State>>,
}

/// A held lease.
pub(crate) struct Guard {
    keeper: LeaseKeeper,
    lease: Option<Lease>,
    /// Where the lease was taken: a guard may be dropped by a thread that has no executor.
    runtime: tokio::runtime::Handle,
}

/// What for, in messages and in the row.
pub(crate) struct Purpose<'a> {
    /// One word or two: `backup`, `delete` …
    pub operation: &'a str,
    /// The job, where there is one.
    pub job_id: Option<&'a str>,
    /// What is wanted, for who is refused: `VM pgtest1`.
    pub what: String,
}

impl LeaseKeeper {
    pub(crate) fn new(catalog: Catalog) -> Self {
        LeaseKeeper { catalog, state: Arc::default() }
    }

    /// Looks after a lease that was given to this process.
    pub(crate) fn hold(&self, lease: Lease) -> Guard {
        let mut state = self.lock();
        state.held.insert(lease.id.clone(), Held { lease: lease.clone(), control: Weak::new() });
        self.begin_to_beat(&mut state);
        drop(state);
        Guard { keeper: self.clone(), lease: Some(lease), runtime: tokio::runtime::Handle::current() }
    }

    /// A guard of nothing, for who only looks in passing and must not write.
    pub(crate) fn nothing(&self) -> Guard {
        Guard { keeper: self.clone(), lease: None, runtime: tokio::runtime::Handle::current() }
    }

    fn begin_to_beat(&self, state: &mut State) {
        if !state.beating {
            state.beating = true;
            tokio::spawn(self.clone().beat());
        }
    }

    /// Gives a lease back, now or later.
    async fn give_back(&self, lease: Lease) {
        if !self.try_to_give_back(lease).await {
            self.begin_to_beat(&mut self.lock());
        }
    }

    /// Gives a lease back; where it can't, it is owed.
    async fn try_to_give_back(&self, lease: Lease) -> bool {
        let Err(error) = self.catalog.release(&lease).await else { return true };
        tracing::warn!(%error, resource = %lease.resource, "a lease can't be given back yet");
        self.lock().owed.push(lease);
        false
    }

    /// Ends by itself when nothing is held or owed any more.
    async fn beat(self) {
        loop {
            tokio::time::sleep(BEAT).await;
            let (held, owed): (Vec<Lease>, Vec<Lease>) = {
                let mut state = self.lock();
                if state.held.is_empty() && state.owed.is_empty() {
                    state.beating = false;
                    return;
                }
                let held = state.held.values().map(|held| held.lease.clone()).collect();
                (held, std::mem::take(&mut state.owed))
            };
            for lease in owed {
                self.try_to_give_back(lease).await;
            }
            if held.is_empty() {
                continue;
            }
            match self.catalog.heartbeat(&held).await {
                Ok(lost) => lost.iter().for_each(|lease| self.lost(lease)),
                Err(error) => tracing::warn!(%error, "leases can't be kept alive"),
            }
        }
    }

    fn lost(&self, lease: &Lease) {
        // Released meanwhile: then nobody has lost anything.
        let Some(held) = self.lock().held.remove(&lease.id) else { return };
        tracing::error!(resource = %lease.resource, "another process has taken this lease away");
        if let Some(control) = held.control.upgrade() {
            let reason = format!("the lease on {} was taken away by another process", lease.resource);
            control.stop(Stop::LeaseLost(reason));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guard {
    /// The lease itself, by which points are marked.
    pub(crate) fn lease(&self) -> Result<&Lease> {
        self.lease.as_ref().ok_or_else(|| Error::Internal("a lease was given back too early".into()))
    }

    /// Stops this job when the lease is lost.
    pub(crate) fn guards(&self, control: &Arc<Control>) {
        if let Some(lease) = &self.lease
            && let Some(held) = self.keeper.lock().held.get_mut(&lease.id)
        {
            held.control = Arc::downgrade(control);
        }
    }

    /// Gives the lease back.
    pub(crate) async fn release(mut self) {
        let Some(lease) = self.lease.take() else { return };
        self.keeper.lock().held.remove(&lease.id);
        self.keeper.give_back(lease).await;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some(lease) = self.lease.take() else { return };
        self.keeper.lock().held.remove(&lease.id);
        let keeper = self.keeper.clone();
        self.runtime.spawn(async move { keeper.give_back(lease).await });
    }
}

impl Hub {
    /// The exclusive lease on all points of a VM.
    pub(crate) async fn lock_vm(
        &self,
        context: &ContextId,
        name: &VmName,
        operation: &str,
        job_id: Option<&str>,
    ) -> Result<Guard> {
        let purpose = Purpose { operation, job_id, what: format!("VM {name}") };
        self.take_lease(Resource::Vm(context.clone()), LeaseMode::Exclusive, purpose).await
    }

    /// A shared lease on a point: it is not taken away while it is read.
    pub(crate) async fn lock_point(&self, id: &BackupId, operation: &str, job_id: &str) -> Result<Guard> {
        let purpose = Purpose { operation, job_id: Some(job_id), what: format!("restore point {id}") };
        self.take_lease(Resource::Point(id.clone()), LeaseMode::Shared, purpose).await
    }

    /// The exclusive lease on the records of a repository. It is held for moments, by who rewrites sidecars,
    /// so it is waited for.
    pub(crate) async fn lock_records(&self, repository: &Repository, operation: &str) -> Result<Guard> {
        let deadline = tokio::time::Instant::now() + MOMENTS;
        loop {
            let what = format!("repository {}", repository.name);
            let purpose = Purpose { operation, job_id: None, what };
            let resource = Resource::Repository(repository.id.clone());
            match self.take_lease(resource, LeaseMode::Exclusive, purpose).await {
                Err(Error::Locked { .. }) if tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                other => return other,
            }
        }
    }

    /// Takes a lease, past what dead processes hold.
    ///
    /// # Errors
    /// [`Error::Locked`] with the holder that lives.
    pub(crate) async fn take_lease(
        &self,
        resource: Resource,
        mode: LeaseMode,
        purpose: Purpose<'_>,
    ) -> Result<Guard> {
        let owner = this_process()?;
        let mut seen = None;
        for _ in 0..TRIES {
            let request = LeaseRequest {
                resource: resource.clone(),
                mode,
                owner: &owner,
                operation: purpose.operation,
                job_id: purpose.job_id,
            };
            let holders = match self.catalog().acquire(&request).await? {
                Acquired::Yes(lease) => return Ok(self.inner.leases.hold(lease)),
                Acquired::Held(holders) => holders,
            };
            let now = self.catalog().now();
            if let Some(alive) = holders.iter().find(|holder| holder.state(now) != OwnerState::Dead) {
                return Err(locked(&purpose.what, alive));
            }
            for dead in &holders {
                self.bury(dead).await?;
            }
            seen = holders.into_iter().next();
        }
        match seen {
            Some(holder) => Err(locked(&purpose.what, &holder)),
            None => Err(Error::Internal(format!("no lease on {resource} could be had"))),
        }
    }

    /// Looks after a lease that was taken over from a dead process.
    pub(crate) fn hold(&self, lease: Lease) -> Guard {
        self.inner.leases.hold(lease)
    }
}

/// Who this process is, for its leases.
pub(crate) fn this_process() -> Result<Owner> {
    Owner::current()
        .map_err(|error| Error::Internal(format!("this process can't be told from others: {error}")))
}

pub(crate) fn locked(what: &str, holder: &LeaseHolder) -> Error {
    Error::Locked {
        what: what.to_owned(),
        holder: Box::new(Holder {
            host: holder.owner.host.clone(),
            pid: holder.owner.pid,
            operation: holder.operation.clone(),
            job_id: holder.job_id.clone(),
            since: holder.acquired_at,
        }),
    }
}
