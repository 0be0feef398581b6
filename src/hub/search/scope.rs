//! Which points a search looks into.

use crate::{Error, Hub, Missing, Only, Result};
use api::{SearchPoints, SearchQuery};
use jiff::Timestamp;
use model::{Backup, BackupId, ContextId, VmName};
use std::collections::BTreeMap;

/// How many VMs are asked for at once.
const PAGE: u32 = 500;

/// The points of a search, VM by VM. Those of a VM are asked for when its turn comes.
pub(super) struct Scope {
    vms: Vec<Points>,
    which: SearchPoints,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    /// How many points there are, as far as that is known before.
    pub points_total: u64,
}

enum Points {
    /// These, oldest first.
    These(Vec<Backup>),
    /// Of this VM.
    Of(VmName, ContextId),
}

impl Scope {
    /// How many VMs.
    pub(super) fn len(&self) -> usize {
        self.vms.len()
    }

    /// Whether one point of each VM is searched.
    pub(super) fn is_one_each(&self) -> bool {
        self.which == SearchPoints::Latest
    }

    /// The points of one VM, oldest first.
    pub(super) async fn points(&self, hub: &Hub, vm: usize) -> Result<Vec<Backup>> {
        match self.vms.get(vm) {
            None => Ok(Vec::new()),
            Some(Points::These(points)) => Ok(points.clone()),
            Some(Points::Of(name, _)) if self.which == SearchPoints::Latest => {
                let newest = hub.catalog().latest_point(Some(name), self.since, self.until, 0).await?;
                Ok(newest.into_iter().collect())
            }
            Some(Points::Of(_, context)) => {
                let mut points = hub.points_of(context).await?;
                points.retain(|point| {
                    self.since.is_none_or(|since| point.created_at >= since)
                        && self.until.is_none_or(|until| point.created_at <= until)
                });
                Ok(points)
            }
        }
    }
}

impl Hub {
    /// Which points a query means.
    ///
    /// # Errors
    /// No such VM or point; a VM without points; parameters that exclude one another.
    pub(super) async fn search_scope(&self, query: &SearchQuery, only: Only<'_>) -> Result<Scope> {
        let (since, until) = (query.since, query.until);
        if let Some(ids) = &query.backup_id {
            if query.vm_name.is_some() || query.points.is_some() || since.is_some() || until.is_some() {
                let reason = "points are named: vm_name, points, since and until choose among others";
                return Err(Error::invalid("backup_id", reason));
            }
            return self.named_points(ids, only).await;
        }
        let Some(name) = &query.vm_name else {
            let which = query.points.unwrap_or(SearchPoints::Latest);
            let vms = self.all_vms(only).await?;
            let points_total = match which {
                SearchPoints::Latest => vms.len() as u64,
                SearchPoints::All => self.count_points(only).await?,
            };
            return Ok(Scope { vms, which, since, until, points_total });
        };
        let name = VmName::new(name).map_err(|error| Error::invalid("vm_name", error))?;
        if only.is_some_and(|only| !only.contains(&name)) {
            return Err(Error::missing(Missing::Vm, name));
        }
        let which = query.points.unwrap_or(SearchPoints::All);
        let newest = self.catalog().latest_point(Some(&name), since, until, 0).await?;
        let Some(newest) = newest else {
            return match self.catalog().vm_by_name(&name).await? {
                Some(_) => Err(Error::missing(Missing::Backup, format!("{name}@latest"))),
                None => Err(Error::missing(Missing::Vm, name)),
            };
        };
        let mut scope = Scope {
            vms: vec![Points::Of(name, newest.vm_context_id.clone())],
            which,
            since,
            until,
            points_total: 1,
        };
        if which == SearchPoints::All {
            let points = scope.points(self, 0).await?;
            scope.points_total = points.len() as u64;
            scope.vms = vec![Points::These(points)];
        }
        Ok(scope)
    }

    async fn named_points(&self, ids: &str, only: Only<'_>) -> Result<Scope> {
        let mut by_vm: BTreeMap<ContextId, Vec<Backup>> = BTreeMap::new();
        for id in ids.split(',').map(str::trim).filter(|id| !id.is_empty()) {
            let id = BackupId::new(id).map_err(|error| Error::invalid("backup_id", error))?;
            let point = self.point(&id).await?;
            if only.is_some_and(|only| !only.contains(&point.vm_name)) {
                return Err(Error::missing(Missing::Backup, id));
            }
            let points = by_vm.entry(point.vm_context_id.clone()).or_default();
            if points.iter().all(|known| known.id != point.id) {
                points.push(point);
            }
        }
        if by_vm.is_empty() {
            return Err(Error::invalid("backup_id", "no point is named"));
        }
        let points_total = by_vm.values().map(|points| points.len() as u64).sum();
        let one_each = by_vm.values().all(|points| points.len() == 1);
        let vms = by_vm.into_values().map(|mut points| {
            points.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
            Points::These(points)
        });
        let which = if one_each { SearchPoints::Latest } else { SearchPoints::All };
        Ok(Scope { vms: vms.collect(), which, since: None, until: None, points_total })
    }

    /// By name. One that is added meanwhile moves the others on: none is there twice.
    async fn all_vms(&self, only: Only<'_>) -> Result<Vec<Points>> {
        let (mut all, mut seen) = (BTreeMap::new(), 0);
        loop {
            let (vms, total) = self.vms_among(PAGE, seen, only).await?;
            let got = vms.len() as u64;
            seen += got;
            all.extend(vms.into_iter().map(|vm| (vm.context_id, vm.name)));
            if got == 0 || seen >= total {
                break;
            }
        }
        let mut all: Vec<_> = all.into_iter().map(|(context, name)| (name, context)).collect();
        all.sort();
        Ok(all.into_iter().map(|(name, context)| Points::Of(name, context)).collect())
    }

    async fn count_points(&self, only: Only<'_>) -> Result<u64> {
        let filter = catalog::BackupFilter {
            status: Some(model::Status::Completed),
            vm_names: only.map(<[_]>::to_vec),
            limit: 1,
            ..catalog::BackupFilter::default()
        };
        Ok(self.catalog().count_backups(&filter).await?)
    }
}
