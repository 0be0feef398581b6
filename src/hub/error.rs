//! What the engine answers when it can't do what it was asked.
//!
//! One closed list: each variant carries what a person and a program need, and knows its code of the API's
//! closed list ([`Error::code`]), what to do next ([`Error::hint`]) and the details for programs
//! ([`Error::details`]). The server turns it into the wire form; a job that ends with one keeps code and
//! message on its record. Exit codes and HTTP states are not here: they follow from the code.

mod hint;

use api::ErrorCode;
use model::{BackupId, ByteSize, DiskIndex, RequestedType, Status, UserName, VmName};
use serde_json::{Value, json};
use std::io;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What could not be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// A backup.
    Backup,
    /// A VM.
    Vm,
    /// A repository.
    Repository,
    /// A job.
    Job,
    /// A disk of a VM or of a point.
    Disk,
    /// A restore session.
    Mount,
    /// An archive of a restore session.
    Archive,
    /// Somebody who may log in.
    User,
    /// A token.
    Token,
}

/// The process that has what was wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its host.
    pub host: String,
    /// Its process id there.
    pub pid: u32,
    /// What it does ("backup", "merge" …).
    pub operation: String,
    /// Its job, where it has one.
    pub job_id: Option<String>,
    /// Since when it holds it.
    pub since: jiff::Timestamp,
}

/// In what way the catalog can't be used: each is answered differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CatalogFault {
    /// Another program holds it.
    Busy,
    /// This user may not open it.
    Denied,
    /// Its content is no catalog.
    Damaged,
    /// Its server can't be reached.
    Unreachable,
    /// Its server does not let this user in.
    Refused,
    /// Anything else.
    Other,
}

