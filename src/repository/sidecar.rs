//! The sidecar: the record of a whole point as JSON, beside each of its disks.
//!
//! Form: `{"schema_version": 1, "backup": {…}}`, the record being [`model::Backup`]. It is enough to rebuild
//! the catalog, so it is written last and read with suspicion: bounded in size, a newer version refused by
//! name, ids and names checked by their types, and every file it names must be one of its own VM and disk.

use crate::gate::Gate;
use crate::marker::{check_version, read_bounded};
use crate::{DiskFiles, Error, RelPath, Result};
use model::{BACKUP_SCHEMA_VERSION, Backup, Status};
use serde::{Deserialize, Serialize};

/// No sidecar is longer.
pub const MAX_SIDECAR: u64 = 4 << 20;

#[derive(Serialize)]
struct Written<'a> {
    schema_version: u32,
    backup: &'a Backup,
}

#[derive(Deserialize)]
struct Read {
    backup: Backup,
}

/// The content of a point's sidecars, the same for all its disks.
///
/// # Errors
/// Where the record would not be taken back by [`decode`]: not completed, files that are not its own, or
/// longer than [`MAX_SIDECAR`].
pub fn encode(backup: &Backup) -> Result<Vec<u8>> {
    let path = RelPath::new(format!("{}.json", backup.id))?;
    check(&path, backup)?;
    let written = Written { schema_version: BACKUP_SCHEMA_VERSION, backup };
    let mut json =
        serde_json::to_vec_pretty(&written).map_err(|error| Error::damaged(&path, error.to_string()))?;
    json.push(b'\n');
    if json.len() as u64 > MAX_SIDECAR {
        return Err(Error::damaged(&path, format!("the record is longer than {MAX_SIDECAR} bytes")));
    }
    Ok(json)
}

/// Reads the content of the sidecar that lies at `path`.
///
/// # Errors
/// [`Error::Newer`] for a greater version; [`Error::Damaged`] where it is no valid record, or not that of a
/// point that has its sidecar at `path`.
pub fn decode(path: &RelPath, json: &[u8]) -> Result<Backup> {
    if json.len() as u64 > MAX_SIDECAR {
        return Err(Error::damaged(path, format!("it is longer than {MAX_SIDECAR} bytes")));
    }
    check_version("sidecar", path, json, BACKUP_SCHEMA_VERSION)?;
    let read: Read = serde_json::from_slice(json)
        .map_err(|error| Error::damaged(path, format!("it is no valid record: {error}")))?;
    check(path, &read.backup)?;
    let here = |disk| DiskFiles::of(disk).is_ok_and(|files| files.sidecar == *path);
    if !read.backup.disks.iter().any(here) {
        return Err(Error::damaged(
            path,
            format!("it describes {}, whose files lie elsewhere", read.backup.id),
        ));
    }
    Ok(read.backup)
}

/// Reads a sidecar of a repository.
pub(crate) fn read(gate: &Gate, path: &RelPath) -> Result<Backup> {
    decode(path, &read_bounded(gate, path, MAX_SIDECAR)?)
}

fn check(path: &RelPath, backup: &Backup) -> Result<()> {
    let damaged = |reason: String| Err(Error::damaged(path, reason));
    if backup.status != Status::Completed {
        return damaged(format!("{} is {}, only completed points have sidecars", backup.id, backup.status));
    }
    if backup.disks.is_empty() {
        return damaged(format!("{} has no disks", backup.id));
    }
    for (position, disk) in backup.disks.iter().enumerate() {
        let earlier = backup.disks.get(..position).unwrap_or_default();
        if earlier.iter().any(|other| other.index >= disk.index) {
            return damaged(format!("its disks are not in ascending order at disk {}", disk.index));
        }
        let files = match DiskFiles::of(disk) {
            Ok(files) => files,
            Err(error) => return damaged(error.to_string()),
        };
        if files.image.parts().next() != Some(backup.vm_name.as_str()) {
            return damaged(format!("{} does not lie in the folder of {}", files.image, backup.vm_name));
        }
        if disk.parent_backup_id.as_ref() == Some(&backup.id) {
            return damaged(format!("disk {} is its own parent", disk.index));
        }
        if disk.capacity_bytes > i64::MAX as u64 || disk.size_bytes > i64::MAX as u64 {
            return damaged(format!("disk {} has an impossible size", disk.index));
        }
        if disk
            .blake3
            .as_ref()
            .is_some_and(|hex| hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_hexdigit()))
        {
            return damaged(format!("the hash of disk {} is not 64 hexadecimal digits", disk.index));
        }
    }
    Ok(())
}
