//! Leases: who works on a VM or reads a restore point, so that several processes stay out of each other's way.
//!
//! A lease is a row. A resource has one exclusive lease or any number of shared ones, never both. The rule is
//! in the statements themselves: an insert that selects nothing where the rule forbids it, and a unique key
//! that holds two exclusive leases apart; so it also holds where transactions run side by side (MariaDB).
//! A shared lease of a point is only given while the point is complete and nobody deletes it; a deleter marks
//! the point only while nobody reads it ([`Catalog::mark_deleting`]). A mark lives as long as its lease.
//!
//! Dropping a [`Lease`] does nothing: it ends by [`Catalog::release`], or, when its process is gone, by
//! [`Catalog::break_lease`] or [`Catalog::take_over`]; both compare with what was seen, so of several
//! processes that find the same dead owner one wins, and both are written to the audit log. Who is dead is told
//! by [`LeaseHolder::state`].

use crate::audit::{AuditEntry, append};
use crate::engine::Session;
use crate::engine::transaction;
use crate::fields::{Fields, Row, int, maybe_text, stamp, text, time, update};
use crate::owner::{Owner, OwnerState, owner_state};
use crate::resource::Resource;
use crate::statement::Statement;
use crate::{Catalog, Error, Result};
use jiff::Timestamp;
use std::fmt;
use uuid::Uuid;

/// Alone or with others of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseMode {
    /// Nobody else.
    Exclusive,
    /// With other shared ones.
    Shared,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct LeaseRequest<'a> {
    /// On what.
    pub resource: Resource,
    /// Alone or not.
    pub mode: LeaseMode,
    /// Who asks.
    pub owner: &'a Owner,
    /// What for, for messages: `backup`, `delete`, `restore` …
    pub operation: &'a str,
    /// The job it is for.
    pub job_id: Option<&'a str>,
}

/// A lease that was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Its id.
    pub id: String,
    /// On what.
    pub resource: Resource,
    /// Alone or not.
    pub mode: LeaseMode,
}

/// A lease as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseHolder {
    /// The lease.
    pub lease: Lease,
    /// Whose it is.
    pub owner: Owner,
    /// What for.
    pub operation: String,
    /// The job it is for.
    pub job_id: Option<String>,
    /// Since when.
    pub acquired_at: Timestamp,
    /// Its last sign of life.
    pub heartbeat_at: Timestamp,
}

/// The answer to a [`LeaseRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acquired {
    /// It was given.
    Yes(Lease),
    /// These stand against it; never empty.
    Held(Vec<LeaseHolder>),
}

impl LeaseHolder {
    /// Whether its process still lives, seen from this one.
    pub fn state(&self, now: Timestamp) -> OwnerState {
        owner_state(&self.owner, self.heartbeat_at, now)
    }
}

impl fmt::Display for LeaseHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (process {} on {}", self.operation, self.owner.pid, self.owner.host)?;
        if let Some(job) = &self.job_id {
            write!(f, ", {job}")?;
        }
        write!(f, ", since {:.0})", self.acquired_at)
    }
}

/// How often a request is tried again when what stood against it has gone while it was looked up.
const ATTEMPTS: u32 = 8;

impl Catalog {
    /// Asks for a lease. Never waits for one.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a point that does not exist or is not complete; the catalog's own.
    pub async fn acquire(&self, request: &LeaseRequest<'_>) -> Result<Acquired> {
        for _ in 0..ATTEMPTS {
            let answer = transaction!(self.engine.write_light(), |session| {
                let id = Uuid::new_v4().to_string();
                let row = fields(request, &id, self.now())?;
                if session.insert_new(insert(request, row)).await? > 0 {
                    let lease = Lease { id, resource: request.resource.clone(), mode: request.mode };
                    return Ok(Some(Acquired::Yes(lease)));
                }
                let holders = against(session, request).await?;
                Ok((!holders.is_empty()).then_some(Acquired::Held(holders)))
            })?;
            if let Some(answer) = answer {
                return Ok(answer);
            }
        }
        Err(Error::Refused {
            place: self.engine.place(),
            reason: format!("the lease on {} changes hands too fast", request.resource),
        })
    }

