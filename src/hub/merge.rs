//! Merging a point away: its children take over what it stores, and nothing later is lost.
//!
//! Each child's file of each disk is written anew from the two layers (child over point) and built on the point's
//! own parent, or on nothing where the point is a full: the child then becomes one. File names stay, so what is
//! built on the child keeps working; ids stay too. Several children (branches) are all rewritten together.
//!
//! Order, under the lease on the VM, with the point marked (`consolidate`): the new files are made as partial ones, every granule compared with the hashes of the two layers; one transaction gives them
//! their names, replaces the children's sidecars and removes the point; the rows follow. Readers of the children
//! that have their files open go on undisturbed. A crash before the transaction leaves partial files and a mark,
//! after it rows that differ from the sidecars: recovery handles both.

use crate::backup::{Published, commit};
use crate::control::Control;
use crate::failure::{Place, available};
use crate::image::{self, Stored, What};
use crate::jobs::{Bounds, Running, Tally, supervise};
use crate::points::{OpenRepository, lineage_of, open_lineage, open_repository};
use crate::{Error, Hub, Result, blocking};
use block::{BlockSource, ChangeId, CopyError, Extent, ExtentKind, Side};
use model::{Backup, BackupId, BackupType, Compression, DiskIndex, MergePlan};
use qcow2::{Chain, CompressionType, Slice};
use repository::{Bottom, ChainBaseline, DiskFiles};
use std::ops::Range;
use std::sync::Arc;

/// A child's disk with its new files.
struct Rewritten {
    child: BackupId,
    disk: DiskIndex,
    /// What the new file is built on; `None`: it is a full now.
    parent: Option<BackupId>,
    stored: Stored,
}

impl Hub {
    /// Merges one marked point into its children; gives these. The caller holds the lease on the VM. `last`: no
    /// other step follows.
    pub(crate) async fn merge_one(
        &self,
        repository: &OpenRepository,
        points: &[Backup],
        plan: &MergePlan,
        running: &mut Running,
        last: bool,
    ) -> Result<Vec<BackupId>> {
        let Running { control, tally, report } = running;
        let copying =
            (repository.clone(), points.to_vec(), plan.clone(), Arc::clone(tally), Arc::clone(control));
        let work = blocking::run("merge", move || {
            let (repository, points, plan, tally, control) = copying;
            rewrite_all(&repository, &points, &plan, &tally, &control)
        });
        let bounds = Bounds { deadline: None, place: Some(repository.place.clone()) };
        let rewritten = supervise(work, report, control, bounds).await?;
        if last {
            tally.finalize();
        }
        let records = self.lock_records(&repository.record, "merge").await?;
        let outcome = self.publish_merge(repository, plan, rewritten, control).await;
        records.release().await;
        outcome
    }

    /// Under the lease on the records: the children's labels are read again, because they may have been changed
    /// while the data was copied.
    async fn publish_merge(
        &self,
        repository: &OpenRepository,
        plan: &MergePlan,
        rewritten: Vec<Rewritten>,
        control: &Arc<Control>,
    ) -> Result<Vec<BackupId>> {
        let point = self.backup(&plan.point).await?;
        let mut children: Vec<Backup> = Vec::new();
        for id in children_of(plan) {
            children.push(apply(self.backup(&id).await?, &rewritten));
        }
        let publishing = (repository.clone(), point.clone(), children.clone(), Arc::clone(control));
        let published = blocking::run("publish", move || {
            let (repository, point, children, control) = publishing;
            publish(&repository, &point, &children, rewritten, &control)
        })
        .await?;
        if let Published::Later(error) = published {
            tracing::warn!(%error, "the merge is committed and will be completed by a later run");
        }
        self.catalog().replace_backups(&children, &[point.id]).await?;
        Ok(children.into_iter().map(|child| child.id).collect())
    }
}

fn children_of(plan: &MergePlan) -> Vec<BackupId> {
    let mut children: Vec<BackupId> = Vec::new();
    for (child, _) in &plan.rewrites {
        if !children.contains(child) {
            children.push(child.clone());
        }
    }
    children
}

fn find<'a>(points: &'a [Backup], id: &BackupId) -> Option<&'a Backup> {
    points.iter().find(|point| point.id == *id)
}

/// Virtual bytes that the merge goes through.
pub(crate) fn sizes(points: &[Backup], plan: &MergePlan) -> u64 {
    let of = |(child, disk): &(BackupId, DiskIndex)| Some(find(points, child)?.disk(*disk)?.capacity_bytes);
    plan.rewrites.iter().filter_map(of).sum()
}

