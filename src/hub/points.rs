//! Points as they are read: records of a VM, and a disk's chain with all its files open.
//!
//! A reader opens the image and the manifest of every layer at the start and keeps them open: whatever is
//! renamed or removed afterwards, its inodes stay. What it must not do is to open half of a chain before a
//! merge and half after it. So the generations of all rows of the chain are read before and after, and where
//! one differs everything is opened again. While a point below is on its way out, its files may be gone or
//! replaced before the rows say so: what was opened then counts only if it is what the rows say.

use crate::failure::Place;
use crate::{Error, Hub, Missing, Result, blocking, repositories};
use catalog::BackupState;
use model::{Backup, BackupId, ChainGraph, ContextId, DiskIndex, Repository, RepositoryId};
use qcow2::{Chain, Inside};
use repository::{Bottom, ChainBaseline, DiskFiles, LocalRepository, Manifest};
use std::time::Duration;

/// How often a chain that changes under the reader is opened again: twenty seconds' worth.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(200);

/// A repository that is open.
#[derive(Clone)]
pub(crate) struct OpenRepository {
    /// Its record.
    pub record: Repository,
    /// Its folder.
    pub folder: LocalRepository,
    /// For messages and space.
    pub place: Place,
}

/// One disk of a point with everything that it is made of.
pub(crate) struct OpenDisk {
    /// The images, the top first.
    pub chain: Chain,
    /// Their manifests, the top first.
    pub manifests: Vec<Manifest>,
    /// Their points, the top first.
    pub lineage: Vec<Backup>,
}

impl OpenDisk {
    /// The same open files once more.
    pub(crate) fn again(&self) -> Self {
        OpenDisk {
            chain: self.chain.clone(),
            manifests: self.manifests.clone(),
            lineage: self.lineage.clone(),
        }
    }

    /// What the disk must read as.
    pub(crate) fn expected(&self) -> ChainBaseline {
        let size = self.manifests.first().map_or(0, Manifest::virtual_size);
        ChainBaseline::new(self.manifests.clone(), Bottom::Full, size)
    }
}

