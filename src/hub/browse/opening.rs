//! From a restore point to the tree of its files: what sessions, searches and comparisons begin with.
//!
//! The caller holds a lease on the point.

use super::disk::PointDisk;
use super::failure;
use crate::checked::CheckedDisk;
use crate::points::OpenDisk;
use crate::{Error, Hub, Missing, Result};
use api::from_base64;
use guestfs::layers::{LayerOptions, discover};
use guestfs::tree::Tree;
use guestfs::{Disk, OpenOptions};
use model::{Backup, BackupId, DiskIndex};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// The disks of a point, open.
pub(crate) struct OpenPoint {
    /// Which point.
    pub id: BackupId,
    /// Those that could be opened.
    pub disks: Vec<(DiskIndex, OpenDisk)>,
    /// Why others could not.
    pub notes: Vec<String>,
}

/// What of a point is looked at, and how.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    /// Only this disk.
    pub disk: Option<u32>,
    /// Only this volume, with its root folder as the root.
    pub volume: Option<String>,
    /// Volumes whose journal can't be replayed as they lie on the disk.
    pub ignore_journal: bool,
    /// Passphrases and contents of key files.
    pub keys: Vec<Vec<u8>>,
    /// Whether all of its folders are going to be walked.
    pub walked: bool,
}

impl Hub {
    /// The record of a completed restore point.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Conflict`] where it is in another state.
    pub(crate) async fn point(&self, id: &BackupId) -> Result<Backup> {
        let record = self.backup(id).await?;
        if record.is_point() {
            return Ok(record);
        }
        Err(Error::Conflict {
            message: format!("{} is {}, only restore points can be opened", record.id, record.status),
            hint: "`sendense-ctl backup list --status completed` lists them".into(),
        })
    }

    /// Opens the disks of a point: all, or one.
    ///
    /// # Errors
    /// No such disk; why none of them can be read.
    pub(crate) async fn open_point(&self, record: &Backup, disk: Option<u32>) -> Result<OpenPoint> {
        let disks = wanted_disks(record, disk)?;
        let repository = self.repository_of(&record.repository_id).await?;
        let repository = self.open_repository(repository, false).await?;
        let mut point = OpenPoint { id: record.id.clone(), disks: Vec::new(), notes: Vec::new() };
        let mut failed = None;
        for index in disks {
            match self.open_disk(&repository, &record.id, index).await {
                Ok(disk) => point.disks.push((index, disk)),
                // The others may have what is wanted.
                Err(error) => {
                    point.notes.push(format!("disk {index} can't be read: {error}"));
                    failed = Some(error);
                }
            }
        }
        match failed {
            Some(error) if point.disks.is_empty() => Err(error),
            _ => Ok(point),
        }
    }
}

impl OpenPoint {
    /// The tree of its files. What is read of the disks is counted in `read`. Blocks.
    ///
    /// # Errors
    /// No such volume, or why it can't be opened.
    pub(crate) fn tree(&self, view: &View, read: &Arc<AtomicU64>) -> Result<Tree> {
        let disk = |(index, open): &(DiskIndex, OpenDisk)| {
            let checked = CheckedDisk::new(open.again(), format!("disk {index} of {}", self.id));
            let checked = if view.walked { checked.for_walks() } else { checked };
            Disk { index: index.0, device: Arc::new(PointDisk::new(checked, Arc::clone(read))) }
        };
        let disks: Vec<Disk> = self.disks.iter().map(disk).collect();
        let inventory = discover(&disks, &LayerOptions { keys: view.keys.clone() });
        let options = OpenOptions { ignore_journal: view.ignore_journal, ..OpenOptions::default() };
        let Some(volume) = &view.volume else { return Ok(Tree::open(inventory, options)) };
        let known: Vec<String> = inventory.volumes.iter().map(|volume| volume.id.clone()).collect();
        if !known.contains(volume) {
            let reason = format!("there is no volume {volume}: there are {}", known.join(", "));
            return Err(Error::invalid("volume", reason));
        }
        Tree::of_volume(inventory, volume, options).map_err(|error| failure::at(volume.as_bytes(), &error))
    }
}

/// Keys as they came over the wire.
///
/// # Errors
/// One is no Base64.
pub(crate) fn keys_of(keys_b64: &[String]) -> Result<Vec<Vec<u8>>> {
    let keys = keys_b64.iter().map(|key| from_base64(key));
    keys.collect::<Result<Vec<_>, _>>().map_err(|error| Error::invalid("keys_b64", error))
}

/// The disks that are to be opened: all of them, or one.
fn wanted_disks(record: &Backup, wanted: Option<u32>) -> Result<Vec<DiskIndex>> {
    match wanted {
        None => Ok(record.disks.iter().map(|disk| disk.index).collect()),
        Some(index) => match record.disk(DiskIndex(index)) {
            Some(disk) => Ok(vec![disk.index]),
            None => Err(Error::missing(Missing::Disk, format!("{index} in {}", record.id))),
        },
    }
}