/// A new file takes at most what both old ones take together, and those stay until the end.
pub(crate) fn check_room(place: &Place, points: &[Backup], plan: &MergePlan) -> Result<()> {
    let size =
        |id: &BackupId, disk| find(points, id).and_then(|p| p.disk(disk)).map_or(0, |on| on.size_bytes);
    let needed =
        plan.rewrites.iter().map(|(child, disk)| size(child, *disk) + size(&plan.point, *disk)).sum();
    let available = available(&place.root).unwrap_or(0);
    if available < place.reserve.saturating_add(needed) {
        return Err(Error::NoSpace {
            place: format!("repository {}", place.name),
            needed: Some(needed),
            available,
            reserve: place.reserve,
        });
    }
    Ok(())
}

fn rewrite_all(
    repository: &OpenRepository,
    points: &[Backup],
    plan: &MergePlan,
    tally: &Tally,
    control: &Control,
) -> Result<Vec<Rewritten>> {
    // Opened again: whoever held the lease before may have left partial files.
    let repository = open_repository(repository.record.clone(), true)?;
    if let Some(point) = find(points, &plan.point) {
        repository.folder.remove_partials(&point.vm_name).map_err(|error| repository.write_failure(error))?;
    }
    let mut done = Vec::with_capacity(plan.rewrites.len());
    for (child, disk) in &plan.rewrites {
        control.check()?;
        done.push(rewrite(&repository, points, child, *disk, tally, control)?);
    }
    Ok(done)
}

/// Writes one child's disk anew, without its parent.
fn rewrite(
    repository: &OpenRepository,
    points: &[Backup],
    child: &BackupId,
    disk: DiskIndex,
    tally: &Tally,
    control: &Control,
) -> Result<Rewritten> {
    let lineage = lineage_of(points, child, disk);
    let open = open_lineage(repository, lineage, disk)?;
    let layers = open.chain.layers();
    let (Some(top), Some(below)) = (layers.first(), layers.get(1)) else {
        return Err(Error::Internal(format!("{child} has no parent for disk {disk}")));
    };
    let beneath = open.lineage.get(2);
    let backing = beneath
        .and_then(|point| point.disk(disk))
        .and_then(|on| on.file.rsplit('/').next())
        .map(str::to_owned);
    let on = open.lineage.first().and_then(|point| point.disk(disk));
    let Some(on) = on else { return Err(Error::Internal(format!("{child} has no disk {disk}"))) };
    let files = DiskFiles::of(on).map_err(|error| repository.write_failure(error))?;
    let size = top.virtual_size;
    let both: Vec<_> = open.manifests.iter().take(2).cloned().collect();
    let bottom = if beneath.is_some() { Bottom::Partial } else { Bottom::Full };
    let read_failed = |error| repository.place.read_failure(child, error);
    let source = Merged {
        slice: open.chain.slice(0..2).map_err(read_failed)?,
        chain: open.chain.clone(),
        cut: cut_unit(below.virtual_size, size),
    };
    let counters = tally.copy();
    let stored = image::write(
        image::Plan {
            repository: &repository.folder,
            files: &files,
            size,
            backing: backing.clone(),
            compression: compression_of(&open.lineage, &open.chain),
            what: if backing.is_some() { What::Slice } else { What::All },
            expected: Some(ChainBaseline::new(both, bottom, size)),
            counters: &counters,
            limiter: None,
            name: &format!("disk {disk} of {child}"),
        },
        &source,
        control,
    )
    .map_err(|CopyError { side, error }| match (side, error) {
        (Side::Source, error)
        | (_, error @ (block::Error::Mismatch { .. } | block::Error::Corrupt { .. })) => {
            repository.place.read_failure(child, error)
        }
        (_, error) => repository.place.write_failure(error),
    })?;
    Ok(Rewritten { child: child.clone(), disk, parent: beneath.map(|point| point.id.clone()), stored })
}

/// A merged file is stored as the child's was.
fn compression_of(lineage: &[Backup], chain: &Chain) -> Compression {
    let recorded = lineage.first().map_or(Compression::None, |point| point.compression);
    let found = chain.layers().first().and_then(|layer| layer.compression);
    match (recorded, found) {
        (Compression::Zstd, Some(CompressionType::Zlib)) => Compression::Zlib,
        _ => recorded,
    }
}

/// The unit that a shorter layer below ends in the middle of: there the two layers store a part and hide a
/// part, and what is beneath shows through in the first part only.
fn cut_unit(below: u64, size: u64) -> Option<Range<u64>> {
    let end = below.min(size);
    (below < size && !end.is_multiple_of(block::GRANULE)).then(|| {
        let start = end - end % block::GRANULE;
        start..start.saturating_add(block::GRANULE).min(size)
    })
}

