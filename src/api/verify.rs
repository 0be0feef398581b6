//! What a verification found.
//!
//! Damage is told where it lies and whom it hits: a cluster of a full that has rotted is a finding of the
//! full, and every later point whose content includes that file is affected by it.

use crate::schema;
use jiff::Timestamp;
use model::BackupId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What kind of damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DamageKind {
    /// A file is not there.
    Missing,
    /// The QCOW2's own structure is broken, or its backing file is not the one on record.
    Structure,
    /// Data differs from its hash.
    Data,
    /// The hash manifest can't be read or is not the one on record.
    Manifest,
    /// The sidecar can't be read.
    Sidecar,
    /// Sidecar and catalog say different things.
    Disagreement,
    /// A file could not be read at all; the next try may succeed.
    Unreadable,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VerifyFinding {
    /// The point whose own file it is.
    #[schema(value_type = schema::BackupId)]
    pub backup_id: BackupId,
    /// Which disk, where it is one disk's.
    pub disk_id: Option<u32>,
    /// What kind of damage.
    pub kind: DamageKind,
    /// What is wrong, for a person, with the file below the repository's root.
    pub message: String,
    /// Where in the virtual disk, in bytes.
    pub offset: Option<u64>,
    /// How much of it, in bytes.
    pub length: Option<u64>,
    /// Every point that can't be restored whole because of it, `backup_id` included, oldest first.
    #[schema(value_type = Vec<schema::BackupId>)]
    pub affected: Vec<BackupId>,
}

/// The result of a verification.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct VerifyReport {
    /// True where nothing is wrong.
    pub ok: bool,
    /// True where every stored byte was read, false for a sample.
    pub whole: bool,
    /// The points whose files were read, the chain below included.
    #[schema(value_type = Vec<schema::BackupId>)]
    pub checked: Vec<BackupId>,
    /// Data compared with its hashes, in bytes.
    pub bytes_checked: u64,
    /// What is wrong; at most some hundred, so that a lost disk does not make a report of gigabytes.
    pub findings: Vec<VerifyFinding>,
    /// How many more there were.
    #[serde(default)]
    pub findings_left_out: u64,
    /// Every point that is hit, oldest first.
    #[schema(value_type = Vec<schema::BackupId>)]
    pub affected: Vec<BackupId>,
}

impl VerifyReport {
    /// The part of the report that is kept on the record of `id`.
    pub fn verification(&self, id: &BackupId, verified_at: Timestamp) -> model::Verification {
        let problems: Vec<String> = self
            .findings
            .iter()
            .filter(|finding| finding.affected.contains(id) || finding.backup_id == *id)
            .map(|finding| finding.message.clone())
            .collect();
        model::Verification { verified_at, ok: problems.is_empty(), problems, whole: self.whole }
    }
}
