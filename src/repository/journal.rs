//! The record of a transaction on disk, and how it is applied.
//!
//! `.sendense/txn-{uuid}.json` lists renames and removals. Once it stands under that name the change *will*
//! happen: every step can be repeated, so whoever finds the file simply does all of them again. While it is
//! being prepared the file is called `txn-{uuid}.json.partial`, and new small files wait beside it as
//! `txn-{uuid}.{n}.partial`. Whoever works on a transaction holds a lock (`flock`) on its file, from its
//! first byte to its removal; the kernel drops the lock of a process that dies.
//!
//! What is *not* here: building one (`transaction`), finding those of dead processes (`recovery`).

use crate::gate::Files;
use crate::marker::{FOLDER, check_version};
use crate::{Error, RelPath, Result};
use model::VmName;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use uuid::Uuid;

/// The version of the record; a greater one is refused and stays.
const SCHEMA_VERSION: u32 = 1;
/// No record is longer: some 300,000 paths.
pub(crate) const MAX_RECORD: u64 = 64 << 20;

/// One rename.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct RawRename {
    from: String,
    to: String,
}

/// The JSON as it stands in the file.
#[derive(Debug, Serialize, Deserialize)]
struct RawRecord {
    schema_version: u32,
    renames: Vec<RawRename>,
    removals: Vec<String>,
}

/// A checked record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) renames: Vec<(RelPath, RelPath)>,
    pub(crate) removals: Vec<RelPath>,
}

/// The names of one transaction's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TxnName {
    id: Uuid,
}

/// What a name in `.sendense` is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TxnFile {
    Committed(TxnName),
    Prepared(TxnName),
    Staged(TxnName),
}

impl TxnName {
    pub(crate) fn new() -> Self {
        TxnName { id: Uuid::new_v4() }
    }

    pub(crate) fn committed(&self) -> Result<RelPath> {
        RelPath::new(format!("{FOLDER}/txn-{}.json", self.id))
    }

    pub(crate) fn prepared(&self) -> Result<RelPath> {
        Ok(self.committed()?.partial())
    }

    pub(crate) fn staged(&self, number: usize) -> Result<RelPath> {
        RelPath::new(format!("{FOLDER}/txn-{}.{number}.partial", self.id))
    }

    /// Where a record goes that can't be understood, so that it stops nothing and is still there to look at.
    pub(crate) fn damaged(&self) -> Result<RelPath> {
        RelPath::new(format!("{FOLDER}/txn-{}.damaged", self.id))
    }

    /// Reads a name in `.sendense`; `None` where it is not a transaction's.
    pub(crate) fn parse(name: &str) -> Option<TxnFile> {
        let (id, ending) = name.strip_prefix("txn-")?.split_once('.')?;
        let name = TxnName { id: Uuid::try_parse(id).ok().filter(|uuid| uuid.to_string() == id)? };
        match ending {
            "json" => Some(TxnFile::Committed(name)),
            "json.partial" => Some(TxnFile::Prepared(name)),
            _ => {
                let number = ending.strip_suffix(".partial")?;
                number.parse::<usize>().ok()?;
                Some(TxnFile::Staged(name))
            }
        }
    }
}

impl Record {
    /// The JSON of the record.
    pub(crate) fn encode(&self, path: &RelPath) -> Result<Vec<u8>> {
        let raw = RawRecord {
            schema_version: SCHEMA_VERSION,
            renames: self
                .renames
                .iter()
                .map(|(from, to)| RawRename { from: from.to_string(), to: to.to_string() })
                .collect(),
            removals: self.removals.iter().map(RelPath::to_string).collect(),
        };
        let json = serde_json::to_vec(&raw).map_err(|error| Error::damaged(path, error.to_string()))?;
        if json.len() as u64 > MAX_RECORD {
            return Err(Error::damaged(path, "the change is too large for one transaction"));
        }
        Ok(json)
    }

