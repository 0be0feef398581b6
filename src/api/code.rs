//! The closed list of error codes, and the one table that takes them to an HTTP status and an exit code.
//!
//! Codes are stable: scripts compare them. The exit codes are those of `cli.md`.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

macro_rules! codes {
    ($($(#[$meta:meta])* $variant:ident = $word:literal, $status:literal, $exit:literal;)+) => {
        /// What went wrong, as one stable word.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum ErrorCode { $($(#[$meta])* #[serde(rename = $word)] $variant),+ }

        impl ErrorCode {
            /// Every code.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$variant),+];

            /// The one spelling.
            pub fn as_str(self) -> &'static str {
                match self { $(ErrorCode::$variant => $word),+ }
            }

            /// The status of an HTTP answer that carries this code.
            pub fn http_status(self) -> u16 {
                match self { $(ErrorCode::$variant => $status),+ }
            }

            /// What a command that ends with this code exits with (`cli.md`, Exit codes).
            pub fn exit_code(self) -> u8 {
                match self { $(ErrorCode::$variant => $exit),+ }
            }
        }
    };
}

codes! {
    /// The request can't be understood, or asks for what makes no sense; the message names the field.
    InvalidRequest = "invalid_request", 400, 2;
    /// No or no valid credentials.
    Unauthorized = "unauthorized", 401, 12;
    /// The caller's role does not allow it.
    Forbidden = "forbidden", 403, 12;
    /// The operating system does not let the hub read or write there.
    PermissionDenied = "permission_denied", 403, 12;
    /// No such route or thing.
    NotFound = "not_found", 404, 4;
    /// No backup of that id or address.
    BackupNotFound = "backup_not_found", 404, 4;
    /// No VM of that name.
    VmNotFound = "vm_not_found", 404, 4;
    /// No repository of that id or name.
    RepositoryNotFound = "repository_not_found", 404, 4;
    /// No job of that id.
    JobNotFound = "job_not_found", 404, 4;
    /// The VM or backup has no disk of that index.
    DiskNotFound = "disk_not_found", 404, 4;
    /// No user of that name.
    UserNotFound = "user_not_found", 404, 4;
    /// No token of that id.
    TokenNotFound = "token_not_found", 404, 4;
    /// No restore session of that id.
    MountNotFound = "mount_not_found", 404, 4;
    /// No such file in the restore point.
    FileNotFound = "file_not_found", 404, 4;
    /// There is no full backup yet that this could build on, or no chain to show.
    ChainNotFound = "chain_not_found", 404, 4;
    /// The route exists, this method of it does not.
    MethodNotAllowed = "method_not_allowed", 405, 2;
    /// It can't be done in the state that things are in.
    Conflict = "conflict", 409, 5;
    /// Other restore points are built on it; `details.dependents` lists them.
    HasDependents = "has_dependents", 409, 5;
    /// It is protected, with the reason.
    Protected = "protected", 409, 5;
    /// It can't be changed or deleted before its time.
    Immutable = "immutable", 409, 5;
    /// Something of that name, or at that path, exists.
    AlreadyExists = "already_exists", 409, 5;
    /// It still holds something: a repository its backups, a VM its restore points.
    NotEmpty = "not_empty", 409, 5;
    /// The job has ended; `details.status` says how.
    JobEnded = "job_ended", 409, 5;
    /// The address fits more than one backup; `details.candidates` lists them.
    Ambiguous = "ambiguous", 409, 4;
    /// Ended by request.
    Cancelled = "cancelled", 409, 130;
    /// The request's body is larger than the hub takes.
    PayloadTooLarge = "payload_too_large", 413, 2;
    /// A disk's source can't be opened or read.
    SourceUnavailable = "source_unavailable", 422, 13;
    /// Changes can't be told any more and the caller asked to fail then.
    TrackingLost = "tracking_lost", 422, 13;
    /// Data in the repository is missing, truncated or differs from its hashes.
    Damaged = "damaged", 422, 6;
    /// It is encrypted, and no key that was given opens it.
    Encrypted = "encrypted", 422, 12;
    /// It could be read, but might be wrong: a journal that can't be replayed.
    Untrusted = "untrusted", 422, 5;
    /// The place to restore to can't be opened, is too small, or failed.
    TargetUnavailable = "target_unavailable", 422, 1;
    /// Known, and not served by this build.
    Unsupported = "unsupported", 422, 2;
    /// Another run holds it; `details.holder` says who.
    Locked = "locked", 423, 11;
    /// More requests than this caller may make.
    TooManyRequests = "too_many_requests", 429, 11;
    /// It ran longer than it was allowed to.
    TimedOut = "timed_out", 500, 1;
    /// A fault of the hub itself; its log has more.
    Internal = "internal", 500, 1;
    /// No hub answers at that address.
    HubUnreachable = "hub_unreachable", 503, 10;
    /// The server at that address is not the hub that was meant, as far as its certificate tells.
    HubUntrusted = "hub_untrusted", 503, 12;
    /// The repository's folder or server is not there, or does not work.
    RepositoryUnavailable = "repository_unavailable", 503, 10;
    /// The catalog can't be opened or is damaged.
    CatalogUnavailable = "catalog_unavailable", 503, 10;
    /// The catalog is held by another program.
    CatalogLocked = "catalog_locked", 503, 11;
    /// The repository, or the place to restore to, is full or would be.
    NoSpace = "no_space", 507, 14;
}

/// A word that is no code of this version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an error code of this version")]
pub struct UnknownCode(String);

impl FromStr for ErrorCode {
    type Err = UnknownCode;

    fn from_str(word: &str) -> Result<Self, UnknownCode> {
        ErrorCode::ALL
            .iter()
            .copied()
            .find(|code| code.as_str() == word)
            .ok_or_else(|| UnknownCode(word.to_owned()))
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl ErrorCode {
    /// The code that says as much as a bare HTTP status does: for answers of a newer hub, whose code this
    /// version does not know, and for those of something in between that is no hub at all.
    pub fn of_status(status: u16) -> ErrorCode {
        match status {
            401 => ErrorCode::Unauthorized,
            403 => ErrorCode::Forbidden,
            404 | 410 => ErrorCode::NotFound,
            405 => ErrorCode::MethodNotAllowed,
            409 => ErrorCode::Conflict,
            413 => ErrorCode::PayloadTooLarge,
            422 => ErrorCode::Unsupported,
            423 => ErrorCode::Locked,
            429 => ErrorCode::TooManyRequests,
            502..=504 => ErrorCode::HubUnreachable,
            507 => ErrorCode::NoSpace,
            400..=499 => ErrorCode::InvalidRequest,
            _ => ErrorCode::Internal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_one_spelling_a_status_of_the_contract_and_an_exit_code_of_the_command_line() {
        for code in ErrorCode::ALL {
            let word = code.as_str();
            assert!(word.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{word}");
            assert_eq!(word.parse::<ErrorCode>(), Ok(*code));
            assert_eq!(serde_json::to_string(code).unwrap(), format!("{word:?}"));
            assert_eq!(serde_json::from_str::<ErrorCode>(&format!("{word:?}")).unwrap(), *code);
            let statuses = [400, 401, 403, 404, 405, 409, 413, 422, 423, 429, 500, 503, 507];
            assert!(statuses.contains(&code.http_status()), "{word}: {}", code.http_status());
            let exits = [1, 2, 4, 5, 6, 10, 11, 12, 13, 14, 130];
            assert!(exits.contains(&code.exit_code()), "{word}: {}", code.exit_code());
        }
        let mut words: Vec<_> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), ErrorCode::ALL.len());
        assert!("no_such_code".parse::<ErrorCode>().is_err());
    }

    #[test]
    fn the_promised_exit_codes_are_kept() {
        for (code, status, exit) in [
            (ErrorCode::InvalidRequest, 400, 2),
            (ErrorCode::BackupNotFound, 404, 4),
            (ErrorCode::ChainNotFound, 404, 4),
            (ErrorCode::HasDependents, 409, 5),
            (ErrorCode::Ambiguous, 409, 4),
            (ErrorCode::Damaged, 422, 6),
            (ErrorCode::RepositoryUnavailable, 503, 10),
            (ErrorCode::HubUnreachable, 503, 10),
            (ErrorCode::Locked, 423, 11),
            (ErrorCode::CatalogLocked, 503, 11),
            (ErrorCode::PermissionDenied, 403, 12),
            (ErrorCode::SourceUnavailable, 422, 13),
            (ErrorCode::TrackingLost, 422, 13),
            (ErrorCode::NoSpace, 507, 14),
            (ErrorCode::Cancelled, 409, 130),
            (ErrorCode::TimedOut, 500, 1),
        ] {
            assert_eq!((code.http_status(), code.exit_code()), (status, exit), "{code}");
        }
    }

    #[test]
    fn a_bare_status_still_leads_to_an_exit_code_of_its_kind() {
        for code in ErrorCode::ALL.iter().filter(|code| ![409, 422, 500, 503].contains(&code.http_status())) {
            assert_eq!(ErrorCode::of_status(code.http_status()).http_status(), code.http_status());
        }
        assert_eq!(ErrorCode::of_status(502).exit_code(), 10);
        assert_eq!(ErrorCode::of_status(599).exit_code(), 1);
    }
}