    /// A sign of life for these leases; returns those that are no longer held, whose work must stop.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn heartbeat(&self, leases: &[Lease]) -> Result<Vec<Lease>> {
        let now = stamp("heartbeat_at", self.now())?;
        transaction!(self.engine.write_light(), |session| {
            let mut lost = Vec::new();
            for lease in leases {
                let beat = Statement::new("UPDATE leases SET heartbeat_at = ? WHERE id = ?");
                if session.execute(beat.bind(now.as_str()).bind(lease.id.as_str())).await? == 0 {
                    lost.push(lease.clone());
                }
            }
            Ok(lost)
        })
    }

    /// Gives a lease back; false where it was no longer held.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn release(&self, lease: &Lease) -> Result<bool> {
        transaction!(self.engine.write(), |session| {
            let delete = Statement::new("DELETE FROM leases WHERE id = ?").bind(lease.id.as_str());
            let held = session.execute(delete).await? > 0;
            Ok(held)
        })
    }

    /// Every lease, oldest first.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn leases(&self) -> Result<Vec<LeaseHolder>> {
        transaction!(self.engine.read(), |session| {
            holders(session, Statement::new("SELECT * FROM leases ORDER BY acquired_at, id")).await
        })
    }

    /// The leases on one resource, oldest first.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn leases_on(&self, resource: &Resource) -> Result<Vec<LeaseHolder>> {
        transaction!(self.engine.read(), |session| {
            let query = Statement::new("SELECT * FROM leases WHERE resource = ? ORDER BY acquired_at, id");
            holders(session, query.bind(resource.to_string())).await
        })
    }

    /// Takes a lease away from an owner that is gone; the audit log says why. False where it is no longer as
    /// it was seen: released, broken by another process, or alive after all.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn break_lease(&self, seen: &LeaseHolder, reason: &str) -> Result<bool> {
        transaction!(self.engine.write(), |session| {
            if !unchanged(session, seen).await? {
                return Ok(false);
            }
            let delete = Statement::new("DELETE FROM leases WHERE id = ?").bind(seen.lease.id.as_str());
            session.execute(delete).await?;
            log(session, "lease_break", seen, reason).await?;
            Ok(true)
        })
    }

    /// Makes the lease of an owner that is gone `owner`'s, with everything that hangs on it (marks): for
    /// recovery, so that nobody else gets in before the work is cleaned up, and should this process die too,
    /// the next one finds the same. `None` where it is no longer as it was seen.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn take_over(&self, seen: &LeaseHolder, owner: &Owner, reason: &str) -> Result<Option<Lease>> {
        transaction!(self.engine.write(), |session| {
            if !unchanged(session, seen).await? {
                return Ok(None);
            }
            let mut row = owner_fields(owner)?;
            row.push(("heartbeat_at", time("heartbeat_at", self.now())?));
            session.execute(update("leases", row, "id", &seen.lease.id)).await?;
            log(session, "lease_take_over", seen, reason).await?;
            Ok(Some(seen.lease.clone()))
        })
    }
}

/// The insert that selects nothing where the rule forbids the lease.
fn insert(request: &LeaseRequest<'_>, row: Fields) -> Statement {
    let columns: Vec<&str> = row.iter().map(|(column, _)| *column).collect();
    let mut builder = Statement::new(format!("INSERT INTO leases ({}) SELECT ", columns.join(", ")));
    for (position, (_, value)) in row.into_iter().enumerate() {
        builder.push(if position == 0 { "" } else { ", " });
        builder.push_bind(value);
    }
    builder
        .push(" FROM (SELECT 1 AS one) AS seed WHERE NOT EXISTS (SELECT 1 FROM leases l WHERE l.resource = ");
    builder.push_bind(request.resource.to_string());
    if request.mode == LeaseMode::Shared {
        builder.push(" AND l.lease_mode = 'exclusive'");
    }
    builder.push(")");
    if let Resource::Point(id) = &request.resource {
        builder
            .push(" AND EXISTS (SELECT 1 FROM backup_jobs b WHERE b.status = 'completed' AND NOT EXISTS (");
        builder.push("SELECT 1 FROM leases d WHERE d.id = b.deleting_lease_id) AND b.id = ");
        builder.push_bind(id.as_str().to_owned()).push(")");
    }
    builder
}

