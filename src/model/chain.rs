//! The rules of chains: who depends on whom, what may be deleted, what a deletion or a merge takes along.
//!
//! A [`ChainGraph`] is made of the completed points of one VM. An arrow runs from a point to each point that
//! one of its disks is built on. Cycles can only come from a damaged catalog; every walk is bounded by a
//! visited set.

use crate::{Backup, BackupId, DiskIndex};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// The points of one VM and their dependencies.
#[derive(Debug, Default)]
pub struct ChainGraph<'a> {
    points: BTreeMap<&'a BackupId, &'a Backup>,
    children: BTreeMap<&'a BackupId, BTreeSet<&'a BackupId>>,
}

/// Why a deletion or a merge is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// No such point in this VM.
    #[error("there is no restore point {0}")]
    Unknown(BackupId),
    /// Others are built on it.
    #[error("{} restore point(s) depend on {id}", dependents.len())]
    HasDependents {
        /// The point.
        id: BackupId,
        /// Everything built on it, oldest first.
        dependents: Vec<BackupId>,
    },
    /// It, or a point that would go with it, is protected.
    #[error("{0} is protected")]
    Protected(BackupId),
    /// It has no child to merge into.
    #[error("nothing is built on {0}: delete it instead of merging it")]
    NothingToMergeInto(BackupId),
}

/// What merging a point away does: per disk, the children that take over its clusters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergePlan {
    /// The point that goes.
    pub point: BackupId,
    /// (child, disk) pairs whose file is rewritten, oldest child first.
    pub rewrites: Vec<(BackupId, DiskIndex)>,
}

/// What keeping only the later points of a chain does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsolidationPlan {
    /// The points that go, newest first: in this order each gives its data to points that stay, and the full,
    /// which is the largest, is written once.
    pub going: Vec<BackupId>,
    /// The oldest point of the chain that stays.
    pub first: BackupId,
}

impl<'a> ChainGraph<'a> {
    /// The graph of these points; what is not completed is left out.
    pub fn new(points: impl IntoIterator<Item = &'a Backup>) -> Self {
        let mut graph = ChainGraph::default();
        for point in points.into_iter().filter(|point| point.is_point()) {
            for parent in point.parents() {
                graph.children.entry(parent).or_default().insert(&point.id);
            }
            graph.points.insert(&point.id, point);
        }
        graph
    }