/// The child over the point. In the unit that is cut, the whole chain is read: the unit is stored whole.
struct Merged {
    slice: Slice,
    chain: Chain,
    cut: Option<Range<u64>>,
}

impl BlockSource for Merged {
    fn size(&self) -> u64 {
        self.slice.size()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> block::Result<()> {
        let end = offset.saturating_add(buf.len() as u64);
        match &self.cut {
            Some(cut) if offset < cut.end && cut.start < end => {
                let from = cut.start.clamp(offset, end);
                let to = cut.end.clamp(offset, end);
                let (head, rest) = buf.split_at_mut((from - offset) as usize);
                let (middle, tail) = rest.split_at_mut((to - from) as usize);
                for (piece, at, whole) in [(head, offset, false), (middle, from, true), (tail, to, false)] {
                    match piece.is_empty() {
                        true => {}
                        false if whole => self.chain.read_at(piece, at)?,
                        false => self.slice.read_at(piece, at)?,
                    }
                }
                Ok(())
            }
            _ => self.slice.read_at(buf, offset),
        }
    }

    fn extents(&self, range: Range<u64>, since: Option<&ChangeId>) -> block::Result<Vec<Extent>> {
        let Some(cut) = self.cut.as_ref().filter(|cut| range.start < cut.end && cut.start < range.end) else {
            return self.slice.extents(range, since);
        };
        if range.start < cut.start {
            return self.slice.extents(range.start..cut.start, since);
        }
        // What reads as zeros is recorded as such, or what is beneath would show through.
        let found = self.chain.extents(range.start..cut.end.min(range.end), since)?;
        let data = found.iter().any(|extent| extent.kind == ExtentKind::Data);
        let end = found.last().map_or(range.start, Extent::end);
        let kind = if data { ExtentKind::Data } else { ExtentKind::Zero };
        Ok(vec![Extent::new(range.start..end, kind)])
    }

    fn parallelism(&self) -> usize {
        self.slice.parallelism()
    }
}

/// The record of a child as its new files make it.
fn apply(mut child: Backup, rewritten: &[Rewritten]) -> Backup {
    for new in rewritten.iter().filter(|new| new.child == child.id) {
        for on in child.disks.iter_mut().filter(|on| on.index == new.disk) {
            on.parent_backup_id = new.parent.clone();
            if new.parent.is_none() {
                on.backup_type = BackupType::Full;
            }
            on.size_bytes = new.stored.image_bytes;
            on.bytes_transferred = new.stored.stored_bytes;
            on.blake3 = Some(new.stored.blake3.clone());
        }
    }
    if child.disks.iter().all(|on| on.backup_type == BackupType::Full) {
        child.backup_type = BackupType::Full;
    }
    child.parent_backup_id = child.disks.iter().find_map(|on| on.parent_backup_id.clone());
    child.bytes_transferred = child.disks.iter().map(|on| on.bytes_transferred).sum();
    // The verdict was about files that are no more.
    child.verification = None;
    child
}

fn publish(
    repository: &OpenRepository,
    point: &Backup,
    children: &[Backup],
    rewritten: Vec<Rewritten>,
    control: &Control,
) -> Result<Published> {
    let failed = |error| repository.write_failure(error);
    let mut transaction = repository.folder.begin().map_err(failed)?;
    for new in &rewritten {
        let on = find(children, &new.child).and_then(|child| child.disk(new.disk));
        if let Some(on) = on {
            transaction.publish_disk(&DiskFiles::of(on).map_err(failed)?).map_err(failed)?;
        }
    }
    for child in children {
        transaction.put_sidecars(child).map_err(failed)?;
    }
    for on in &point.disks {
        transaction.remove_disk(&DiskFiles::of(on).map_err(failed)?).map_err(failed)?;
    }
    control.check()?;
    commit(repository, transaction, rewritten.into_iter().map(|new| new.stored).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_shorter_layer_that_ends_inside_a_unit_cuts_one() {
        let unit = block::GRANULE;
        assert_eq!(cut_unit(10 * unit, 20 * unit), None);
        assert_eq!(cut_unit(10 * unit + 5, 10 * unit + 5), None);
        assert_eq!(cut_unit(20 * unit, 10 * unit + 5), None);
        assert_eq!(cut_unit(10 * unit + 5, 20 * unit), Some(10 * unit..11 * unit));
        assert_eq!(cut_unit(10 * unit + 5, 10 * unit + 9), Some(10 * unit..10 * unit + 9));
    }
}