/// Why the engine did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A field of the request is not valid.
    #[error("{field}: {reason}")]
    Invalid {
        /// The field's name on the wire.
        field: &'static str,
        /// What is wrong, and what would be right.
        reason: String,
    },
    /// Understood, but not something this version does.
    #[error("{what} is not supported")]
    Unsupported {
        /// What.
        what: String,
        /// What to do instead.
        hint: String,
    },
    /// No such thing.
    #[error("there is no {} {id}", match .what {
        Missing::Backup => "backup", Missing::Vm => "VM", Missing::Repository => "repository",
        Missing::Job => "job", Missing::Disk => "disk", Missing::Mount => "restore session",
        Missing::Archive => "archive", Missing::User => "user", Missing::Token => "token",
    })]
    NotFound {
        /// Kind of thing.
        what: Missing,
        /// As it was asked for.
        id: String,
    },
    /// An incremental or differential without anything to build on.
    #[error("VM {vm} has no full backup in {repository} that {requested} backup could build on",
        requested = if *.requested == RequestedType::Differential { "a differential" } else { "an incremental" })]
    ChainNotFound {
        /// The VM.
        vm: VmName,
        /// Where: "repository nas".
        repository: String,
        /// What was asked for.
        requested: RequestedType,
    },
    /// An address that several points answer to.
    #[error("{address:?} could be any of {} backups", candidates.len())]
    Ambiguous {
        /// As given.
        address: String,
        /// The points, newest first; at most a page of them.
        candidates: Vec<BackupId>,
    },
    /// Other points are built on it.
    #[error("{} restore point(s) depend on {id}", dependents.len())]
    HasDependents {
        /// The point.
        id: BackupId,
        /// Everything built on it, oldest first.
        dependents: Vec<BackupId>,
    },
    /// Protected against deletion.
    #[error("{id} is protected{}", reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default())]
    Protected {
        /// The point.
        id: BackupId,
        /// Why it is.
        reason: Option<String>,
    },
    /// It is there already.
    #[error("{what} exists already")]
    Exists {
        /// What.
        what: String,
        /// What to do.
        hint: String,
    },
    /// It still holds restore points.
    #[error("{what} still holds {points} restore point(s)")]
    NotEmpty {
        /// What.
        what: String,
        /// How many.
        points: u64,
    },
    /// The state of things does not allow it.
    #[error("{message}")]
    Conflict {
        /// Why not.
        message: String,
        /// What to do.
        hint: String,
    },
    /// Only an administrator may.
    #[error("{message}")]
    Forbidden {
        /// What.
        message: String,
        /// What to do.
        hint: String,
    },
    /// Somebody has it open.
    #[error("{message}")]
    InUse {
        /// What, and who.
        message: String,
        /// What to do.
        hint: String,
        /// The same for programs.
        details: Value,
    },
    /// A job that has ended can't be reported on, cancelled or ended again.
    #[error("{id} has already ended: {status}")]
    Ended {
        /// The job.
        id: String,
        /// How it ended.
        status: Status,
    },
    /// Another run has it.
    #[error("{what} is in use by {} of process {} on {} since {}", holder.operation, holder.pid, holder.host,
        holder.since.strftime("%Y-%m-%d %H:%M:%S UTC"))]
    Locked {
        /// What is wanted ("VM pgtest1").
        what: String,
        /// Who has it.
        holder: Box<Holder>,
    },
    /// A disk could not be read.
    #[error("disk {disk}: the source {source_name} can't be read: {reason}")]
    Source {
        /// Which disk.
        disk: DiskIndex,
        /// Its source as registered.
        source_name: String,
        /// Why.
        reason: String,
    },
    /// The parent can't be built upon, and `on_cbt_loss` is `fail`.
    #[error("disk {disk}: {reason}")]
    TrackingLost {
        /// Which disk.
        disk: DiskIndex,
        /// Why.
        reason: String,
    },
    /// A restore point is not what it was when it was written.
    #[error("{what} is damaged: {reason}")]
    Damaged {
        /// The point or file.
        what: String,
        /// What was found.
        reason: String,
        /// The points that are hit.
        points: Vec<BackupId>,
    },
    /// A repository can't be used.
    #[error("repository {name} can't be used: {reason}")]
    Repository {
        /// Its name.
        name: String,
        /// Why.
        reason: String,
    },
    /// A file or volume of a guest can't be read.
    #[error("{path}: {reason}")]
    Guest {
        /// The path in the guest, or the volume.
        path: String,
        /// Why.
        reason: String,
        /// What kind of reason that is.
        code: ErrorCode,
    },
    /// A restore's target can't be written.
    #[error("the target {target} can't be written: {reason}")]
    Target {
        /// The target.
        target: String,
        /// Why.
        reason: String,
        /// True where the system refused permission.
        permission: bool,
    },
    /// A folder can't be mounted at.
    #[error("nothing can be mounted at {path}: {reason}")]
    Mount {
        /// The folder.
        path: String,
        /// Why.
        reason: String,
        /// What to do.
        hint: String,
        /// True where the system refused permission.
        permission: bool,
    },
    /// There is too little room.
    #[error("{place} {}", room(*needed, *available, *reserve))]
    NoSpace {
        /// The repository or file system.
        place: String,
        /// Bytes it is going to take, where that was estimated.
        needed: Option<u64>,
        /// Bytes left.
        available: u64,
        /// Bytes that must stay free.
        reserve: u64,
    },
    /// The client that was to write the disks has given up.
    #[error("the client that sent the disks gave up: {0}")]
    Reported(String),
    /// Nothing was heard of a job.
    #[error(
        "nothing was heard of it for {0} s: the client that sends the disks is gone, or can't get through"
    )]
    Silent(u64),
    /// Ended by request.
    #[error("cancelled")]
    Cancelled,
    /// Ended with the process that ran it.
    #[error("the hub that ran it was stopped")]
    Ending,
    /// The time limit is over.
    #[error("not done within {0} s")]
    TimedOut(u64),
    /// The process that ran the job is gone.
    #[error("the process that ran it was killed or its machine went down ({0})")]
    Killed(String),
    /// Nobody of that name and password may log in.
    #[error("the user name or the password is wrong")]
    WrongPassword {
        /// Whose password it was not, where there is such a user. Not for the caller.
        user: Option<UserName>,
    },
    /// Too many have failed to log in.
    #[error("too many logins have failed: wait {wait} s")]
    TooManyLogins {
        /// Seconds until the next attempt is heard.
        wait: u64,
        /// Whether the user is locked.
        locked: bool,
    },
    /// The catalog can't be used.
    #[error("the catalog can't be used: {reason}")]
    Catalog {
        /// Why.
        reason: String,
        /// In what way.
        fault: CatalogFault,
    },
    /// A job that was waited for has failed.
    #[error("{message}")]
    Job {
        /// The code on its record.
        code: Option<ErrorCode>,
        /// The message on its record.
        message: String,
    },
    /// A mistake of this program, or of the machine it runs on.
    #[error("{0}")]
    Internal(String),
}