/// What stands against a request: leases on the resource, or that of who deletes the point.
async fn against(session: &mut Session, request: &LeaseRequest<'_>) -> Result<Vec<LeaseHolder>> {
    let rule = match request.mode {
        LeaseMode::Exclusive => "",
        LeaseMode::Shared => " AND lease_mode = 'exclusive'",
    };
    let query = format!("SELECT * FROM leases WHERE resource = ?{rule} ORDER BY acquired_at, id");
    let query = Statement::new(query).bind(request.resource.to_string());
    let found = holders(session, query).await?;
    let Resource::Point(id) = &request.resource else { return Ok(found) };
    if !found.is_empty() {
        return Ok(found);
    }
    let point = Statement::new("SELECT status FROM backup_jobs WHERE id = ?").bind(id.as_str());
    let complete = match session.optional(point).await? {
        Some(row) => row.text("status")? == "completed",
        None => false,
    };
    if !complete {
        return Err(Error::NotFound { what: "restore point", id: id.to_string() });
    }
    let query = "SELECT l.* FROM leases l JOIN backup_jobs b ON b.deleting_lease_id = l.id WHERE b.id = ?";
    holders(session, Statement::new(query).bind(id.as_str())).await
}

pub(crate) async fn holders(session: &mut Session, query: Statement) -> Result<Vec<LeaseHolder>> {
    session.all(query).await?.iter().map(read).collect()
}

/// True where the lease is still held by whom it was, and that one has not been heard of since.
async fn unchanged(session: &mut Session, seen: &LeaseHolder) -> Result<bool> {
    let query = Statement::new("SELECT * FROM leases WHERE id = ?").bind(seen.lease.id.as_str()).for_change();
    match session.optional(query).await? {
        Some(row) => {
            let now = read(&row)?;
            Ok(now.owner == seen.owner && now.heartbeat_at == seen.heartbeat_at)
        }
        None => Ok(false),
    }
}

async fn log(session: &mut Session, action: &str, seen: &LeaseHolder, reason: &str) -> Result<()> {
    let entry = AuditEntry {
        detail: Some(format!("{seen}: {reason}")),
        ..AuditEntry::by_hub(action, seen.lease.resource.to_string())
    };
    append(session, &entry).await
}

fn fields(request: &LeaseRequest<'_>, id: &str, now: Timestamp) -> Result<Fields> {
    let (mode, slot) = match request.mode {
        LeaseMode::Exclusive => ("exclusive", "exclusive"),
        LeaseMode::Shared => ("shared", id),
    };
    let mut row = vec![
        ("id", text(id)),
        ("resource", text(request.resource.to_string())),
        ("slot", text(slot)),
        ("lease_mode", text(mode)),
        ("operation", text(request.operation)),
        ("job_id", maybe_text(request.job_id.as_ref())),
        ("acquired_at", time("acquired_at", now)?),
        ("heartbeat_at", time("heartbeat_at", now)?),
    ];
    row.extend(owner_fields(request.owner)?);
    Ok(row)
}

pub(crate) fn owner_fields(owner: &Owner) -> Result<Fields> {
    Ok(vec![
        ("host", text(owner.host.as_str())),
        ("machine_id", text(owner.machine_id.as_str())),
        ("boot_id", text(owner.boot_id.as_str())),
        ("pid", int("pid", owner.pid.into())?),
        ("pid_start_ticks", int("pid_start_ticks", owner.pid_start_ticks)?),
        ("pid_namespace", text(owner.pid_namespace.as_str())),
    ])
}

pub(crate) fn read_owner(row: &Row) -> Result<Owner> {
    Ok(Owner {
        host: row.text("host")?,
        machine_id: row.text("machine_id")?,
        boot_id: row.text("boot_id")?,
        pid: row.index("pid")?,
        pid_start_ticks: row.int("pid_start_ticks")?,
        pid_namespace: row.text("pid_namespace")?,
    })
}

fn read(row: &Row) -> Result<LeaseHolder> {
    Ok(LeaseHolder {
        lease: Lease {
            id: row.text("id")?,
            resource: row.parse("resource")?,
            mode: match row.text("lease_mode")?.as_str() {
                "shared" => LeaseMode::Shared,
                _ => LeaseMode::Exclusive,
            },
        },
        owner: read_owner(row)?,
        operation: row.text("operation")?,
        job_id: row.maybe_text("job_id")?,
        acquired_at: row.parse("acquired_at")?,
        heartbeat_at: row.parse("heartbeat_at")?,
    })
}