impl Hub {
    /// The record of a backup in any state.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn backup(&self, id: &BackupId) -> Result<Backup> {
        self.catalog().backup(id).await?.ok_or_else(|| Error::missing(Missing::Backup, id))
    }

    /// The completed points of a VM in all repositories, oldest first.
    pub(crate) async fn points_of(&self, context: &ContextId) -> Result<Vec<Backup>> {
        Ok(self.catalog().points_of_vm(context, None).await?)
    }

    /// The completed points of a VM in one repository, oldest first.
    pub(crate) async fn points_in(
        &self,
        context: &ContextId,
        repository: &RepositoryId,
    ) -> Result<Vec<Backup>> {
        Ok(self.catalog().points_of_vm(context, Some(repository)).await?)
    }

    /// The repository of a record.
    pub(crate) async fn repository_of(&self, id: &RepositoryId) -> Result<Repository> {
        self.catalog().repository(id).await?.ok_or_else(|| Error::missing(Missing::Repository, id))
    }

    /// Opens the folder of a repository.
    pub(crate) async fn open_repository(&self, record: Repository, writing: bool) -> Result<OpenRepository> {
        blocking::run("repository", move || open_repository(record, writing)).await
    }

    /// Opens one disk of a completed point, for which the caller holds a lease.
    pub(crate) async fn open_disk(
        &self,
        repository: &OpenRepository,
        id: &BackupId,
        disk: DiskIndex,
    ) -> Result<OpenDisk> {
        let mut tries = 0;
        loop {
            let before = self.lineage_states(id, disk).await?;
            let lineage: Vec<Backup> = before.iter().map(|(backup, _)| backup.clone()).collect();
            let opening = repository.clone();
            let opened = blocking::run("open", move || open_lineage(&opening, lineage, disk)).await;
            let after = self.lineage_states(id, disk).await?;
            let same = is_same(&before, &after);
            // A chain that opens refers to itself as the rows say: it is whole, whatever becomes of it next.
            if same && (opened.is_ok() || !is_going(&before, &after)) {
                return opened;
            }
            tries += 1;
            if tries >= TRIES {
                if same {
                    return opened;
                }
                return Err(Error::Conflict {
                    message: format!("the chain of {id} is being changed all the time"),
                    hint: "try again when merging has ended".into(),
                });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The rows of a disk's chain, from the point down to the full.
    async fn lineage_states(&self, id: &BackupId, disk: DiskIndex) -> Result<Vec<Row>> {
        let mut line: Vec<Row> = Vec::new();
        let mut next = Some(id.clone());
        while let Some(id) = next.take() {
            if line.iter().any(|(seen, _)| seen.id == id) {
                break;
            }
            // The state first: a change between the two is then seen as one.
            let state = self.catalog().backup_state(&id).await?;
            let (Some(state), Some(backup)) = (state, self.catalog().backup(&id).await?) else {
                if line.is_empty() {
                    return Err(Error::missing(Missing::Backup, id));
                }
                break;
            };
            next = backup.disk(disk).and_then(|disk| disk.parent_backup_id.clone());
            line.push((backup, state));
        }
        Ok(line)
    }
}

/// A record, and how its row stood when it was read.
type Row = (Backup, BackupState);

/// True where nothing was changed in between.
fn is_same(before: &[Row], after: &[Row]) -> bool {
    before.len() == after.len()
        && before
            .iter()
            .zip(after)
            .all(|((before, was), (after, is))| before.id == after.id && was.generation == is.generation)
}

/// True where a point of the chain is on its way out.
fn is_going(before: &[Row], after: &[Row]) -> bool {
    before.iter().chain(after).any(|(_, state)| state.deleting)
}

/// Opens the folder of a repository. Blocks.
pub(crate) fn open_repository(record: Repository, writing: bool) -> Result<OpenRepository> {
    let folder = repositories::open(&record, writing)?;
    let place = repositories::place(&record, &folder)?;
    Ok(OpenRepository { record, folder, place })
}

/// Opens every file of a disk's chain and makes sure that the images refer to one another as the records
/// say. Blocks.
pub(crate) fn open_lineage(
    repository: &OpenRepository,
    lineage: Vec<Backup>,
    disk: DiskIndex,
) -> Result<OpenDisk> {
    let Some(top) = lineage.first() else { return Err(Error::missing(Missing::Backup, "")) };
    let top_id = top.id.clone();
    let damaged = |id: &BackupId, reason: String| {
        let points = if *id == top_id { vec![id.clone()] } else { vec![id.clone(), top_id.clone()] };
        Error::Damaged { what: id.to_string(), reason, points }
    };
    let mut files = Vec::with_capacity(lineage.len());
    for point in &lineage {
        let on = point
            .disk(disk)
            .ok_or_else(|| Error::missing(Missing::Disk, format!("{disk} in {}", point.id)))?;
        files.push(DiskFiles::of(on).map_err(|error| damaged(&point.id, error.to_string()))?);
    }
    if let Some(parent) =
        lineage.last().and_then(|last| last.disk(disk)).and_then(|on| on.parent_backup_id.as_ref())
    {
        return Err(damaged(&top_id, format!("it is built on {parent}, which is not known")));
    }
    let mut manifests = Vec::with_capacity(files.len());
    for (point, files) in lineage.iter().zip(&files) {
        let manifest = repository
            .folder
            .open_manifest(&files.manifest)
            .map_err(|error| repository.read_failure(&point.id, error))?;
        manifests.push(manifest);
    }
    let root = repository.folder.root();
    let read_failed = |error| repository.place.read_failure(&top_id, error);
    let gate = Inside::new(root).map_err(read_failed)?;
    let image = files.first().map(|files| repository.folder.absolute(&files.image)).unwrap_or_default();
    let chain = Chain::open(&image, &gate).map_err(read_failed)?;
    let canonical = root.canonicalize().unwrap_or_else(|_| root.to_owned());
    for (layer, (point, files)) in lineage.iter().zip(&files).enumerate() {
        let wanted = canonical.join(files.image.as_str());
        match chain.layers().get(layer) {
            Some(info) if layer == 0 || info.path == wanted => {}
            Some(info) => {
                let found = info.path.display();
                return Err(damaged(&point.id, format!("{found} lies below where {} should", files.image)));
            }
            None => return Err(damaged(&point.id, format!("nothing refers to its file {}", files.image))),
        }
    }
    if chain.layers().len() != lineage.len() {
        let reason = format!("its files are {} deep, {} are known", chain.layers().len(), lineage.len());
        return Err(damaged(&top_id, reason));
    }
    Ok(OpenDisk { chain, manifests, lineage })
}

/// The chain of a point for one disk, the point first, out of a VM's points.
pub(crate) fn lineage_of(points: &[Backup], id: &BackupId, disk: DiskIndex) -> Vec<Backup> {
    ChainGraph::new(points).lineage(id, disk).into_iter().cloned().collect()
}

impl OpenRepository {
    /// A failure of reading a file of a point.
    pub(crate) fn read_failure(&self, point: &BackupId, error: repository::Error) -> Error {
        if error.is_unavailable() {
            return repositories::from_repository(&self.place.name, error);
        }
        self.place.read_failure(point, crate::image::as_block(error))
    }

    /// A failure of changing files.
    pub(crate) fn write_failure(&self, error: repository::Error) -> Error {
        if error.is_no_space() {
            return self.place.full();
        }
        repositories::from_repository(&self.place.name, error)
    }
}
