//! Changing completed points: all of a change happens, or nothing of it.
//!
//! A [`Transaction`] collects renames of finished `.partial` files, removals and new small files, and
//! [`commit`](Transaction::commit)s them as one: everything new is made durable, then the record of the change
//! appears under its final name — the one moment at which the change becomes true —, then it is applied and
//! the record removed. A process killed before that moment leaves only partial files, after it a record that
//! the next [`recover`](crate::LocalRepository::recover) completes.
//!
//! Dropping a transaction without `commit` removes what it staged itself; partial files that were to be
//! renamed are their makers' business.

use crate::ballast;
use crate::error::no_space;
use crate::gate::Files;
use crate::journal::{Record, TxnName, point_file};
use crate::marker;
use crate::{DiskFiles, Error, RelPath, Result, sidecar};
use model::Backup;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::ErrorKind;
use std::sync::Arc;

/// A change of completed points that is being prepared.
pub struct Transaction {
    files: Arc<dyn Files>,
    name: TxnName,
    /// Open and locked as long as this transaction lives: others leave it alone.
    lock: File,
    record: Record,
    staged: Vec<RelPath>,
    committed: bool,
}

impl Transaction {
    /// Begins one: its file is made and locked.
    pub(crate) fn begin(files: Arc<dyn Files>) -> Result<Self> {
        // A recovery that lists the folder between "made" and "locked" may take the file for a dead
        // process's and remove it; that is seen here, and another name taken.
        for _ in 0..16 {
            let name = TxnName::new();
            let path = name.prepared()?;
            match files.create_locked(&path) {
                Ok(lock) if files.exists(&path).map_err(Error::io("look for", &path))? => {
                    return Ok(Transaction {
                        files,
                        name,
                        lock,
                        record: Record::default(),
                        staged: Vec::new(),
                        committed: false,
                    });
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(Error::io("create", &path)(error)),
            }
        }
        Err(Error::Busy { path: marker::FOLDER.to_owned(), reason: "others keep removing its files".into() })
    }

    /// Takes a finished partial file to its final name, replacing what is there.
    ///
    /// # Errors
    /// [`Error::BadPath`] where `from` is not a partial or `to` not a final file of a point.
    pub fn rename(&mut self, from: &RelPath, to: &RelPath) -> Result<()> {
        let (from, to) = (point_file(from.clone())?, point_file(to.clone())?);
        let reason = match (from.is_partial(), to.is_partial()) {
            (true, false) => None,
            (false, _) => Some((&from, "only a .partial file can be taken to a final name")),
            (_, true) => Some((&to, "a final name does not end in .partial")),
        };
        if let Some((path, reason)) = reason {
            return Err(Error::BadPath { path: path.to_string(), reason });
        }
        self.record.renames.push((from, to));
        Ok(())
    }

    /// Takes `….partial` to its final name.
    ///
    /// # Errors
    /// As for [`rename`](Transaction::rename).
    pub fn publish(&mut self, path: &RelPath) -> Result<()> {
        self.rename(&path.partial(), path)
    }

    /// Removes a file, and its disk's and VM's folder where nothing else is left in them. That it is not
    /// there is fine. Removals come after all renames.
    ///
    /// # Errors
    /// [`Error::BadPath`] where it is not a file of a point.
    pub fn remove(&mut self, path: &RelPath) -> Result<()> {
        self.record.removals.push(point_file(path.clone())?);
        Ok(())
    }

    /// Writes a small file whole, or replaces it. The content is made durable at once, under a name that
    /// nobody else touches.
    ///
    /// # Errors
    /// Where the content can't be written; the transaction may still be used without it.
    pub fn put(&mut self, path: &RelPath, content: &[u8]) -> Result<()> {
        let to = point_file(path.clone())?;
        let staged = self.name.staged(self.staged.len())?;
        // Noted first: a half-written file must be removed too.
        self.staged.push(staged.clone());
        self.files.write_new(&staged, content).map_err(Error::io("write", path))?;
        self.record.renames.push((staged, to));
        Ok(())
    }

    /// Writes or replaces the sidecars of a point, one beside each of its disks.
    ///
    /// # Errors
    /// As for [`put`](Transaction::put); [`Error::Damaged`] where the record could not be read back.
    pub fn put_sidecars(&mut self, backup: &Backup) -> Result<()> {
        let json = sidecar::encode(backup)?;
        for disk in &backup.disks {
            self.put(&DiskFiles::of(disk)?.sidecar, &json)?;
        }
        Ok(())
    }

    /// Takes all partial files of a finished disk of a point, image and manifest, to their final names.
    ///
    /// # Errors
    /// As for [`rename`](Transaction::rename).
    pub fn publish_disk(&mut self, files: &DiskFiles) -> Result<()> {
        self.publish(&files.manifest)?;
        self.publish(&files.image)
    }

    /// Removes all three files of a disk of a point.
    ///
    /// # Errors
    /// As for [`remove`](Transaction::remove).
    pub fn remove_disk(&mut self, files: &DiskFiles) -> Result<()> {
        files.all().into_iter().try_for_each(|path| self.remove(path))
    }

    /// Makes the whole change true.
    ///
    /// # Errors
    /// Before the moment of commit: nothing has happened, and nothing is left of this transaction but the
    /// `.partial` files it was given. After it: [`Error::Unfinished`], the change is true and will be
    /// completed by the next recovery.
    pub fn commit(mut self) -> Result<()> {
        if self.record == Record::default() {
            return Ok(());
        }
        self.make_sources_durable()?;
        let (prepared, committed) = (self.name.prepared()?, self.name.committed()?);
        let json = self.record.encode(&committed)?;
        let mut filled = self.files.fill(&prepared, &self.lock, &json);
        // What frees room must be possible without room.
        let lightened = self.record.renames.is_empty()
            && matches!(&filled, Err(error) if no_space(error))
            && ballast::drop_it(self.files.as_ref());
        if lightened {
            filled = self.files.fill(&prepared, &self.lock, &json);
        }
        filled.map_err(Error::io("write", &prepared))?;
        self.files.rename(&prepared, &committed).map_err(Error::io("rename to", &committed))?;
        // From here on the record may be seen by others and be durable, so the change is not taken back.
        self.committed = true;
        self.apply(&committed)
            .map_err(|source| Error::Unfinished { path: committed.to_string(), source: Box::new(source) })
    }

    fn make_sources_durable(&self) -> Result<()> {
        let mut folders: BTreeSet<Option<RelPath>> = BTreeSet::new();
        for (from, to) in &self.record.renames {
            if !self.staged.contains(from) {
                self.files.sync_file(from).map_err(Error::io("sync", from))?;
            }
            folders.insert(from.parent());
            folders.insert(to.parent());
        }
        for folder in folders {
            if let Some(path) = &folder
                && !self.files.is_on_root_device(path).map_err(Error::io("stat", path))?
            {
                return Err(Error::OtherFileSystem { path: path.to_string() });
            }
            let name = folder.as_ref().map_or(".".to_owned(), RelPath::to_string);
            self.files.sync_folder(folder.as_ref()).map_err(Error::io("sync the folder", name))?;
        }
        Ok(())
    }

    fn apply(&self, committed: &RelPath) -> Result<()> {
        let folder = marker::folder()?;
        self.files.sync_folder(Some(&folder)).map_err(Error::io("sync the folder", &folder))?;
        for problem in self.record.apply(self.files.as_ref())? {
            tracing::warn!(transaction = %committed, problem, "a file of this change has vanished");
        }
        self.files.remove(committed).map_err(Error::io("remove", committed))?;
        self.files.sync_folder(Some(&folder)).map_err(Error::io("sync the folder", &folder))
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if self.committed {
            return;
        }
        // Best effort: what can't be removed now is removed by the next recovery, as nobody holds its lock.
        for path in &self.staged {
            let _ = self.files.remove(path);
        }
        if let Ok(prepared) = self.name.prepared() {
            let _ = self.files.remove(&prepared);
        }
    }
}
