//! The marker that makes a folder a repository: `.sendense/repository.json`.
//!
//! It holds the repository's identity, so that a hub which lost its catalog gets the same repository back
//! and not a new one, and so that an empty mount point is not taken for a repository.

use crate::gate::{Files, Gate};
use crate::{Error, RelPath, Result};
use jiff::Timestamp;
use model::RepositoryId;
use serde::{Deserialize, Serialize};

/// The folder of the repository's own files.
pub(crate) const FOLDER: &str = ".sendense";
/// The marker's path.
pub(crate) const MARKER: &str = ".sendense/repository.json";
/// The version of the marker and of the layout as a whole; a greater one is refused.
pub(crate) const SCHEMA_VERSION: u32 = 1;
/// No marker is longer.
const MAX_LENGTH: u64 = 64 << 10;

/// Who a repository is, wherever its folder lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Stable id.
    pub id: RepositoryId,
    /// The name it was created with.
    pub name: RepositoryId,
    /// When it was created.
    pub created_at: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct Marker {
    schema_version: u32,
    #[serde(flatten)]
    identity: Identity,
}

/// Only the version: it is looked at before anything else is believed.
#[derive(Deserialize)]
pub(crate) struct Versioned {
    pub(crate) schema_version: u64,
}

/// Refuses what a newer program wrote, by name.
pub(crate) fn check_version(what: &'static str, path: &RelPath, json: &[u8], known: u32) -> Result<()> {
    let found = serde_json::from_slice::<Versioned>(json)
        .map_err(|error| Error::damaged(path, format!("it is not a {what}: {error}")))?
        .schema_version;
    match found {
        0 => Err(Error::damaged(path, "its schema version is 0")),
        _ if found > u64::from(known) => Err(Error::Newer { what, path: path.to_string(), found, known }),
        _ => Ok(()),
    }
}

/// Reads a whole small file; more than `limit` bytes are an error, not an allocation.
pub(crate) fn read_bounded(files: &dyn Files, path: &RelPath, limit: u64) -> Result<Vec<u8>> {
    let content = files.read(path, limit + 1).map_err(Error::io("read", path))?;
    if content.len() as u64 > limit {
        return Err(Error::damaged(path, format!("it is longer than {limit} bytes")));
    }
    Ok(content)
}

pub(crate) fn path() -> Result<RelPath> {
    RelPath::new(MARKER)
}

pub(crate) fn folder() -> Result<RelPath> {
    RelPath::new(FOLDER)
}

/// The identity in the marker; `None` where there is no marker.
pub(crate) fn read(gate: &Gate) -> Result<Option<Identity>> {
    let path = path()?;
    let json = match read_bounded(gate, &path, MAX_LENGTH) {
        Ok(json) => json,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error),
    };
    check_version("repository marker", &path, &json, SCHEMA_VERSION)?;
    let marker: Marker =
        serde_json::from_slice(&json).map_err(|error| Error::damaged(&path, error.to_string()))?;
    Ok(Some(marker.identity))
}

/// Writes the marker as the last step of making a repository. Of several makers at once only the first one's
/// stands; the others get `AlreadyExists`.
pub(crate) fn write(gate: &Gate, identity: &Identity) -> Result<()> {
    let (path, folder) = (path()?, folder()?);
    let partial = RelPath::new(format!("{MARKER}.{}.partial", uuid::Uuid::new_v4()))?;
    let marker = Marker { schema_version: SCHEMA_VERSION, identity: identity.clone() };
    let mut json =
        serde_json::to_vec_pretty(&marker).map_err(|error| Error::damaged(&path, error.to_string()))?;
    json.push(b'\n');
    let written = gate
        .write_new(&partial, &json)
        .and_then(|()| gate.rename_new(&partial, &path))
        .and_then(|()| gate.sync_folder(Some(&folder)));
    if written.is_err() {
        // The reason is reported; a partial marker harms nobody.
        let _ = gate.remove(&partial);
    }
    written.map_err(Error::io("write", &path))
}
