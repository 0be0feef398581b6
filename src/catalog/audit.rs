//! Who did what (`audit_log`), and what happened within a job (`job_log`). Both are only ever appended to.

use crate::engine::Session;
use crate::engine::transaction;
use crate::fields::{Row, inserts, maybe_text, number, stamp, text, time};
use crate::statement::Statement;
use crate::{Catalog, Page, Result};
use jiff::Timestamp;
use std::collections::HashMap;
use uuid::Uuid;

/// From 1,000 ids on MariaDB makes a table of them.
const IDS_PER_QUERY: usize = 500;

/// One thing that someone did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// When.
    pub at: Timestamp,
    /// Who: a user, or `hub` for what it does by itself.
    pub actor: String,
    /// What, in snake case: `backup_delete`, `lease_break` …
    pub action: String,
    /// To what: an id.
    pub object: String,
    /// More, for a person.
    pub detail: Option<String>,
    /// From where: an address, `socket`, `process`; none for what the hub does by itself.
    pub origin: Option<String>,
    /// `ok`, or the API's word for why it was not done.
    pub outcome: Option<String>,
    /// The id of the request.
    pub request_id: Option<String>,
}

/// Which entries of the audit log to list. All conditions must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// By that one.
    pub actor: Option<String>,
    /// Of that kind.
    pub action: Option<String>,
    /// Done to that.
    pub object: Option<String>,
    /// At that time or later.
    pub since: Option<Timestamp>,
    /// At that time or earlier.
    pub until: Option<Timestamp>,
    /// At most so many.
    pub limit: u32,
    /// After so many.
    pub offset: u64,
}

/// How much a line of a job's log matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// A step.
    Info,
    /// Something went another way than asked for.
    Warning,
    /// What made it fail.
    Error,
}

/// One line of a job's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// When.
    pub at: Timestamp,
    /// How much it matters.
    pub level: LogLevel,
    /// For a person.
    pub message: String,
}

impl LogLevel {
    /// The one spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            LogLevel::Info => "info",
            LogLevel::Warning => "warning",
            LogLevel::Error => "error",
        }
    }
}

impl AuditEntry {
    /// What the hub does by itself, now.
    pub fn by_hub(action: &str, object: impl Into<String>) -> Self {
        AuditEntry {
            at: Timestamp::now(),
            actor: "hub".to_owned(),
            action: action.to_owned(),
            object: object.into(),
            detail: None,
            origin: None,
            outcome: None,
            request_id: None,
        }
    }
}

impl Catalog {
    /// Appends to the audit log; durable when it has returned.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn audit(&self, entry: &AuditEntry) -> Result<()> {
        transaction!(self.engine.write(), |session| {
            append(session, entry).await?;
            Ok(())
        })
    }

    /// The same without waiting for the disk, for what changes nothing and happens often.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn audit_light(&self, entry: &AuditEntry) -> Result<()> {
        transaction!(self.engine.write_light(), |session| {
            append(session, entry).await?;
            Ok(())
        })
    }

    /// The audit log, newest first.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn audit_log(&self, filter: &AuditFilter) -> Result<Page<AuditEntry>> {
        transaction!(self.engine.read(), |session| {
            let mut listed = listing(filter, "id")?;
            listed.push(" ORDER BY logged_at DESC, id DESC LIMIT ").push_bind(i64::from(filter.limit));
            listed.push(" OFFSET ").push_bind(number("offset", filter.offset)?);
            let rows = session.all(listed).await?;
            let ids = rows.iter().map(|row| row.text("id")).collect::<Result<Vec<_>>>()?;
            let mut entries = HashMap::with_capacity(ids.len());
            for ids in ids.chunks(IDS_PER_QUERY) {
                let mut query = Statement::new("SELECT * FROM audit_log [key audit_log] WHERE id IN (");
                query.push_list(ids.iter().map(String::as_str)).push(")");
                for row in session.all(query).await? {
                    entries.insert(row.text("id")?, read(&row)?);
                }
            }
            let items: Vec<AuditEntry> = ids.iter().filter_map(|id| entries.remove(id)).collect();
            let seen = items.len() as u64;
            let total = match seen < u64::from(filter.limit) && (seen > 0 || filter.offset == 0) {
                true => filter.offset + seen,
                false => session.number(listing(filter, "COUNT(*) AS n")?).await?,
            };
            Ok(Page { items, total })
        })
    }

    /// Appends to the log of a job (a backup's job id is its backup id).
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn log_job(&self, job_id: &str, entry: &LogEntry) -> Result<()> {
        let row = vec![
            ("id", text(Uuid::new_v4().to_string())),
            ("job_id", text(job_id)),
            ("logged_at", time("logged_at", entry.at)?),
            ("level", text(entry.level.as_str())),
            ("message", text(entry.message.as_str())),
        ];
        transaction!(self.engine.write_light(), |session| {
            for statement in inserts("job_log", vec![row.clone()]) {
                session.execute(statement).await?;
            }
            Ok(())
        })
    }

    /// The log of a job, oldest first, at most `limit` lines: the latest ones.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn job_log(&self, job_id: &str, limit: u32) -> Result<Vec<LogEntry>> {
        transaction!(self.engine.read(), |session| {
            let query = "SELECT * FROM job_log WHERE job_id = ? ORDER BY logged_at DESC, id LIMIT ?";
            let rows = session.all(Statement::new(query).bind(job_id).bind(i64::from(limit))).await?;
            rows.iter()
                .rev()
                .map(|row| {
                    Ok(LogEntry {
                        at: row.parse("logged_at")?,
                        level: match row.text("level")?.as_str() {
                            "error" => LogLevel::Error,
                            "warning" => LogLevel::Warning,
                            _ => LogLevel::Info,
                        },
                        message: row.text("message")?,
                    })
                })
                .collect()
        })
    }
}

