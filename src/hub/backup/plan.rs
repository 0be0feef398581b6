//! Which point each disk builds on, decided from the records alone.
//!
//! The parent of an incremental is the newest completed point of the same VM in the same repository that
//! holds the disk; of a differential, the newest whose file of this disk is a full. Disks choose for
//! themselves: one that joined the VM later begins with a full inside an incremental point. Whether a chosen
//! parent is sound is not known here: `backup::parent` looks at its files, and may turn a choice into a full
//! by [`Choice::begin_anew`].

use model::{Backup, BackupId, BackupType, DiskIndex, RequestedType};

/// What one disk will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Which disk.
    pub disk: DiskIndex,
    /// The type of its file.
    pub kind: BackupType,
    /// The point its file builds on; `None` for a full.
    pub parent: Option<BackupId>,
    /// Why it is not what was asked for.
    pub reason: Option<String>,
}

impl Choice {
    fn full(disk: DiskIndex, reason: Option<String>) -> Self {
        Choice { disk, kind: BackupType::Full, parent: None, reason }
    }

    /// Turns the choice into a full, for that reason.
    pub(crate) fn begin_anew(&mut self, reason: String) {
        *self = Choice::full(self.disk, Some(reason));
    }
}

/// What the point will be, as far as records tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Its disks by index.
    pub disks: Vec<Choice>,
    /// Disks of the last point that the VM no longer has.
    pub gone: Vec<DiskIndex>,
}

impl Plan {
    /// The type of the whole point: full where every disk is, otherwise what was asked for.
    pub(crate) fn backup_type(&self, requested: RequestedType) -> BackupType {
        if self.disks.iter().all(|disk| disk.kind == BackupType::Full) {
            return BackupType::Full;
        }
        match requested {
            RequestedType::Differential => BackupType::Differential,
            RequestedType::Full | RequestedType::Incremental | RequestedType::Auto => BackupType::Incremental,
        }
    }

    /// The point that the whole builds on: the newest parent of a disk is that of the first disk that has one.
    pub(crate) fn parent(&self) -> Option<&BackupId> {
        self.disks.iter().find_map(|disk| disk.parent.as_ref())
    }

    /// Why the point is not what was asked for, for its record.
    pub(crate) fn reason(&self) -> Option<String> {
        let mut reasons: Vec<String> = self
            .disks
            .iter()
            .filter_map(|disk| disk.reason.as_ref().map(|reason| format!("disk {}: {reason}", disk.disk)))
            .collect();
        reasons.extend(self.gone.iter().map(|disk| format!("disk {disk} is no longer part of the VM")));
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }
}

/// Chooses for `disks` among `points`, the completed points of the VM in the repository, in any order.
/// `all` is true where every disk of the VM is backed up. `None` where an incremental or a differential was
/// asked for and there is no chain at all.
pub(crate) fn choose(
    requested: RequestedType,
    disks: &[DiskIndex],
    points: &[Backup],
    all: bool,
) -> Option<Plan> {
    let mut newest: Vec<&Backup> = points.iter().filter(|point| point.is_point()).collect();
    newest.sort_by(|a, b| (b.created_at, &b.id).cmp(&(a.created_at, &a.id)));
    if newest.is_empty() && matches!(requested, RequestedType::Incremental | RequestedType::Differential) {
        return None;
    }
    let choices = disks.iter().map(|&disk| choose_one(requested, disk, &newest)).collect();
    let gone = match newest.first() {
        Some(last) if all && requested != RequestedType::Full => {
            last.disks.iter().map(|disk| disk.index).filter(|index| !disks.contains(index)).collect()
        }
        _ => Vec::new(),
    };
    Some(Plan { disks: choices, gone })
}

fn choose_one(requested: RequestedType, disk: DiskIndex, newest: &[&Backup]) -> Choice {
    let kind = match requested {
        RequestedType::Full => return Choice::full(disk, None),
        RequestedType::Incremental | RequestedType::Auto => BackupType::Incremental,
        RequestedType::Differential => BackupType::Differential,
    };
    let parent = newest.iter().find(|point| {
        point.disk(disk).is_some_and(|d| kind == BackupType::Incremental || d.backup_type == BackupType::Full)
    });
    match parent {
        Some(parent) => Choice { disk, kind, parent: Some(parent.id.clone()), reason: None },
        // The first backup: nothing is amiss, so there is nothing to explain.
        None if newest.is_empty() => Choice::full(disk, None),
        None => Choice::full(disk, Some("the disk is new in this VM".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn id(text: &str) -> BackupId {
        BackupId::new(text).unwrap()
    }

    #[test]
    fn an_incremental_follows_the_newest_point_and_a_differential_the_newest_full() {
        let points = [
            fixture::point("b-1", 1, &[(0, BackupType::Full, None)]),
            fixture::point("b-3", 3, &[(0, BackupType::Incremental, Some("b-1"))]),
            fixture::point("b-2", 2, &[(0, BackupType::Incremental, Some("b-1"))]),
        ];
        let disks = [DiskIndex(0)];
        let plan = choose(RequestedType::Incremental, &disks, &points, true).unwrap();
        assert_eq!(plan.parent(), Some(&id("b-3")));
        assert_eq!(plan.reason(), None);
        let plan = choose(RequestedType::Differential, &disks, &points, true).unwrap();
        assert_eq!(plan.parent(), Some(&id("b-1")));
        assert_eq!(plan.backup_type(RequestedType::Differential), BackupType::Differential);
    }

    #[test]
    fn without_a_chain_auto_makes_a_full_and_an_incremental_is_refused() {
        let disks = [DiskIndex(0)];
        assert_eq!(choose(RequestedType::Incremental, &disks, &[], true), None);
        let plan = choose(RequestedType::Auto, &disks, &[], true).unwrap();
        assert_eq!(plan.backup_type(RequestedType::Auto), BackupType::Full);
        assert_eq!(plan.reason(), None, "the first backup is as it should be");
    }

    #[test]
    fn a_disk_that_joined_begins_with_a_full_and_one_that_left_is_told() {
        let points = [fixture::point("b-1", 1, &[(0, BackupType::Full, None), (2, BackupType::Full, None)])];
        let plan = choose(RequestedType::Auto, &[DiskIndex(0), DiskIndex(1)], &points, true).unwrap();
        assert_eq!(plan.disks[0].parent, Some(id("b-1")));
        assert_eq!(plan.disks[1].kind, BackupType::Full);
        assert_eq!(plan.backup_type(RequestedType::Auto), BackupType::Incremental);
        assert_eq!(
            plan.reason().as_deref(),
            Some("disk 1: the disk is new in this VM; disk 2 is no longer part of the VM")
        );
        let plan = choose(RequestedType::Auto, &[DiskIndex(0)], &points, false).unwrap();
        assert_eq!(plan.gone, []);
    }
}
