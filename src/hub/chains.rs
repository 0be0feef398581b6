//! The chain of one disk: the latest full that the VM's newest point leads to, and all that is built on it.

use crate::{Error, Hub, Missing, Result};
use api::{Chain, ChainQuery};
use model::{Backup, ChainGraph, ContextId, DiskIndex, RepositoryId, RequestedType, Vm, VmName};
use std::collections::BTreeMap;

impl Hub {
    /// The chain of a VM's disk.
    ///
    /// # Errors
    /// [`Error::NotFound`] for the VM or the disk; [`Error::ChainNotFound`] where there is no full of it.
    pub async fn chain(&self, name: &VmName, query: &ChainQuery) -> Result<Chain> {
        let vm = self.vm(name).await?;
        let disk =
            DiskIndex(query.disk_id.unwrap_or_else(|| vm.disks.first().map_or(0, |disk| disk.index.0)));
        let all = self.points_of(&vm.context_id).await?;
        let repository = match &query.repository_id {
            Some(named) => self.find_repository(Some(named)).await?,
            None => match all.last() {
                Some(latest) => self.repository_of(&latest.repository_id).await?,
                None => return Err(no_chain(name, "any repository")),
            },
        };
        let points: Vec<Backup> =
            all.into_iter().filter(|point| point.repository_id == repository.id).collect();
        let Some(latest) = points.iter().rev().find(|point| point.disk(disk).is_some()) else {
            if points.is_empty() || vm.disks.iter().any(|known| known.index == disk) {
                return Err(no_chain(name, repository.name.as_str()));
            }
            return Err(Error::missing(Missing::Disk, format!("{disk} in VM {name}")));
        };
        let graph = ChainGraph::new(&points);
        let Some(full) = graph.lineage(&latest.id, disk).last().copied() else {
            return Err(no_chain(name, repository.name.as_str()));
        };
        // What is built on the full by way of this disk: another disk of the same points may begin anew.
        let members: Vec<&Backup> = points
            .iter()
            .filter(|point| graph.lineage(&point.id, disk).last().is_some_and(|bottom| bottom.id == full.id))
            .collect();
        Chain::new(&members, disk, &repository.path).ok_or_else(|| no_chain(name, repository.name.as_str()))
    }

    /// The VM of a context id.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn vm_of_context(&self, context: &ContextId) -> Result<Vm> {
        self.catalog().vm(context).await?.ok_or_else(|| Error::missing(Missing::Vm, context))
    }

    /// Where each repository lies.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn repository_roots(&self) -> Result<BTreeMap<RepositoryId, String>> {
        let all = self.catalog().repositories().await?;
        Ok(all.into_iter().map(|repository| (repository.id, repository.path)).collect())
    }
}

fn no_chain(vm: &VmName, repository: &str) -> Error {
    Error::ChainNotFound {
        vm: vm.clone(),
        repository: repository.to_owned(),
        requested: RequestedType::Incremental,
    }
}
