//! When each registered VM was last backed up well.

use crate::engine::transaction;
use crate::statement::Statement;
use crate::{Catalog, Result};
use jiff::Timestamp;
use model::VmName;

/// A step into an index for each VM.
pub(crate) const LATEST: &str = "SELECT v.vm_name, (SELECT j.completed_at FROM backup_jobs j [index idx_vm_context_id] \
     WHERE j.vm_context_id = v.context_id AND j.status = 'completed' ORDER BY j.created_at DESC LIMIT 1) AS latest \
     FROM vm_contexts v [index idx_vm_contexts_name] ORDER BY v.vm_name";

impl Catalog {
    /// Every registered VM, by name, with the end of its newest completed backup; `None` where it has none.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn latest_backups(&self) -> Result<Vec<(VmName, Option<Timestamp>)>> {
        transaction!(self.engine.read(), |session| {
            let rows = session.all(Statement::new(LATEST)).await?;
            rows.iter().map(|row| Ok((row.parse("vm_name")?, row.maybe_parse("latest")?))).collect()
        })
    }
}
