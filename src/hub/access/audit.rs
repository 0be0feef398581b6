//! The audit log: every change and every restore, also those that were refused.
//!
//! An entry is written when its outcome is known, before the answer goes out. Where it can't be written, the log of the
//! process gets it instead: what was done can't be taken back for that.

use crate::{Hub, Result};
use api::{AuditQuery, ErrorCode, Peer};
use catalog::{AuditEntry, AuditFilter};

/// The outcome of what was done.
pub const OK: &str = "ok";

/// Something that somebody did, or wanted to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deed {
    /// Who.
    pub actor: String,
    /// From where.
    pub peer: Peer,
    /// What, in snake case.
    pub action: &'static str,
    /// To what.
    pub object: String,
    /// [`OK`], or the API's word for why not.
    pub outcome: String,
    /// More for a person.
    pub detail: Option<String>,
    /// The request.
    pub request_id: Option<String>,
    /// Whether it only reads: then the disk is not waited for.
    pub reads: bool,
}

impl Hub {
    /// Writes an entry.
    pub async fn audit(&self, deed: Deed) {
        let origin = match deed.peer {
            Peer::Process => "process".to_owned(),
            Peer::Socket { .. } => "socket".to_owned(),
            Peer::Network { address } => address.to_string(),
        };
        let entry = AuditEntry {
            actor: deed.actor,
            detail: deed.detail,
            origin: Some(origin),
            outcome: Some(deed.outcome),
            request_id: deed.request_id,
            ..AuditEntry::by_hub(deed.action, deed.object)
        };
        if self.inner.passing || !self.catalog().is_writable() {
            return;
        }
        // Nothing was done, because the catalog does not work; the audit log lies in it.
        let no_catalog = [ErrorCode::CatalogLocked, ErrorCode::CatalogUnavailable].map(ErrorCode::as_str);
        if entry.outcome.as_deref().is_some_and(|outcome| no_catalog.contains(&outcome)) {
            return;
        }
        let written = match deed.reads {
            true => self.catalog().audit_light(&entry).await,
            false => self.catalog().audit(&entry).await,
        };
        if let Err(error) = written {
            let AuditEntry { actor, origin, action, object, outcome, request_id, .. } = entry;
            tracing::error!(
                target: "audit",
                actor, origin, action, object, outcome, request_id, %error,
                "the audit log can't be written"
            );
        }
    }

    /// Entries that match, newest first, and how many match.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn audit_log(&self, query: &AuditQuery) -> Result<(Vec<api::AuditEntry>, u64)> {
        let filter = AuditFilter {
            actor: query.actor.clone(),
            action: query.action.clone(),
            object: query.object.clone(),
            since: query.since,
            until: query.until,
            limit: query.limit.unwrap_or(api::DEFAULT_LIMIT).min(api::MAX_LIMIT),
            offset: query.offset.unwrap_or(0),
        };
        let page = self.catalog().audit_log(&filter).await?;
        let entries = page.items.into_iter().map(|entry| api::AuditEntry {
            at: entry.at,
            actor: entry.actor,
            origin: entry.origin,
            action: entry.action,
            object: entry.object,
            outcome: entry.outcome,
            detail: entry.detail,
            request_id: entry.request_id,
        });
        Ok((entries.collect(), page.total))
    }
}