    /// The point of that id.
    pub fn get(&self, id: &BackupId) -> Option<&'a Backup> {
        self.points.get(id).copied()
    }

    /// Everything built on `id`, directly or not, oldest first.
    pub fn dependents(&self, id: &BackupId) -> Vec<&'a Backup> {
        let mut found: BTreeSet<&BackupId> = BTreeSet::new();
        let mut open: Vec<&BackupId> = vec![id];
        while let Some(next) = open.pop() {
            for child in self.children.get(next).into_iter().flatten() {
                if found.insert(child) {
                    open.push(child);
                }
            }
        }
        let mut points: Vec<&Backup> = found.iter().filter_map(|id| self.get(id)).collect();
        points.sort_by_key(|point| (point.created_at, &point.id));
        points
    }

    /// `id` and everything it is built on for that disk, from the point down to the full.
    pub fn lineage(&self, id: &BackupId, disk: DiskIndex) -> Vec<&'a Backup> {
        let mut line: Vec<&Backup> = Vec::new();
        let mut next = self.get(id);
        while let Some(point) = next {
            if line.iter().any(|seen| seen.id == point.id) {
                break;
            }
            line.push(point);
            next = point
                .disk(disk)
                .and_then(|d| d.parent_backup_id.as_ref())
                .and_then(|parent| self.get(parent));
        }
        line
    }

    /// The chain of a disk that `id` belongs to, oldest point first: every point whose line ends at the same
    /// full by way of this disk. Another disk of the same points may begin anew.
    pub fn chain(&self, id: &BackupId, disk: DiskIndex) -> Vec<&'a Backup> {
        let Some(full) = self.lineage(id, disk).last().copied() else { return Vec::new() };
        let belongs =
            |point: &&Backup| self.lineage(&point.id, disk).last().is_some_and(|bottom| bottom.id == full.id);
        let mut members: Vec<&Backup> = self.points.values().copied().filter(belongs).collect();
        members.sort_by_key(|point| (point.created_at, &point.id));
        members
    }

    /// The chain of `latest` without the points from before `since`. The latest point and protected ones
    /// stay whatever their age.
    ///
    /// # Errors
    /// Unknown.
    pub fn plan_consolidation(
        &self,
        latest: &BackupId,
        disk: DiskIndex,
        since: Timestamp,
    ) -> Result<ConsolidationPlan, ChainError> {
        let members = self.chain(latest, disk);
        let goes = |point: &&&Backup| point.created_at < since && !point.protected && point.id != *latest;
        let first = members.iter().find(|point| !goes(point));
        let first = first.ok_or_else(|| ChainError::Unknown(latest.clone()))?.id.clone();
        let mut going: Vec<BackupId> = members.iter().filter(goes).map(|point| point.id.clone()).collect();
        going.reverse();
        Ok(ConsolidationPlan { going, first })
    }

    /// The points that go when `id` is deleted: itself last, dependents newest first, so that nothing is ever
    /// left without its parent.
    ///
    /// # Errors
    /// Unknown; dependents without `cascade`; a protected point among them.
    pub fn plan_delete(&self, id: &BackupId, cascade: bool) -> Result<Vec<&'a Backup>, ChainError> {
        let point = self.get(id).ok_or_else(|| ChainError::Unknown(id.clone()))?;
        let mut going = self.dependents(id);
        if !going.is_empty() && !cascade {
            return Err(ChainError::HasDependents {
                id: id.clone(),
                dependents: going.iter().map(|point| point.id.clone()).collect(),
            });
        }
        going.reverse();
        going.push(point);
        match going.iter().find(|point| point.protected) {
            Some(point) => Err(ChainError::Protected(point.id.clone())),
            None => Ok(going),
        }
    }

    /// What merging `id` into its children would rewrite.
    ///
    /// # Errors
    /// Unknown; protected; nothing is built on it.
    pub fn plan_merge(&self, id: &BackupId) -> Result<MergePlan, ChainError> {
        let point = self.get(id).ok_or_else(|| ChainError::Unknown(id.clone()))?;
        if point.protected {
            return Err(ChainError::Protected(id.clone()));
        }
        let mut children: Vec<&Backup> =
            self.children.get(id).into_iter().flatten().filter_map(|id| self.get(id)).collect();
        children.sort_by_key(|point| (point.created_at, &point.id));
        let rewrites: Vec<_> = children
            .iter()
            .flat_map(|child| child.disks.iter().map(move |disk| (child, disk)))
            .filter(|(_, disk)| disk.parent_backup_id.as_ref() == Some(id))
            .map(|(child, disk)| (child.id.clone(), disk.index))
            .collect();
        if rewrites.is_empty() {
            return Err(ChainError::NothingToMergeInto(id.clone()));
        }
        Ok(MergePlan { point: id.clone(), rewrites })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        BackupDisk, BackupType, Compression, ContextId, OnTrackingLoss, Phase, RepositoryId, RequestedType,
        Status, VmName,
    };
    use std::collections::BTreeMap;

    /// A completed point of one disk, named by a letter; its age follows the letter.
    fn point(letter: char, parent: Option<char>) -> Backup {
        let id = |letter: char| BackupId::new(format!("backup-vm-{letter}")).unwrap();
        let created_at = format!("2025-10-06T12:00:{:02}Z", letter as u32 - 'a' as u32).parse().unwrap();
        let backup_type = if parent.is_some() { BackupType::Incremental } else { BackupType::Full };
        Backup {
            id: id(letter),
            vm_name: VmName::new("vm").unwrap(),
            vm_context_id: ContextId::new("ctx-vm").unwrap(),
            requested_type: RequestedType::Auto,
            backup_type,
            status: Status::Completed,
            phase: Phase::Completed,
            repository_id: RepositoryId::new("default").unwrap(),
            parent_backup_id: parent.map(id),
            fallback_reason: None,
            bytes_transferred: 0,
            total_bytes: 0,
            bytes_processed: 0,
            transfer_speed_bps: 0,
            eta_seconds: None,
            last_telemetry_at: None,
            error_message: None,
            error_code: None,
            tags: BTreeMap::new(),
            notes: None,
            protected: false,
            protect_reason: None,
            compression: Compression::None,
            on_tracking_loss: OnTrackingLoss::Full,
            timeout_seconds: 0,
            bandwidth_limit_bps: None,
            created_at,
            started_at: None,
            completed_at: None,
            verification: None,
            disks: vec![BackupDisk {
                index: DiskIndex(0),
                source: "/vm/disk.raw".parse().unwrap(),
                backup_type,
                parent_backup_id: parent.map(id),
                status: Status::Completed,
                capacity_bytes: 0,
                size_bytes: 0,
                bytes_transferred: 0,
                bytes_processed: 0,
                file: String::new(),
                nbd_export_name: String::new(),
                change_id: None,
                fallback_reason: None,
                blake3: None,
                error_message: None,
            }],
        }
    }

    fn letters<'a>(points: impl IntoIterator<Item = &'a BackupId>) -> String {
        points.into_iter().map(|id| id.as_str().chars().last().unwrap()).collect()
    }

    /// a full; b, c incrementals in a row; d a differential on a; e an incremental on d; f another full.
    fn tree() -> Vec<Backup> {
        [('a', None), ('b', Some('a')), ('c', Some('b')), ('d', Some('a')), ('e', Some('d')), ('f', None)]
            .map(|(letter, parent)| point(letter, parent))
            .into()
    }

    #[test]
    fn dependents_and_lineage_follow_the_branches() {
        let points = tree();
        let graph = ChainGraph::new(&points);
        assert_eq!(letters(graph.dependents(&points[0].id).iter().map(|p| &p.id)), "bcde");
        assert_eq!(letters(graph.dependents(&points[3].id).iter().map(|p| &p.id)), "e");
        assert_eq!(letters(graph.lineage(&points[4].id, DiskIndex(0)).iter().map(|p| &p.id)), "eda");
        assert!(graph.dependents(&points[5].id).is_empty());
    }

    #[test]
    fn deleting_is_refused_with_the_list_or_takes_dependents_first() {
        let mut points = tree();
        let graph = ChainGraph::new(&points);
        let Err(ChainError::HasDependents { dependents, .. }) = graph.plan_delete(&points[1].id, false)
        else {
            panic!("b has a dependent")
        };
        assert_eq!(letters(&dependents), "c");
        let going = graph.plan_delete(&points[0].id, true).unwrap();
        assert_eq!(letters(going.iter().map(|p| &p.id)), "edcba");

        points[4].protected = true;
        let graph = ChainGraph::new(&points);
        assert_eq!(graph.plan_delete(&points[0].id, true), Err(ChainError::Protected(points[4].id.clone())));
        assert_eq!(letters(graph.plan_delete(&points[2].id, false).unwrap().iter().map(|p| &p.id)), "c");
    }

    #[test]
    fn merging_rewrites_every_direct_child() {
        let points = tree();
        let graph = ChainGraph::new(&points);
        let plan = graph.plan_merge(&points[0].id).unwrap();
        assert_eq!(letters(plan.rewrites.iter().map(|(id, _)| id)), "bd");
        assert_eq!(
            graph.plan_merge(&points[5].id),
            Err(ChainError::NothingToMergeInto(points[5].id.clone()))
        );
    }

    #[test]
    fn a_circle_in_a_damaged_catalog_ends() {
        let points = [point('a', Some('b')), point('b', Some('a'))];
        let graph = ChainGraph::new(&points);
        assert_eq!(graph.lineage(&points[0].id, DiskIndex(0)).len(), 2);
        assert_eq!(graph.dependents(&points[0].id).len(), 2);
    }

    #[test]
    fn what_is_not_completed_is_no_point() {
        let mut points = tree();
        points[1].status = Status::Failed;
        let graph = ChainGraph::new(&points);
        assert!(graph.get(&points[1].id).is_none());
        assert_eq!(letters(graph.dependents(&points[0].id).iter().map(|p| &p.id)), "de");
    }

    #[test]
    fn consolidating_keeps_what_is_young_protected_or_the_latest() {
        // a ← b ← c ← d, and a ← e as a branch.
        let mut points = vec![
            point('a', None),
            point('b', Some('a')),
            point('c', Some('b')),
            point('d', Some('c')),
            point('e', Some('a')),
            point('z', None),
        ];
        let id = |letter: char| BackupId::new(format!("backup-vm-{letter}")).unwrap();
        let plan = |points: &[Backup], latest: char, since: &str| {
            ChainGraph::new(points)
                .plan_consolidation(&id(latest), DiskIndex(0), since.parse().unwrap())
                .unwrap()
        };
        let found = plan(&points, 'd', "2025-10-06T12:00:02Z");
        assert_eq!(found, ConsolidationPlan { going: vec![id('b'), id('a')], first: id('c') });
        let found = plan(&points, 'd', "2099-01-01T00:00:00Z");
        assert_eq!(found.going, [id('e'), id('c'), id('b'), id('a')], "the latest stays, other chains too");
        assert_eq!(plan(&points, 'd', "2000-01-01T00:00:00Z").going, []);
        points[1].protected = true;
        let found = plan(&points, 'd', "2025-10-06T12:00:02Z");
        assert_eq!(found, ConsolidationPlan { going: vec![id('a')], first: id('b') });
    }
}
