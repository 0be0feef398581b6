//! Who did what (`audit_log`), and what happened within a job (`job_log`). Both are only ever appended to.

use crate::engine::Session;
use crate::engine::transaction;
use crate::fields::{inserts, maybe_text, number, text, time};
use crate::statement::Statement;
use crate::{Catalog, Page, Result};
use jiff::Timestamp;
use uuid::Uuid;

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

impl Catalog {
    /// Appends to the audit log.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn audit(&self, entry: &AuditEntry) -> Result<()> {
        transaction!(self.engine.write(), |session| {
            append(session, entry).await?;
            Ok(())
        })
    }

    /// The audit log, newest first.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn audit_log(&self, limit: u32, offset: u64) -> Result<Page<AuditEntry>> {
        transaction!(self.engine.read(), |session| {
            let query =
                Statement::new("SELECT * FROM audit_log ORDER BY logged_at DESC, id LIMIT ? OFFSET ?")
                    .bind(i64::from(limit))
                    .bind(number("offset", offset)?);
            let rows = session.all(query).await?;
            let items = rows
                .iter()
                .map(|row| {
                    Ok(AuditEntry {
                        at: row.parse("logged_at")?,
                        actor: row.text("actor")?,
                        action: row.text("action")?,
                        object: row.text("object")?,
                        detail: row.maybe_text("detail")?,
                    })
                })
                .collect::<Result<_>>()?;
            let total = session.number(Statement::new("SELECT COUNT(*) AS n FROM audit_log")).await?;
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
        ("actor", text(entry.actor.as_str())),
        ("action", text(entry.action.as_str())),
        ("object", text(entry.object.as_str())),
        ("detail", maybe_text(entry.detail.as_ref())),
    ];
    for statement in inserts("audit_log", vec![row]) {
        session.execute(statement).await?;
    }
    Ok(())
}
