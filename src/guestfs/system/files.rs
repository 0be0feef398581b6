//! The few files of a guest that tell what it is, read with its links kept inside.

use crate::tree::resolve::{Follow, resolve};
use crate::tree::view::Inside;
use crate::{Error, FileKind, GuestFs, NodeId, Result, Timestamp};
use std::sync::Arc;

/// A file system, or a subvolume of one, that may hold a system.
#[derive(Clone, Copy)]
pub(super) struct Files<'a> {
    /// The file system.
    pub(super) fs: &'a Arc<dyn GuestFs>,
    /// Its root folder.
    pub(super) root: NodeId,
}

impl Files<'_> {
    fn inside(&self) -> Inside<'_> {
        Inside { fs: &**self.fs, root: self.root }
    }

    /// What a path leads to, with all links followed.
    pub(super) fn find(&self, path: &str) -> Result<NodeId> {
        Ok(resolve(&self.inside(), path.as_bytes(), Follow::All)?.node)
    }

    /// Whether there is something under this name, be it a link that leads nowhere.
    pub(super) fn has(&self, path: &str) -> bool {
        resolve(&self.inside(), path.as_bytes(), Follow::AllButLast).is_ok()
    }

    /// Whether a path leads to a folder.
    pub(super) fn is_folder(&self, path: &str) -> bool {
        self.kind(path) == Some(FileKind::Directory)
    }

    /// Whether a path leads to a file.
    pub(super) fn is_file(&self, path: &str) -> bool {
        self.kind(path) == Some(FileKind::File)
    }

    fn kind(&self, path: &str) -> Option<FileKind> {
        Some(self.fs.stat(self.find(path).ok()?).ok()?.kind)
    }

    /// The content of a file of at most `most` bytes.
    pub(super) fn read(&self, path: &str, most: usize) -> Result<Vec<u8>> {
        let node = self.find(path)?;
        let stat = self.fs.stat(node)?;
        if stat.kind != FileKind::File {
            return Err(Error::corrupt(path, "it is no file"));
        }
        let size = usize::try_from(stat.size).ok().filter(|&size| size <= most);
        let size = size.ok_or_else(|| Error::Limit(format!("{path} has more than {most} bytes")))?;
        let mut bytes = vec![0; size];
        let mut at = 0;
        while at < size {
            match self.fs.read_at(node, at as u64, &mut bytes[at..])? {
                0 => break,
                read => at += read,
            }
        }
        bytes.truncate(at);
        Ok(bytes)
    }

    /// When something was changed last.
    pub(super) fn modified(&self, path: &str) -> Option<Timestamp> {
        Some(self.fs.stat(self.find(path).ok()?).ok()?.modified)
    }
}