    /// Reads and checks a record. It may have been written by anyone: every path must stay inside, only
    /// points' files may be touched, and new files come only from partial ones.
    ///
    /// # Errors
    /// [`Error::Newer`]; [`Error::Damaged`] for all else.
    pub(crate) fn decode(name: &TxnName, json: &[u8]) -> Result<Record> {
        let path = name.committed()?;
        check_version("transaction", &path, json, SCHEMA_VERSION)?;
        let raw: RawRecord =
            serde_json::from_slice(json).map_err(|error| Error::damaged(&path, error.to_string()))?;
        let refuse = |error: Error| Error::damaged(&path, error.to_string());
        let mut record = Record::default();
        for rename in raw.renames {
            let from = RelPath::new(rename.from).map_err(refuse)?;
            let to = RelPath::new(rename.to).and_then(point_file).map_err(refuse)?;
            if !from.is_partial() || to.is_partial() {
                return Err(Error::damaged(&path, format!("it renames {from} to {to}")));
            }
            let own = from.as_str().strip_prefix(FOLDER).and_then(|rest| rest.strip_prefix('/'));
            match own.map(TxnName::parse) {
                None => drop(point_file(from.clone()).map_err(refuse)?),
                Some(Some(TxnFile::Staged(owner))) if owner == *name => {}
                Some(_) => return Err(Error::damaged(&path, format!("it takes {from}"))),
            }
            record.renames.push((from, to));
        }
        for removal in raw.removals {
            record.removals.push(RelPath::new(removal).and_then(point_file).map_err(refuse)?);
        }
        Ok(record)
    }

    /// True where it changes files of this VM.
    pub(crate) fn touches(&self, vm: &VmName) -> bool {
        let mut paths = self.renames.iter().flat_map(|(from, to)| [from, to]).chain(&self.removals);
        paths.any(|path| path.parts().next() == Some(vm.as_str()))
    }

    /// Does all of it; may be called again after having been stopped anywhere, by anyone who holds the lock.
    /// Returns what was not as expected: a file that is neither where it was nor where it should go.
    ///
    /// # Errors
    /// What the operating system refused. The record must stay then.
    pub(crate) fn apply(&self, files: &dyn Files) -> Result<Vec<String>> {
        let mut problems = Vec::new();
        let mut touched: BTreeSet<Option<RelPath>> = BTreeSet::new();
        for (from, to) in &self.renames {
            touched.insert(from.parent());
            touched.insert(to.parent());
            match files.rename(from, to) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    if files.exists(from).map_err(Error::io("look for", from))? {
                        // Without its folder the point is gone; the change must not wait for it for ever.
                        match to.parent() {
                            Some(folder)
                                if !files.exists(&folder).map_err(Error::io("look for", &folder))? =>
                            {
                                problems.push(format!("{to} can't be made: its folder is gone"));
                                continue;
                            }
                            _ => return Err(Error::io("rename to", to)(error)),
                        }
                    }
                    if !files.exists(to).map_err(Error::io("look for", to))? {
                        problems.push(format!("{to} is missing, and so is {from}"));
                    }
                }
                Err(error) => return Err(Error::io("rename to", to)(error)),
            }
        }
        let mut emptied: BTreeSet<RelPath> = BTreeSet::new();
        for path in &self.removals {
            touched.insert(path.parent());
            match files.remove(path) {
                Ok(()) => {}
                Err(error) if is_gone(error.kind()) => {}
                Err(error) => return Err(Error::io("remove", path)(error)),
            }
            emptied.extend(path.parent());
        }
        // Disk folders first, then the VM folders above them.
        let above: BTreeSet<RelPath> = emptied.iter().filter_map(RelPath::parent).collect();
        for folder in emptied.iter().chain(&above) {
            match files.remove_folder(folder) {
                Ok(()) => drop(touched.insert(folder.parent())),
                Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty || is_gone(error.kind()) => {}
                Err(error) => return Err(Error::io("remove the folder", folder)(error)),
            }
        }
        for folder in &touched {
            match files.sync_folder(folder.as_ref()) {
                Ok(()) => {}
                Err(error) if is_gone(error.kind()) => {}
                Err(error) => {
                    let name = folder.as_ref().map_or(".".to_owned(), RelPath::to_string);
                    return Err(Error::io("sync the folder", name)(error));
                }
            }
        }
        Ok(problems)
    }
}

fn is_gone(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// Only files of points may be changed by a transaction: `{vm}/disk-{n}/{name}`.
pub(crate) fn point_file(path: RelPath) -> Result<RelPath> {
    if path.parts().count() == 3 && !path.as_str().starts_with('.') {
        return Ok(path);
    }
    let reason = "it is not the path of a point's file";
    Err(Error::BadPath { path: path.as_str().chars().take(120).collect(), reason })
}
