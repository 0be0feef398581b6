//! The chain of one disk: the latest full that the VM's newest point leads to, and all that is built on it.

use crate::{Error, Hub, Missing, Result};
use api::{Chain, ChainQuery};
use model::{Backup, ChainGraph, ContextId, DiskIndex, Repository, RepositoryId, RequestedType, Vm, VmName};
use std::collections::BTreeMap;

impl Hub {
    /// The chain of a VM's disk.
    ///
    /// # Errors
    /// [`Error::NotFound`] for the VM or the disk; [`Error::ChainNotFound`] where there is no full of it.
    pub async fn chain(&self, name: &VmName, query: &ChainQuery) -> Result<Chain> {
        if let Some((repository, disk, members)) = self.latest_chain(name, query).await? {
            let members: Vec<&Backup> = members.iter().collect();
            return Chain::new(&members, disk, &repository.path)
                .ok_or_else(|| no_chain(name, &format!("repository {}", repository.name)));
        }
        let (repository, disk, points) = self.points_with_chain(name, query).await?;
        let graph = ChainGraph::new(&points);
        let latest = points.iter().rev().find(|point| point.disk(disk).is_some());
        let members = latest.map(|latest| graph.chain(&latest.id, disk)).unwrap_or_default();
        Chain::new(&members, disk, &repository.path)
            .ok_or_else(|| no_chain(name, &format!("repository {}", repository.name)))
    }

    /// The chain by its end: what years of other points there are does not matter. `None` where it is not that
    /// simple: the newest point lacks the disk, or its chain leads to no full.
    async fn latest_chain(
        &self,
        name: &VmName,
        query: &ChainQuery,
    ) -> Result<Option<(Repository, DiskIndex, Vec<Backup>)>> {
        let vm = self.vm(name).await?;
        let disk = disk_of(&vm, query);
        let named = match &query.repository_id {
            Some(named) => Some(self.find_repository(Some(named)).await?),
            None => None,
        };
        let within = named.as_ref().map(|repository| &repository.id);
        let Some(latest) = self.catalog().newest_point_of(&vm.context_id, within).await? else {
            return Ok(None);
        };
        let Some(members) = self.catalog().chain_ending_with(&latest, disk).await? else { return Ok(None) };
        let repository = match named {
            Some(named) => named,
            None => self.repository_of(&latest.repository_id).await?,
        };
        Ok(Some((repository, disk, members)))
    }

    /// The points of a VM, oldest first, in the repository where its chain is looked for; at least one holds
    /// the disk.
    pub(crate) async fn points_with_chain(
        &self,
        name: &VmName,
        query: &ChainQuery,
    ) -> Result<(Repository, DiskIndex, Vec<Backup>)> {
        let vm = self.vm(name).await?;
        let disk = disk_of(&vm, query);
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
        if points.iter().all(|point| point.disk(disk).is_none()) {
            if points.is_empty() || vm.disks.iter().any(|known| known.index == disk) {
                return Err(no_chain(name, &format!("repository {}", repository.name)));
            }
            return Err(Error::missing(Missing::Disk, format!("{disk} in VM {name}")));
        }
        Ok((repository, disk, points))
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

/// The disk that was asked for, or the first.
fn disk_of(vm: &Vm, query: &ChainQuery) -> DiskIndex {
    DiskIndex(query.disk_id.unwrap_or_else(|| vm.disks.first().map_or(0, |disk| disk.index.0)))
}

fn no_chain(vm: &VmName, repository: &str) -> Error {
    Error::ChainNotFound {
        vm: vm.clone(),
        repository: repository.to_owned(),
        requested: RequestedType::Incremental,
    }
}
