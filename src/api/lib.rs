//! The hub's REST API as types: what goes over the wire, the closed list of error codes, and the client.
//!
//! The contract is `rest-api.md`: field names and routes may grow, none may be renamed. A type here is
//! exactly one JSON shape; requests refuse fields they don't know, responses ignore them, so that an old
//! client understands a newer hub. Ids and words are the `model`'s types: what doesn't hold its rules does
//! not get past deserialisation on either side.
//!
//! Not here: routing and status lines (`server`), what the requests do (`hub`), how results are shown (`cli`).

mod archive;
mod auth;
mod backup;
mod browse;
mod caller;
mod chain;
mod client;
mod code;
mod compare;
mod contents;
mod doctor;
mod error;
mod export;
mod job;
pub mod legacy;
mod query;
mod repository;
mod request;
mod restore;
pub mod schema;
mod search;
mod service;
mod subset;
mod telemetry;
mod verify;
mod vm;

pub use archive::{
    ARCHIVE_HEADER, ArchiveFormat, ArchiveProgress, ArchiveStatus, ContentsRequest, DirectoryQuery,
    FileCount, MAX_CONTENTS, MakeArchive, Selection,
};
pub use auth::{
    AuditEntry, AuditList, AuditQuery, ChangePassword, CreateToken, CreateUser, LoggedIn, Login, PatchUser,
    Token, TokenCreated, TokenKind, TokenList, TokenQuery, TokenRevoked, TokenState, User, UserAnswer,
    UserDeleted, UserList, WhoAmI,
};
pub use backup::{
    Backup, BackupAnswer, BackupDisk, BackupList, BackupPlan, BackupStarted, Deleted, PlannedDisk,
};
pub use browse::{
    CLIENT_SECONDS, CleanupStatus, DEFAULT_IDLE_SECONDS, FileEntry, FileError, FileInfo, FileList, FileType,
    FilesQuery, MAX_CLIENT_SECONDS, Mount, MountBackup, MountList, MountMode, PathQuery, Resources,
    UnmountQuery, Unmounted, VolumeView, XattrView, from_base64, to_base64,
};
pub use caller::{Caller, Peer, Who};
pub use chain::{Chain, ChainPoint};
pub use client::{
    ArchiveDownload, Client, ClientError, Contents, Counting, DEFAULT_PORT, Download, EventStream,
    Fingerprint, FingerprintError, HubAddress, HubAddressError, InProcess, Line, LineStream,
    OtherCertificate, Remote, RequestBody, ResponseBody, Transport, TransportError, Trust, TrustError,
    VERSION_HEADER, path_segment,
};
pub use code::{ErrorCode, UnknownCode};
pub use compare::{
    ChangeKind, ChangedPart, DiffAnswer, DiffLine, DiffQuery, DiffRequest, DiffSummary, FileChange, FileState,
};
pub use contents::{
    CONTENTS_TYPE, Damaged, FRAME_HEAD, Frame, Frames, MAX_FRAME, data_head, end_frame, failed_frame,
};
pub use doctor::{DoctorFix, DoctorReport, Finding, Severity};
pub use error::{ApiError, ErrorBody};
pub use export::{ExportBackup, Exported, ExportedDisk};
pub use job::{Consolidating, DiskProgress, JobAnswer, JobList, JobResult, JobView};
pub use query::{
    AddressQuery, BackupQuery, ChainQuery, DEFAULT_LIMIT, DeleteQuery, JobQuery, MAX_LIMIT, MAX_OFFSET,
    PageQuery, VmNameQuery,
};
pub use repository::{
    Check, CreateRepository, PatchRepository, Repository, RepositoryAnswer, RepositoryConfig,
    RepositoryDeleted, RepositoryList, RepositoryStorage, ScanReport, StorageAnswer, TestReport,
    TestRepository,
};
pub use request::{Consolidate, PatchBackup, PushDisk, StartBackup, VerifyRequest};
pub use restore::{RestoreDisk, RestoreReport};
pub use search::{
    DEFAULT_SEARCH_SECONDS, FileVersion, FoundFile, SearchAnswer, SearchLine, SearchPoints, SearchQuery,
    SearchRequest, SearchStatus, SearchSummary, Unsearched,
};
pub use service::{DebugData, DebugEndpoints, Endpoint, Health, RepositoryHealth, ServiceHealth, Success};
pub use subset::{Subset, SubsetError};
pub use telemetry::{DiskTelemetry, Event, EventName, SentEvent, Telemetry};
pub use verify::{DamageKind, VerifyFinding, VerifyReport};
pub use vm::{CreateVm, CreateVmDisk, Vm, VmAnswer, VmDeleted, VmDisk, VmList};

pub use model::Role;

/// Where every route of this version begins.
pub const BASE_PATH: &str = "/api/v1";

/// The content type of an answer of many lines, each a JSON object.
pub const NDJSON: &str = "application/x-ndjson";
