//! Restoring a disk over the wire.

use crate::schema;
use model::{BackupId, ImageFormat, SourceUri};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `POST /restore/disk`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RestoreDisk {
    /// Which point.
    #[schema(value_type = schema::BackupId)]
    pub backup_id: BackupId,
    /// Which disk; may be left out where the point has one only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_id: Option<u32>,
    /// Where to: a path of the hub's machine (a file or a block device), `file:///…` or an NBD export.
    #[schema(value_type = schema::SourceUri, example = "file:///restore/disk0.raw")]
    pub target: SourceUri,
    /// In which format; by the target's name where left out, raw for devices and exports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::ImageFormat>)]
    pub format: Option<ImageFormat>,
    /// Compare all data with its hashes while it is written.
    #[serde(default = "yes")]
    pub verify: bool,
    /// Write over what is there.
    #[serde(default)]
    pub overwrite: bool,
    /// Most bytes a second to write; no limit where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub bandwidth_limit_bps: Option<u64>,
}

fn yes() -> bool {
    true
}

/// The result of a restore. Sizes in bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RestoreReport {
    /// Which point.
    #[schema(value_type = schema::BackupId)]
    pub backup_id: BackupId,
    /// Which disk.
    pub disk_id: u32,
    /// Where it is now.
    pub target: String,
    /// In which format.
    #[schema(value_type = schema::ImageFormat)]
    pub format: ImageFormat,
    /// Virtual size.
    pub total_bytes: u64,
    /// Data written; the rest is zero.
    pub bytes_written: u64,
    /// True where all of it was compared with its hashes.
    pub verified: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_checked_unless_told_otherwise_and_nothing_is_overwritten_unless_told_to() {
        let request: RestoreDisk =
            serde_json::from_str(r#"{"backup_id":"backup-a-1","target":"/dev/vdb"}"#).unwrap();
        assert!(request.verify && !request.overwrite);
    }
}