/// How little room there is, as far as that is known.
fn room(needed: Option<u64>, available: u64, reserve: u64) -> String {
    if available == 0 && reserve == 0 {
        return "has no room left".into();
    }
    let needed = needed.map(|needed| format!(", about {} are needed", ByteSize(needed))).unwrap_or_default();
    format!("has {} left{needed}, and {} must stay free", ByteSize(available), ByteSize(reserve))
}

impl Error {
    /// The code of the API's closed list.
    pub fn code(&self) -> ErrorCode {
        match self {
            Error::Invalid { .. } => ErrorCode::InvalidRequest,
            Error::Unsupported { .. } => ErrorCode::Unsupported,
            Error::NotFound { what, .. } => match what {
                Missing::Backup => ErrorCode::BackupNotFound,
                Missing::Vm => ErrorCode::VmNotFound,
                Missing::Repository => ErrorCode::RepositoryNotFound,
                Missing::Job => ErrorCode::JobNotFound,
                Missing::Disk => ErrorCode::DiskNotFound,
                Missing::Mount => ErrorCode::MountNotFound,
                Missing::Archive => ErrorCode::NotFound,
                Missing::User => ErrorCode::UserNotFound,
                Missing::Token => ErrorCode::TokenNotFound,
            },
            Error::ChainNotFound { .. } => ErrorCode::ChainNotFound,
            Error::Ambiguous { .. } => ErrorCode::Ambiguous,
            Error::HasDependents { .. } => ErrorCode::HasDependents,
            Error::Protected { .. } => ErrorCode::Protected,
            Error::Exists { .. } => ErrorCode::AlreadyExists,
            Error::NotEmpty { .. } => ErrorCode::NotEmpty,
            Error::Conflict { .. } | Error::InUse { .. } => ErrorCode::Conflict,
            Error::Forbidden { .. } => ErrorCode::Forbidden,
            Error::Ended { .. } => ErrorCode::JobEnded,
            Error::Locked { .. } => ErrorCode::Locked,
            Error::Source { .. } => ErrorCode::SourceUnavailable,
            Error::TrackingLost { .. } => ErrorCode::TrackingLost,
            Error::Damaged { .. } => ErrorCode::Damaged,
            Error::Repository { .. } => ErrorCode::RepositoryUnavailable,
            Error::Target { permission: true, .. } | Error::Mount { permission: true, .. } => {
                ErrorCode::PermissionDenied
            }
            Error::NoSpace { .. } => ErrorCode::NoSpace,
            Error::Reported(_) => ErrorCode::SourceUnavailable,
            Error::Silent(_) => ErrorCode::TimedOut,
            Error::Cancelled | Error::Ending => ErrorCode::Cancelled,
            Error::TimedOut(_) => ErrorCode::TimedOut,
            Error::WrongPassword { .. } => ErrorCode::Unauthorized,
            Error::TooManyLogins { locked: true, .. } => ErrorCode::Locked,
            Error::TooManyLogins { locked: false, .. } => ErrorCode::TooManyRequests,
            Error::Catalog { fault, .. } => match fault {
                CatalogFault::Busy => ErrorCode::CatalogLocked,
                CatalogFault::Denied | CatalogFault::Refused => ErrorCode::PermissionDenied,
                CatalogFault::Damaged | CatalogFault::Unreachable | CatalogFault::Other => {
                    ErrorCode::CatalogUnavailable
                }
            },
            Error::Guest { code, .. } => *code,
            Error::Job { code, .. } => code.unwrap_or(ErrorCode::Internal),
            Error::Target { permission: false, .. } | Error::Mount { permission: false, .. } => {
                ErrorCode::TargetUnavailable
            }
            Error::Killed(_) | Error::Internal(_) => ErrorCode::Internal,
        }
    }

