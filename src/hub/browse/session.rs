//! One open point: its tree, and the lease that keeps the point where it is.
//!
//! Everything here reads disks and blocks: it is called on threads that may. A session that was closed stays usable for
//! whoever still holds it (a download that runs): its files are open, whatever becomes of their names. Its lease is given
//! back when it is closed.

use super::archive::Archives;
use super::entry::{entry, number};
use super::listing::Listings;
use super::{failure, volumes};
use crate::leases::Guard;
use crate::mounts::{Closing, Ended, Lasting, Times, Wait, bare_view};
use crate::{Error, Result};
use api::{ErrorCode, FileInfo, Mount, VolumeView};
use guestfs::tree::{Follow, Node, Tree};
use guestfs::{Content, FileKind, GuestFs, NodeId, Place};
use model::{BackupId, MountKind, VmName};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The most runs of data that are told of one file.
const MAX_RUNS: usize = 10_000;

/// An open point.
pub struct Session {
    id: String,
    pub(super) backup: BackupId,
    vm_name: VmName,
    pub(super) tree: Tree,
    /// Disks that could not be opened, and why.
    notes: Vec<String>,
    times: Arc<Times>,
    /// How far its folders were listed.
    pub(super) listings: Listings,
    /// The archives that were made of it last.
    pub(super) archives: Archives,
    /// Held until the session is closed.
    lease: Mutex<Option<Guard>>,
}

/// A regular file that is open for reading.
pub struct OpenFile {
    fs: Arc<dyn GuestFs>,
    node: NodeId,
    path: Vec<u8>,
    /// Its last component.
    pub name: Vec<u8>,
    /// Bytes.
    pub size: u64,
    /// Last change of the content: whole seconds since 1970.
    pub modified: i64,
    /// The same for the same content, and for no other: of this point and file.
    pub tag: String,
}

impl OpenFile {
    /// Fills `buf` from byte `offset`, and tells how many bytes that were: fewer only at the end.
    ///
    /// # Errors
    /// Why they can't be read.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.fs.read_at(self.node, offset, buf).map_err(|error| failure::at(&self.path, &error))
    }
}

impl Session {
    pub(super) fn new(
        id: String,
        backup: BackupId,
        vm_name: VmName,
        tree: Tree,
        notes: Vec<String>,
        idle: Duration,
        lease: Guard,
    ) -> Self {
        let (times, lease) = (Arc::new(Times::new(idle)), Mutex::new(Some(lease)));
        let (listings, archives) = (Listings::default(), Archives::default());
        Session { id, backup, vm_name, tree, notes, times, listings, archives, lease }
    }

    /// When it was opened and used.
    pub(crate) fn times(&self) -> &Arc<Times> {
        &self.times
    }

    /// Gives the lease back.
    pub(crate) async fn release(&self) {
        let lease = self.lease.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(lease) = lease {
            lease.release().await;
        }
    }

    /// The session as the wire shows it.
    pub fn view(&self) -> Mount {
        let system = self.tree.system();
        let volumes: Vec<VolumeView> = volumes::views(&self.tree);
        let root = volumes.iter().find(|volume| volume.mount_point.as_deref() == Some("/"));
        let root = root.or_else(|| volumes.iter().find(|volume| volume.mount_point.is_some()));
        Mount {
            backup_id: Some(self.backup.clone()),
            filesystem_type: root.and_then(|volume| volume.filesystem_type.clone()),
            system: system.name.clone(),
            warnings: self.tree.warnings(),
            notes: self.notes.iter().chain(&system.notes).cloned().collect(),
            volumes,
            ..bare_view(&self.id, MountKind::Session, &self.vm_name, &self.times)
        }
    }

    pub(super) fn resolve(&self, path: &[u8], follow: Follow) -> Result<(Node, Vec<u8>)> {
        match self.tree.resolve(path, follow) {
            Ok(found) => Ok((found.node, found.path)),
            Err(error) => {
                Err(self.hidden_by_damage(&error.source).unwrap_or_else(|| failure::of_path(&error)))
            }
        }
    }

