//! Where a hub wants its disks, as the answer to a start says it.

use crate::{Error, Result};
use api::Backup;
use nbd::{Tls, Uri};
use std::collections::BTreeMap;
use std::path::Path;

/// The export of each disk by its position. Every disk has one of its own: the disk key decides, nothing else.
pub(crate) fn targets(backup: &Backup, certificates: Option<&Path>) -> Result<BTreeMap<u32, Uri>> {
    let mut found = BTreeMap::new();
    for target in backup.nbd_targets_string.split(',').filter(|target| !target.is_empty()) {
        let bad = || Error::Answer(format!("{target:?} is no target"));
        let (key, uri) = target.split_once(':').ok_or_else(bad)?;
        let key: u32 = key.parse().map_err(|_| bad())?;
        let disk = backup.disk_results.iter().find(|disk| disk.disk_key == key).ok_or_else(bad)?;
        let uri: Uri = uri.parse().map_err(|error: nbd::UriError| Error::Answer(error.to_string()))?;
        if found.values().any(|other| *other == uri) {
            return Err(Error::Answer("two disks have one target".into()));
        }
        let uri = match (uri.tls(), certificates) {
            (Some(tls), Some(folder)) => {
                let tls = Tls { certificates: Some(folder.to_owned()), ..tls.clone() };
                Uri::new(uri.address().clone(), uri.export(), Some(tls))
            }
            _ => uri,
        };
        if found.insert(disk.disk_id, uri).is_some() {
            return Err(Error::Answer(format!("disk {} has two targets", disk.disk_id)));
        }
    }
    if let Some(missing) = backup.disk_results.iter().find(|disk| !found.contains_key(&disk.disk_id)) {
        return Err(Error::Answer(format!("disk {} has no target", missing.disk_id)));
    }
    Ok(found)
}
