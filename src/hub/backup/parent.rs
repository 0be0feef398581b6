//! Whether the point that a disk is to build on can be built on.
//!
//! Looked at before every incremental and differential: every image of the parent's chain is structurally
//! sound and refers to the next one as the records say, every manifest is whole and is the one that the
//! record names, and no verification has found damage in any of them. The images' data is not read: that is
//! what verifying is for.

use crate::control::Control;
use crate::points::{OpenDisk, OpenRepository, open_lineage};
use crate::{Error, Result};
use model::{Backup, DiskIndex};

/// Layers that the reader opens at most, less the new one.
const DEEPEST: usize = qcow2::MAX_LAYERS - 1;

/// A parent that can be built on.
pub(crate) struct Parent {
    /// Its disk with all its files open.
    pub open: OpenDisk,
    /// The file name of its image, which lies in the new image's folder.
    pub backing: String,
    /// Its virtual size in bytes.
    pub size: u64,
}

/// Looks at the chain `lineage` (the parent first). The inner error is why it can't be built on, for a
/// person; the outer one is a failure to look.
pub(crate) fn examine(
    repository: &OpenRepository,
    lineage: Vec<Backup>,
    disk: DiskIndex,
    control: &Control,
) -> Result<Result<Parent, String>> {
    let Some(parent) = lineage.first().cloned() else { return Ok(Err("its parent is not known".into())) };
    if lineage.len() >= DEEPEST {
        return Ok(Err(format!("the chain of {} is {} points deep", parent.id, lineage.len())));
    }
    for point in &lineage {
        if point.verification.as_ref().is_some_and(|found| !found.ok) {
            return Ok(Err(format!("a verification found damage in {}", point.id)));
        }
    }
    let open = match open_lineage(repository, lineage, disk) {
        Ok(open) => open,
        Err(Error::Damaged { what, reason, .. }) => return Ok(Err(format!("{what} is damaged: {reason}"))),
        Err(error) => return Err(error),
    };
    for ((point, manifest), layer) in open.lineage.iter().zip(&open.manifests).zip(open.chain.layers()) {
        control.check()?;
        match qcow2::check(&layer.path) {
            Ok(report) if report.is_sound() => {}
            Ok(report) => {
                let reason = report.first_error().unwrap_or("its structure does not hold together");
                return Ok(Err(format!("{} is damaged: {reason}", point.id)));
            }
            Err(error) => match repository.place.read_failure(&point.id, error) {
                Error::Damaged { reason, .. } => {
                    return Ok(Err(format!("{} is damaged: {reason}", point.id)));
                }
                other => return Err(other),
            },
        }
        let recorded = point.disk(disk).and_then(|on| on.blake3.clone());
        let found = match manifest.verify() {
            Ok(summary) => summary.blake3,
            Err(error) => match repository.place.read_failure(&point.id, error) {
                Error::Damaged { reason, .. } => {
                    return Ok(Err(format!("{} is damaged: {reason}", point.id)));
                }
                other => return Err(other),
            },
        };
        if recorded.is_some_and(|recorded| recorded != found) {
            return Ok(Err(format!(
                "the hash manifest of {} is not the one that its record names",
                point.id
            )));
        }
    }
    let on = parent.disk(disk);
    let backing = on.and_then(|on| on.file.rsplit('/').next()).unwrap_or_default().to_owned();
    let size = open.chain.layers().first().map_or(0, |layer| layer.virtual_size);
    Ok(Ok(Parent { open, backing, size }))
}
