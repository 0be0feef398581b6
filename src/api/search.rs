//! Searching for files across restore points.
//!
//! A search is asked for as a page (`application/json`), or as a stream of lines (`application/x-ndjson`) that has no
//! end but the search's own. Paths are shown as everywhere (`browse`): as text, and exactly in Base64.

use crate::browse::FileType;
use crate::query::{flag, is_not};
use crate::{ErrorBody, schema};
use jiff::Timestamp;
use model::{BackupId, VmName};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// How long a search or comparison may take that is asked for as a page, in seconds, where nothing is said.
pub const DEFAULT_SEARCH_SECONDS: u64 = 60;

/// `GET /search/files`: everything given must match.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, IntoParams, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct SearchQuery {
    /// The name that is looked for, with `*`, `?` and `[…]`. A pattern with `/` is compared with whole paths; `**` then
    /// stands for any number of folders.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// The same in Base64, where it is no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern_b64: Option<String>,
    /// The pattern is a regular expression that is looked for anywhere in the path.
    #[serde(deserialize_with = "flag", skip_serializing_if = "is_not")]
    pub regex: bool,
    /// Small and capital letters are the same.
    #[serde(deserialize_with = "flag", skip_serializing_if = "is_not")]
    pub ignore_case: bool,
    /// Below this folder only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The same in Base64, where it is no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_b64: Option<String>,
    /// Only files, only folders, only links …
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<FileType>,
    /// At least so many bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_size: Option<u64>,
    /// At most so many bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_size: Option<u64>,
    /// Content last changed at that moment or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modified_since: Option<Timestamp>,
    /// Content last changed at that moment or earlier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modified_until: Option<Timestamp>,
    /// In points of this VM.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(value_type = Option<schema::VmName>, inline)]
    pub vm_name: Option<String>,
    /// Which of its points: all where a VM is named, the newest of each VM where not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub points: Option<SearchPoints>,
    /// In these points only: ids, separated by commas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup_id: Option<String>,
    /// In points that were made at that moment or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// In points that were made at that moment or earlier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// On this disk only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_id: Option<u32>,
    /// On this volume only, whose root folder is `/` then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
    /// Search volumes whose journal can't be replayed as they lie on the disk.
    #[serde(deserialize_with = "flag", skip_serializing_if = "is_not")]
    pub ignore_journal: bool,
    /// Whether the content of files is hashed, to tell their versions: unless given, where several points of a VM are
    /// searched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_hash: Option<bool>,
    /// How many paths at most: 100 unless given. Not of a stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(maximum = 1000)]
    #[schema(maximum = 1000)]
    pub limit: Option<u32>,
    /// How many paths to skip. Not of a stream.
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

/// Which points of a VM are searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SearchPoints {
    /// The newest.
    Latest,
    /// All.
    All,
}

/// `POST /search/files`: the same for points with encrypted volumes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchRequest {
    /// What is looked for.
    #[serde(deserialize_with = "crate::request::object")]
    pub query: SearchQuery,
    /// Passphrases and contents of key files, in Base64; each is tried on every encrypted volume.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys_b64: Vec<String>,
}

/// A path that matches, and what stands there in which points.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FoundFile {
    /// Of which VM.
    #[schema(value_type = schema::VmName)]
    pub vm_name: VmName,
    /// The path.
    pub path: String,
    /// The path, exactly, in Base64.
    pub path_b64: String,
    /// What stands there, newest first: the same content, whatever its times and owners, is one version.
    pub versions: Vec<FileVersion>,
}

/// A version of a file. Sizes in bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FileVersion {
    /// What it is.
    #[serde(rename = "type")]
    pub kind: FileType,
    /// Size, in the newest of its points; so are the following.
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
    /// Where a link leads to.
    pub link_target: Option<String>,
    /// BLAKE3 of the content of a regular file (`b3sum` shows the same), where it was asked for and could be read.
    pub content_hash: Option<String>,
    /// Why there is no hash although it was asked for. Such versions are told apart by size and time alone.
    pub hash_error: Option<String>,
    /// The oldest point with it, of those that were searched.
    #[schema(value_type = schema::BackupId)]
    pub first_backup_id: BackupId,
    /// When that was made.
    pub first_created_at: Timestamp,
    /// The newest point with it.
    #[schema(value_type = schema::BackupId)]
    pub last_backup_id: BackupId,
    /// When that was made.
    pub last_created_at: Timestamp,
    /// How many points have it.
    pub count: u64,
    /// All of them, newest first.
    #[schema(value_type = Vec<schema::BackupId>)]
    pub backup_ids: Vec<BackupId>,
}

/// A point, or something in it, that could not be searched or compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Unsearched {
    /// Which point.
    #[schema(value_type = schema::BackupId)]
    pub backup_id: BackupId,
    /// What in it; all of it where left out.
    pub path: Option<String>,
    /// Why.
    pub error: String,
    /// The same as a word.
    #[schema(value_type = schema::ErrorCode)]
    pub code: crate::ErrorCode,
}

/// How a search ended.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SearchSummary {
    /// Paths that match.
    pub files: u64,
    /// Points that were searched.
    pub points_searched: u64,
    /// Points, and files and folders in points, that could not be.
    pub failed: u64,
    /// Whether it ended early: at a limit of time or memory. There may be more.
    pub truncated: bool,
    /// Files and folders that were passed.
    pub entries: u64,
    /// Bytes of the points' disks that were read.
    pub bytes_read: u64,
    /// Bytes of content that were hashed, holes included.
    pub content_bytes: u64,
}

/// `GET /search/files` as a page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SearchAnswer {
    /// Always true.
    pub success: bool,
    /// By VM and path.
    pub files: Vec<FoundFile>,
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
    /// What could not be searched: at most the first 100.
    pub errors: Vec<Unsearched>,
    /// What a person must know of the points.
    pub warnings: Vec<String>,
    /// What it took.
    pub statistics: SearchSummary,
}

/// How far a search or comparison is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SearchStatus {
    /// What it is doing: `walking`, `comparing`, `hashing`.
    pub phase: String,
    /// Points that are done with.
    pub points_done: u64,
    /// Points there are.
    pub points_total: u64,
    /// Files and folders that were passed so far.
    pub entries: u64,
    /// Bytes of the points' disks that were read so far.
    pub bytes_read: u64,
    /// What matched or differed so far.
    pub found: u64,
}

/// A line of a search that is streamed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "message_type", rename_all = "snake_case")]
pub enum SearchLine {
    /// How far it is: several times a second.
    Status(SearchStatus),
    /// A path that matches, with all its versions.
    Match(Box<FoundFile>),
    /// What could not be searched.
    Error(Unsearched),
    /// What a person must know of a point.
    Warning {
        /// A sentence.
        message: String,
    },
    /// The end.
    Summary(SearchSummary),
    /// The end, where it can't go on.
    Fatal(ErrorBody),
}
