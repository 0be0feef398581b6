//! The difference between two restore points, as a page or as a stream of lines.

use crate::browse::FileType;
use crate::query::{flag, is_not};
use crate::search::{SearchStatus, Unsearched};
use crate::{ErrorBody, schema};
use model::BackupId;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// `GET /backups/{a}/diff/{b}`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, IntoParams, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct DiffQuery {
    /// Only this file, or this folder and what is below it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The same in Base64, where it is no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_b64: Option<String>,
    /// On this disk only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_id: Option<u32>,
    /// On this volume only, whose root folder is `/` then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
    /// Compare volumes whose journal can't be replayed as they lie on the disk.
    #[serde(deserialize_with = "flag", skip_serializing_if = "is_not")]
    pub ignore_journal: bool,
    /// Leave owners, modes, times and extended attributes out.
    #[serde(deserialize_with = "flag", skip_serializing_if = "is_not")]
    pub content_only: bool,
    /// How many differences at most: 100 unless given. Not of a stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(maximum = 1000)]
    #[schema(maximum = 1000)]
    pub limit: Option<u32>,
    /// How many differences to skip. Not of a stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(maximum = 1_000_000_000_000_u64)]
    #[schema(maximum = 1_000_000_000_000_u64)]
    pub offset: Option<u64>,
    /// How long it may take before it answers with what it has: 60 unless given. Not of a stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 3600)]
    #[schema(minimum = 1, maximum = 3600)]
    pub timeout_seconds: Option<u64>,
    /// That of the first page of the same question: what was found for it is then not looked for again. Not of a stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// `POST /backups/{a}/diff/{b}`: the same for points with encrypted volumes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DiffRequest {
    /// What is compared.
    #[serde(deserialize_with = "crate::request::object")]
    pub query: DiffQuery,
    /// Passphrases and contents of key files, in Base64; each is tried on every encrypted volume.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys_b64: Vec<String>,
}

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// It is in the second point only.
    Added,
    /// It is in the first point only.
    Removed,
    /// Its content differs, or what a link leads to.
    Changed,
    /// Its content is the same, and what is known of it differs.
    Metadata,
    /// It became something else: a file a folder, a folder a link.
    TypeChanged,
}

/// What of a file differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChangedPart {
    /// What it is.
    Type,
    /// The content of a regular file, or the numbers of a device.
    Content,
    /// What a link leads to.
    Target,
    /// The permission bits.
    Mode,
    /// User or group.
    Owner,
    /// The time of the last change of the content.
    Modified,
    /// Extended attributes, ACLs among them.
    Xattrs,
}

/// A difference.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FileChange {
    /// The path.
    pub path: String,
    /// The path, exactly, in Base64.
    pub path_b64: String,
    /// What became of it.
    pub change: ChangeKind,
    /// What of it differs; empty where it was added or removed.
    pub parts: Vec<ChangedPart>,
    /// In the first point.
    pub before: Option<FileState>,
    /// In the second point.
    pub after: Option<FileState>,
}

/// A file in one of two points. Sizes in bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FileState {
    /// What it is.
    #[serde(rename = "type")]
    pub kind: FileType,
    /// Size.
    pub size: u64,
    /// Last change of the content.
    pub modified_time: String,
    /// As `ls` shows them.
    pub permissions: String,
    /// The permission bits, in octal.
    pub mode: String,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// All differences in numbers, and what it took to find them. Sizes in bytes, of regular files.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DiffSummary {
    /// Files and folders in the second point only.
    pub added: u64,
    /// Files and folders in the first point only.
    pub removed: u64,
    /// Files with other content.
    pub changed: u64,
    /// Files of which only owner, mode, time or extended attributes differ.
    pub metadata: u64,
    /// Files that became something else.
    pub type_changed: u64,
    /// Size of what was added.
    pub added_bytes: u64,
    /// Size of what was removed.
    pub removed_bytes: u64,
    /// Size of changed files in the first point.
    pub changed_bytes_before: u64,
    /// Size of changed files in the second point.
    pub changed_bytes_after: u64,
    /// Files and folders that could not be compared.
    pub failed: u64,
    /// Volumes with a file system that only the second point has.
    pub volumes_added: Vec<String>,
    /// Volumes with a file system that only the first point has.
    pub volumes_removed: Vec<String>,
    /// Volumes in which not a byte differs, and which were not looked into.
    pub volumes_unchanged: u64,
    /// Whether it ended early. There may be more.
    pub truncated: bool,
    /// Files and folders that are in both points.
    pub compared: u64,
    /// Files whose content is known to be the same without having been read.
    pub proven: u64,
    /// Files of which something was read.
    pub read: u64,
    /// Bytes of the points' disks that were read, for folders and metadata too.
    pub bytes_read: u64,
    /// Bytes of files that were read to compare them, both points together.
    pub content_bytes: u64,
    /// Bytes of the disks that may differ between the points, as far as the backups tell.
    pub changed_disk_bytes: u64,
}

impl DiffSummary {
    /// How many differences there are.
    pub fn differences(&self) -> u64 {
        self.added + self.removed + self.changed + self.metadata + self.type_changed
    }
}

/// `GET /backups/{a}/diff/{b}` as a page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DiffAnswer {
    /// Always true.
    pub success: bool,
    /// The first point.
    #[schema(value_type = schema::BackupId)]
    pub before: BackupId,
    /// The second point.
    #[schema(value_type = schema::BackupId)]
    pub after: BackupId,
    /// By path, a folder before what is in it.
    pub changes: Vec<FileChange>,
    /// How many there are without `limit` and `offset`; where `truncated`, so far.
    pub total: u64,
    /// As asked for.
    pub limit: u32,
    /// As asked for.
    pub offset: u64,
    /// For the next pages, with the same question and another `offset`: they are of what was found now. `null` where there is
    /// nothing more, or too much to be kept. Good for ten minutes, unless many others search.
    pub cursor: Option<String>,
    /// Whether it ended early.
    pub truncated: bool,
    /// What could not be compared: at most the first 100.
    pub errors: Vec<Unsearched>,
    /// What a person must know of the points.
    pub warnings: Vec<String>,
    /// All differences in numbers.
    pub summary: DiffSummary,
}

/// A line of a comparison that is streamed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "message_type", rename_all = "snake_case")]
pub enum DiffLine {
    /// How far it is: several times a second.
    Status(SearchStatus),
    /// A difference.
    Change(Box<FileChange>),
    /// What could not be compared.
    Error(Unsearched),
    /// What a person must know of a point.
    Warning {
        /// A sentence.
        message: String,
    },
    /// The end.
    Summary(Box<DiffSummary>),
    /// The end, where it can't go on.
    Fatal(ErrorBody),
}