/// Appends within a transaction that does what is logged.
pub(crate) async fn append(session: &mut Session, entry: &AuditEntry) -> Result<()> {
    let row = vec![
        ("id", text(Uuid::new_v4().to_string())),
        ("logged_at", time("logged_at", entry.at)?),
        ("actor", text(clipped(&entry.actor, 255))),
        ("action", text(clipped(&entry.action, 64))),
        ("object", text(clipped(&entry.object, 255))),
        ("detail", maybe_text(entry.detail.as_ref())),
        ("origin", maybe_text(entry.origin.as_deref().map(|text| clipped(text, 64)).as_ref())),
        ("outcome", maybe_text(entry.outcome.as_deref().map(|text| clipped(text, 64)).as_ref())),
        ("request_id", maybe_text(entry.request_id.as_deref().map(|text| clipped(text, 64)).as_ref())),
    ];
    for statement in inserts("audit_log", vec![row]) {
        session.execute(statement).await?;
    }
    Ok(())
}

/// What fits into the column: an entry is never refused because somebody has sent something long.
fn clipped(text: &str, characters: usize) -> &str {
    text.char_indices().nth(characters).map_or(text, |(end, _)| &text[..end])
}

/// What is asked for of the entries that match, by the index of what leaves the least.
pub(crate) fn listing(filter: &AuditFilter, what: &str) -> Result<Statement> {
    let index = match filter {
        AuditFilter { object: Some(_), .. } => "idx_audit_object",
        AuditFilter { actor: Some(_), .. } => "idx_audit_actor",
        AuditFilter { action: Some(_), .. } => "idx_audit_action",
        _ => "idx_audit_time",
    };
    let mut query = Statement::new(format!("SELECT {what} FROM audit_log [index {index}] WHERE 1 = 1"));
    query.push_equal([
        ("actor", filter.actor.as_deref()),
        ("action", filter.action.as_deref()),
        ("object", filter.object.as_deref()),
    ]);
    for (comparison, value) in [("logged_at >= ", filter.since), ("logged_at <= ", filter.until)] {
        if let Some(value) = value {
            query.push(" AND ").push(comparison).push_bind(stamp("logged_at", value)?);
        }
    }
    Ok(query)
}

fn read(row: &Row) -> Result<AuditEntry> {
    Ok(AuditEntry {
        at: row.parse("logged_at")?,
        actor: row.text("actor")?,
        action: row.text("action")?,
        object: row.text("object")?,
        detail: row.maybe_text("detail")?,
        origin: row.maybe_text("origin")?,
        outcome: row.maybe_text("outcome")?,
        request_id: row.maybe_text("request_id")?,
    })
}
