//! Listing backups.

use crate::{Error, Hub, Only, Result};
use api::BackupQuery;
use catalog::{BackupFilter, TagFilter};
use model::{Backup, ContextId, VmName};

impl Hub {
    /// Backups in any state that match, newest first, and how many match.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that can't be one; [`Error::NotFound`] for a repository.
    pub async fn backups(&self, query: &BackupQuery) -> Result<(Vec<Backup>, u64)> {
        self.backups_among(query, None).await
    }

    /// [`backups`](Hub::backups) for a caller for whom only these VMs exist.
    ///
    /// # Errors
    /// The same.
    pub async fn backups_among(&self, query: &BackupQuery, only: Only<'_>) -> Result<(Vec<Backup>, u64)> {
        let vm_name = query.vm_name.as_deref().map(VmName::new).transpose();
        let context = query.vm_context_id.as_deref().map(ContextId::new).transpose();
        let repository_id = match query.repository_id.as_deref() {
            Some(named) => Some(self.find_repository(Some(named)).await?.id),
            None => None,
        };
        let tag = query.tag.as_deref().map(|tag| match tag.split_once('=') {
            Some((key, value)) => TagFilter { key: key.to_owned(), value: Some(value.to_owned()) },
            None => TagFilter { key: tag.to_owned(), value: None },
        });
        let filter = BackupFilter {
            vm_name: vm_name.map_err(|error| Error::invalid("vm_name", error))?,
            vm_names: only.map(<[_]>::to_vec),
            vm_context_id: context.map_err(|error| Error::invalid("vm_context_id", error))?,
            repository_id,
            backup_type: query.backup_type,
            status: query.status,
            tag,
            since: query.since,
            until: query.until,
            limit: query.limit.unwrap_or(api::DEFAULT_LIMIT).min(api::MAX_LIMIT),
            offset: query.offset.unwrap_or(0),
        };
        let page = self.catalog().backups(&filter).await?;
        Ok((page.items, page.total))
    }
}
