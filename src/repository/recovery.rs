//! Completing the changes of processes that died.
//!
//! Every transaction's file is locked by the process that works on it, so a file that can be locked belongs
//! to nobody any more: a committed one is applied and removed, a prepared one is removed with what it staged.
//! Two recoveries at once, or a recovery beside a live transaction, therefore never do the same work at the
//! same time; the one that finds a lock taken leaves that transaction alone, or waits for it a while.

use crate::gate::{EntryKind, Files};
use crate::journal::{MAX_RECORD, Record, TxnFile, TxnName};
use crate::marker::{self, read_bounded};
use crate::{Error, RelPath, Result};
use model::VmName;
use std::fs::File;
use std::time::{Duration, Instant};

/// What a recovery did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// Committed changes that were completed.
    pub applied: usize,
    /// Changes that were never committed and of which nothing is left now.
    pub discarded: usize,
    /// Changes that a live process is working on; they were left to it.
    pub live: usize,
    /// What was not as it should be, for a person.
    pub problems: Vec<String>,
    /// Committed changes that could not be completed, with the reason; they stay and are tried again.
    pub pending: Vec<String>,
}

/// What became of one transaction's file.
enum Outcome {
    Done,
    Live,
    Gone,
}

/// Looks through `.sendense` and completes what can be completed. `patience` is how long to wait for each
/// committed change that a live process is applying.
pub(crate) fn recover(files: &dyn Files, patience: Duration) -> Result<Recovery> {
    let folder = marker::folder()?;
    let mut report = Recovery::default();
    let mut changed = false;
    let mut staged = Vec::new();
    for entry in files.list(Some(&folder)).map_err(Error::io("list", &folder))? {
        let Some(name) = entry.name.to_str() else { continue };
        if name.ends_with(".damaged") {
            report.problems.push(format!(
                "{folder}/{name} is a change that could not be understood: its points may be incomplete"
            ));
        }
        match TxnName::parse(name).filter(|_| entry.kind == EntryKind::File) {
            None => {}
            Some(TxnFile::Committed(name)) => match replay(files, &name, patience, &mut report.problems) {
                Ok(Outcome::Done) => {
                    report.applied += 1;
                    changed = true;
                }
                Ok(Outcome::Live) => report.live += 1,
                Ok(Outcome::Gone) => {}
                Err(error) => report.pending.push(error.to_string()),
            },
            Some(TxnFile::Prepared(name)) => match discard(files, &name)? {
                Outcome::Done => {
                    report.discarded += 1;
                    changed = true;
                }
                Outcome::Live => report.live += 1,
                Outcome::Gone => {}
            },
            Some(TxnFile::Staged(owner)) => staged.push((folder.join(name)?, owner)),
        }
    }
    // Last, as most have lost their owners just now.
    for (path, owner) in staged {
        changed |= discard_staged(files, &path, &owner)?;
    }
    if changed {
        files.sync_folder(Some(&folder)).map_err(Error::io("sync the folder", &folder))?;
    }
    Ok(report)
}

/// The first committed change of this VM (of any, without one) that is not applied to its end, whoever is at
/// it. One that can't be understood may be any VM's.
pub(crate) fn awaited(files: &dyn Files, vm: Option<&VmName>) -> Result<Option<RelPath>> {
    let folder = marker::folder()?;
    for entry in files.list(Some(&folder)).map_err(Error::io("list", &folder))? {
        let Some(TxnFile::Committed(name)) = entry.name.to_str().and_then(TxnName::parse) else { continue };
        let path = name.committed()?;
        let record = read_bounded(files, &path, MAX_RECORD).and_then(|json| Record::decode(&name, &json));
        let concerns = match (record, vm) {
            (Ok(record), Some(vm)) => record.touches(vm),
            (Err(error), _) if error.is_not_found() => false,
            (Ok(_), None) | (Err(_), _) => true,
        };
        if concerns {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn replay(
    files: &dyn Files,
    name: &TxnName,
    patience: Duration,
    problems: &mut Vec<String>,
) -> Result<Outcome> {
    let path = name.committed()?;
    let Some(_lock) = lock(files, &path, patience)? else {
        return Ok(if exists(files, &path)? { Outcome::Live } else { Outcome::Gone });
    };
    // Whoever held the lock before may have completed it.
    if !exists(files, &path)? {
        return Ok(Outcome::Gone);
    }
    let record = read_bounded(files, &path, MAX_RECORD).and_then(|json| Record::decode(name, &json));
    let record = match record {
        Ok(record) => record,
        Err(error @ Error::Damaged { .. }) => {
            // It was durable before it got its name, so this is no crash but bit rot or forgery. It can never
            // be applied, and must not stop every backup from now on.
            let aside = name.damaged()?;
            files.rename(&path, &aside).map_err(Error::io("rename to", &aside))?;
            problems.push(format!("{error}; it was put aside as {aside}"));
            return Ok(Outcome::Gone);
        }
        Err(error) => return Err(error),
    };
    let found = record.apply(files)?;
    problems.extend(found.into_iter().map(|problem| format!("{path}: {problem}")));
    files.remove(&path).map_err(Error::io("remove", &path))?;
    Ok(Outcome::Done)
}

fn discard(files: &dyn Files, name: &TxnName) -> Result<Outcome> {
    let path = name.prepared()?;
    let Some(_lock) = lock(files, &path, Duration::ZERO)? else {
        return Ok(if exists(files, &path)? { Outcome::Live } else { Outcome::Gone });
    };
    if !exists(files, &path)? {
        return Ok(Outcome::Gone);
    }
    files.remove(&path).map_err(Error::io("remove", &path))?;
    Ok(Outcome::Done)
}

/// Removes a staged file whose transaction is no more. The prepared name is looked for first: it turns into
/// the committed one and never back, so a transaction that is under neither has ended.
fn discard_staged(files: &dyn Files, path: &RelPath, owner: &TxnName) -> Result<bool> {
    if exists(files, &owner.prepared()?)? || exists(files, &owner.committed()?)? {
        return Ok(false);
    }
    match files.remove(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("remove", path)(error)),
    }
}

/// Locks a transaction's file; `None` where another has the lock or the file is gone.
fn lock(files: &dyn Files, path: &RelPath, patience: Duration) -> Result<Option<File>> {
    let end = Instant::now() + patience;
    loop {
        match files.lock(path) {
            Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(5)),
            Ok(lock) => return Ok(lock),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("lock", path)(error)),
        }
    }
}

fn exists(files: &dyn Files, path: &RelPath) -> Result<bool> {
    files.exists(path).map_err(Error::io("look for", path))
}