    /// Where nothing stands at `/` because what should is damaged, a file that is not found is no news: the damage is.
    fn hidden_by_damage(&self, error: &guestfs::Error) -> Option<Error> {
        let volumes = self.tree.volumes();
        if !matches!(error, guestfs::Error::NotFound)
            || volumes.iter().any(|state| state.mounts.contains(&&b"/"[..]))
        {
            return None;
        }
        volumes.iter().find_map(|state| match &state.volume.content {
            Content::Damaged(why) => Some(Error::Guest {
                path: state.volume.id.clone(),
                reason: why.clone(),
                code: ErrorCode::Damaged,
            }),
            _ => None,
        })
    }

    /// Everything about one file.
    ///
    /// # Errors
    /// Where there is no such path, or it can't be read.
    pub fn info(&self, path: &[u8], follow: bool) -> Result<FileInfo> {
        let (node, canonical) = self.resolve(path, if follow { Follow::All } else { Follow::AllButLast })?;
        let failed = |error: guestfs::Error| failure::at(&canonical, &error);
        let file = entry(&self.tree, &canonical, node, true).map_err(failed)?;
        let data = if file.kind == api::FileType::File {
            self.data(node, file.size).map_err(failed)?
        } else {
            Vec::new()
        };
        let volume = self.tree.volume_of(node).map(|volume| volume.id.clone());
        Ok(FileInfo { file, volume, data, warnings: self.tree.warnings() })
    }

    /// The parts of a file of that size that hold data.
    pub(super) fn data(&self, node: Node, size: u64) -> guestfs::Result<Vec<(u64, u64)>> {
        let mut data: Vec<(u64, u64)> = Vec::new();
        let mut offset = 0;
        while let Some(run) = self.tree.map(node, offset)? {
            if run.place != Place::Hole {
                let full = data.len() == MAX_RUNS;
                match data.last_mut() {
                    Some((start, length)) if *start + *length == offset => *length += run.length,
                    Some((start, length)) if full => {
                        *length = size.saturating_sub(*start);
                        return Ok(data);
                    }
                    _ => data.push((offset, run.length)),
                }
            }
            // A run is never empty, so this ends.
            offset = offset.saturating_add(run.length.max(1));
        }
        Ok(data)
    }

    /// Opens a regular file.
    ///
    /// # Errors
    /// Where there is no such path, it is no regular file, or it can't be read.
    pub fn open_file(&self, path: &[u8]) -> Result<OpenFile> {
        let (node, canonical) = self.resolve(path, Follow::All)?;
        let failed = |error: guestfs::Error| failure::at(&canonical, &error);
        let stat = self.tree.stat(node).map_err(failed)?;
        match stat.kind {
            FileKind::File => {}
            FileKind::Directory => return Err(failed(guestfs::Error::IsADirectory)),
            _ => {
                let path = String::from_utf8_lossy(&canonical);
                return Err(Error::invalid("path", format!("{path} is no regular file: it has no content")));
            }
        }
        let (fs, id) = self.tree.file(node).map_err(failed)?;
        let identity = format!("{} {} {} {:?}", self.backup, number(node), stat.size, stat.modified);
        let tag = blake3::hash(identity.as_bytes()).to_hex()[..32].to_owned();
        let name = canonical.rsplit(|&byte| byte == b'/').next().unwrap_or_default().to_vec();
        let (size, modified) = (stat.size, stat.modified.seconds);
        Ok(OpenFile { fs, node: id, path: canonical, name, size, modified, tag })
    }
}

impl Lasting for Session {
    fn view(&self) -> Mount {
        Session::view(self)
    }

    fn path(&self) -> Option<String> {
        None
    }

    fn leftovers(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    fn session(self: Arc<Self>) -> Option<Arc<Session>> {
        Some(self)
    }

    fn touch(&self) {
        self.times.touch();
    }

    fn is_over(&self) -> bool {
        false
    }

    fn tend(&self) -> Wait<'_, ()> {
        Box::pin(async {})
    }

    fn close(&self, _: Closing) -> Wait<'_, Result<Ended>> {
        Box::pin(async {
            self.release().await;
            Ok(Ended::Gone)
        })
    }
}

impl mount::Plant for Session {
    fn tree(&self) -> &Tree {
        &self.tree
    }

    fn used(&self) {
        self.times.touch();
    }
}
