//! Repositories: where backups are kept.

use crate::RepositoryId;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What kind of storage a repository lies on. Only `local` is served so far; the others are known by name,
/// so that a request for one is answered with "not supported yet" and not with "unknown word".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RepositoryType {
    /// A folder of this machine.
    Local,
    /// NFS, mounted by the hub.
    Nfs,
    /// SMB, mounted by the hub.
    Cifs,
    /// Amazon S3 and what speaks its protocol.
    S3,
    /// Azure Blob.
    Azure,
    /// Google Cloud Storage.
    Gcs,
    /// SFTP.
    Sftp,
}

impl RepositoryType {
    /// The one spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            RepositoryType::Local => "local",
            RepositoryType::Nfs => "nfs",
            RepositoryType::Cifs => "cifs",
            RepositoryType::S3 => "s3",
            RepositoryType::Azure => "azure",
            RepositoryType::Gcs => "gcs",
            RepositoryType::Sftp => "sftp",
        }
    }
}

impl fmt::Display for RepositoryType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A repository as the catalog knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repository {
    /// Stable id, also kept in the repository itself.
    pub id: RepositoryId,
    /// Unique name; same rules as an id.
    pub name: RepositoryId,
    /// Kind of storage.
    pub kind: RepositoryType,
    /// For local: the absolute path of its folder.
    pub path: String,
    /// False where it takes no new backups.
    pub enabled: bool,
    /// True for the one that is used where none is named.
    pub default: bool,
    /// True where points can't be changed or deleted before their time.
    pub immutable: bool,
    /// Bytes that a backup must leave free; `None` is the built-in rule ([`Space::default_reserve`]).
    pub reserve_bytes: Option<u64>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its settings last changed.
    pub updated_at: Timestamp,
}

/// The room of the file system that a repository lies on, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Space {
    /// Size of the file system.
    pub total: u64,
    /// What an unprivileged writer may still use.
    pub available: u64,
}

impl Space {
    /// What is kept free unless the repository says otherwise: 1 % of the file system, at least 8 MiB and
    /// at most 1 GiB. A file system that is filled to the last block can't even take a catalog row.
    pub fn default_reserve(self) -> u64 {
        (self.total / 100).clamp(8 << 20, 1 << 30)
    }
}
