//! From the engine's records to the wire's objects.
//!
//! The only thing a record lacks is where its repository is now; it is asked for once a request.

use crate::failure::Result;
use api::Backup;
use hub::{Hub, PushTarget};
use model::{RepositoryId, Role};
use std::collections::BTreeMap;

/// The root folder of each repository.
pub(crate) struct Roots(BTreeMap<RepositoryId, String>);

impl Roots {
    pub(crate) async fn of(hub: &Hub) -> Result<Self> {
        Ok(Roots(hub.repository_roots().await?))
    }

    /// The object of a record, with the exports that a client may write its disks to. Names that are secrets are told
    /// to those only who may make backups.
    pub(crate) fn backup_with_targets(&self, hub: &Hub, record: &model::Backup, role: Role) -> Backup {
        let mut backup = self.backup(record);
        let told = |target: &PushTarget| !target.secret || role >= Role::Operator;
        let targets: Vec<PushTarget> = hub.push_targets(&record.id).into_iter().filter(told).collect();
        for target in &targets {
            let disks = backup.disk_results.iter_mut();
            for disk in disks.filter(|disk| disk.disk_id == target.disk.0) {
                disk.nbd_port = Some(target.port);
                disk.nbd_export_name.clone_from(&target.export_name);
            }
        }
        if let Some(first) = backup.disk_results.first() {
            backup.nbd_export_name.clone_from(&first.nbd_export_name);
        }
        let texts = targets.iter().map(|target| format!("{}:{}", target.disk.key(), target.uri));
        backup.nbd_targets_string = texts.collect::<Vec<_>>().join(",");
        backup
    }

    /// The object of a record. A repository that the hub no longer knows leaves the paths relative to it.
    pub(crate) fn backup(&self, record: &model::Backup) -> Backup {
        Backup::new(record, self.0.get(&record.repository_id).map_or("", String::as_str))
    }
}

/// The object of one record, for one who may make backups.
pub(crate) async fn backup(hub: &Hub, record: &model::Backup) -> Result<Backup> {
    backup_for(hub, record, Role::Operator).await
}

/// The object of one record, for one of that role.
pub(crate) async fn backup_for(hub: &Hub, record: &model::Backup, role: Role) -> Result<Backup> {
    Ok(Roots::of(hub).await?.backup_with_targets(hub, record, role))
}
