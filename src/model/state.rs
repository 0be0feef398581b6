//! The closed vocabularies of states and types, with their one spelling each.
//!
//! The spelling of a word is the same on the command line, on the wire, in the catalog and in sidecars.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A word that is not in the vocabulary it was looked up in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{word:?} is not a {what}: expected one of {expected}")]
pub struct UnknownWord {
    /// The word that was given.
    pub word: String,
    /// What it should have been, for a person ("backup type").
    pub what: &'static str,
    /// All valid words, joined by ", ".
    pub expected: String,
}

macro_rules! vocabulary {
    ($(#[$meta:meta])* $name:ident, $what:literal, { $($(#[$vmeta:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name { $($(#[$vmeta])* #[serde(rename = $word)] $variant),+ }

        impl $name {
            /// Every value, in the order of the vocabulary.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The one spelling of this value.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { f.pad(self.as_str()) }
        }

        impl FromStr for $name {
            type Err = UnknownWord;
            fn from_str(word: &str) -> Result<Self, UnknownWord> {
                $name::ALL.iter().copied().find(|v| v.as_str() == word).ok_or_else(|| UnknownWord {
                    word: word.to_owned(),
                    what: $what,
                    expected: $name::ALL.iter().map(|v| v.as_str()).collect::<Vec<_>>().join(", "),
                })
            }
        }
    };
}

vocabulary!(
    /// What a restore point holds.
    BackupType, "backup type", {
        /// The whole disk; depends on nothing.
        Full = "full",
        /// What changed since the latest point.
        Incremental = "incremental",
        /// What changed since the latest full.
        Differential = "differential",
    }
);

vocabulary!(
    /// What a caller may ask for: a [`BackupType`], or the engine's choice.
    RequestedType, "backup type", {
        /// See [`BackupType::Full`].
        Full = "full",
        /// See [`BackupType::Incremental`].
        Incremental = "incremental",
        /// See [`BackupType::Differential`].
        Differential = "differential",
        /// Incremental where a chain exists, full otherwise.
        Auto = "auto",
    }
);

vocabulary!(
    /// The state of a job, and of one disk within it.
    Status, "status", {
        /// Accepted, not begun.
        Pending = "pending",
        /// Under way.
        Running = "running",
        /// Under way as far as is known, but silent for too long.
        Stalled = "stalled",
        /// Ended well: for a backup, the restore point exists.
        Completed = "completed",
        /// Ended badly: nothing of it is left.
        Failed = "failed",
        /// Ended by request: nothing of it is left.
        Cancelled = "cancelled",
    }
);

vocabulary!(
    /// How far a job is.
    Phase, "phase", {
        /// Nothing done yet.
        Pending = "pending",
        /// Sources are being opened and frozen at one moment.
        Snapshot = "snapshot",
        /// Data is moving.
        Transferring = "transferring",
        /// Tables, sidecars and names are being made durable.
        Finalizing = "finalizing",
        /// Ended well.
        Completed = "completed",
        /// Ended badly or by request.
        Failed = "failed",
    }
);

vocabulary!(
    /// What kind of work a job does.
    JobType, "job type", {
        /// Source to repository.
        Backup = "backup",
        /// Repository to a disk, file or export.
        Restore = "restore",
        /// Repository to repository.
        Copy = "copy",
        /// Reading points back to find damage.
        Verify = "verify",
        /// Merging points of a chain.
        Consolidate = "consolidate",
    }
);

vocabulary!(
    /// How data clusters are stored.
    Compression, "compression", {
        /// As they are.
        None = "none",
        /// QCOW2 compressed clusters, compression type zstd.
        Zstd = "zstd",
        /// QCOW2 compressed clusters, compression type zlib (raw deflate): readable by QEMU before 5.1 too.
        Zlib = "zlib",
    }
);

vocabulary!(
    /// What to do when the changes since the parent can't be told from the source's tracking, or the
    /// parent can't be built upon.
    OnTrackingLoss, "choice for a lost change tracking", {
        /// Make a full backup, and record the reason.
        Full = "full",
        /// Fail; nothing is made.
        Fail = "fail",
        /// Read all and compare with the parent's block hashes; a full where there is no sound parent.
        Scan = "scan",
    }
);

vocabulary!(
    /// What somebody may do at a hub; each role includes the ones before it.
    Role, "role", {
        /// May look.
        Viewer = "viewer",
        /// May restore too.
        Restorer = "restorer",
        /// May back up, delete and change VMs too.
        Operator = "operator",
        /// May do everything.
        Admin = "admin",
    }
);

impl Status {
    /// True for the states that nothing follows.
    pub fn is_final(self) -> bool {
        matches!(self, Status::Completed | Status::Failed | Status::Cancelled)
    }

    /// True where a job may go from `self` to `next` (requirement B5). Repeating a state is allowed,
    /// leaving a final state is not.
    pub fn may_become(self, next: Status) -> bool {
        self == next
            || match self {
                Status::Pending => true,
                Status::Running | Status::Stalled => next != Status::Pending,
                Status::Completed | Status::Failed | Status::Cancelled => false,
            }
    }
}

impl BackupType {
    /// The prefix of the point's file names: `full`, `incr` or `diff`.
    pub fn file_prefix(self) -> &'static str {
        match self {
            BackupType::Full => "full",
            BackupType::Incremental => "incr",
            BackupType::Differential => "diff",
        }
    }
}

impl Compression {
    /// True where clusters are stored compressed.
    pub fn is_on(self) -> bool {
        self != Compression::None
    }
}

vocabulary!(
    /// What keeps a restore point open for longer than one command.
    MountKind, "kind of mount", {
        /// A restore session: files over the hub's API.
        Session = "session",
        /// A folder that this program serves through FUSE.
        Fuse = "fuse",
        /// A folder that the kernel's own file system serves from a device.
        Kernel = "kernel",
        /// A disk as an NBD export.
        Export = "export",
    }
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_reads_back_and_serde_agrees_with_it() {
        for status in Status::ALL {
            assert_eq!(status.as_str().parse::<Status>().unwrap(), *status);
            assert_eq!(serde_json::to_string(status).unwrap(), format!("{:?}", status.as_str()));
        }
        let error = "fulll".parse::<RequestedType>().unwrap_err().to_string();
        assert!(error.contains("full, incremental, differential, auto"), "{error}");
    }

    #[test]
    fn nothing_leaves_a_final_state_and_nothing_becomes_pending_again() {
        for from in Status::ALL.iter().filter(|s| s.is_final()) {
            for to in Status::ALL.iter().filter(|to| *to != from) {
                assert!(!from.may_become(*to), "{from} to {to}");
            }
        }
        assert!(!Status::Running.may_become(Status::Pending));
        assert!(Status::Stalled.may_become(Status::Running));
    }
}
