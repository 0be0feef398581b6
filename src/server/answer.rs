//! From the engine's records to the wire's objects.
//!
//! The only thing a record lacks is where its repository is now; it is asked for once a request.

use crate::failure::Result;
use api::Backup;
use hub::Hub;
use model::RepositoryId;
use std::collections::BTreeMap;

/// The root folder of each repository.
pub(crate) struct Roots(BTreeMap<RepositoryId, String>);

impl Roots {
    pub(crate) async fn of(hub: &Hub) -> Result<Self> {
        Ok(Roots(hub.repository_roots().await?))
    }

    /// The object of a record. A repository that the hub no longer knows leaves the paths relative to it.
    pub(crate) fn backup(&self, record: &model::Backup) -> Backup {
        Backup::new(record, self.0.get(&record.repository_id).map_or("", String::as_str))
    }
}

/// The object of one record.
pub(crate) async fn backup(hub: &Hub, record: &model::Backup) -> Result<Backup> {
    Ok(Roots::of(hub).await?.backup(record))
}