    /// Details for programs: an object, empty where there are none.
    pub fn details(&self) -> Value {
        match self {
            Error::Invalid { field, .. } => json!({ "field": field }),
            Error::InUse { details, .. } => details.clone(),
            Error::Ambiguous { candidates, .. } => json!({ "candidates": candidates }),
            Error::HasDependents { dependents, .. } => json!({ "dependents": dependents }),
            Error::Ended { status, .. } => json!({ "status": status }),
            Error::Locked { holder, .. } => json!({ "holder": {
                "host": holder.host, "pid": holder.pid, "operation": holder.operation,
                "job_id": holder.job_id, "since": holder.since,
            } }),
            Error::TooManyLogins { wait, .. } => json!({ "retry_after_seconds": wait }),
            Error::Source { disk, .. } | Error::TrackingLost { disk, .. } => json!({ "disk_id": disk }),
            Error::Damaged { points, .. } => json!({ "points": points }),
            Error::NoSpace { needed, available, reserve, .. } => json!({
                "needed_bytes": needed, "available_bytes": available, "reserve_bytes": reserve,
            }),
            _ => json!({}),
        }
    }

    pub(crate) fn invalid(field: &'static str, reason: impl ToString) -> Self {
        Error::Invalid { field, reason: reason.to_string() }
    }

    /// True where nothing went wrong: it was ended by request, or with its process.
    pub(crate) fn is_cancelled(&self) -> bool {
        matches!(self, Error::Cancelled | Error::Ending)
    }

    pub(crate) fn missing(what: Missing, id: impl ToString) -> Self {
        Error::NotFound { what, id: id.to_string() }
    }
}

impl From<catalog::Error> for Error {
    fn from(error: catalog::Error) -> Self {
        use catalog::Error as Catalog;
        match error {
            Catalog::Locked { .. } | Catalog::Deadlock { .. } => {
                Error::Catalog { reason: error.to_string(), fault: CatalogFault::Busy }
            }
            Catalog::Unreachable { .. } => {
                Error::Catalog { reason: error.to_string(), fault: CatalogFault::Unreachable }
            }
            Catalog::Denied { .. } => {
                Error::Catalog { reason: error.to_string(), fault: CatalogFault::Refused }
            }
            Catalog::NoSpace { .. } => {
                Error::NoSpace { place: "the catalog".into(), needed: None, available: 0, reserve: 0 }
            }
            Catalog::NotFound { what, id } => {
                let what = match what {
                    "VM" => Missing::Vm,
                    "repository" => Missing::Repository,
                    "job" => Missing::Job,
                    "user" => Missing::User,
                    "token" => Missing::Token,
                    _ => Missing::Backup,
                };
                Error::NotFound { what, id }
            }
            Catalog::AlreadyExists { what, id } => {
                Error::Exists { what: format!("{what} {id}"), hint: "choose another name".into() }
            }
            Catalog::LastAdmin { .. } => Error::Conflict {
                message: error.to_string(),
                hint: "make somebody else an administrator first: `sendense-ctl hub users role NAME admin`"
                    .into(),
            },
            Catalog::InUse { what, id, backups } => {
                Error::NotEmpty { what: format!("{what} {id}"), points: backups }
            }
            Catalog::Copy { .. } => Error::Conflict {
                message: error.to_string(),
                hint: "nothing was copied; both catalogs are as they were".into(),
            },
            Catalog::Value { field, reason } => Error::Invalid { field, reason },
            Catalog::Corrupt { .. } => {
                Error::Catalog { reason: error.to_string(), fault: CatalogFault::Damaged }
            }
            Catalog::Io { ref source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Error::Catalog { reason: error.to_string(), fault: CatalogFault::Denied }
            }
            Catalog::LeaseLost { .. }
            | Catalog::NotWritable { .. }
            | Catalog::Newer { .. }
            | Catalog::Replaced { .. }
            | Catalog::Io { .. }
            | Catalog::Duplicate { .. }
            | Catalog::Refused { .. } => {
                Error::Catalog { reason: error.to_string(), fault: CatalogFault::Other }
            }
        }
    }
}
