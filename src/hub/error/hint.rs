//! What to do next, by what went wrong.

use super::{CatalogFault, Error, Missing};
use api::ErrorCode;
use model::shell_word;

impl Error {
    /// What to do next, for a person.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Error::Invalid { .. } | Error::Cancelled | Error::Ending | Error::Job { .. } | Error::Internal(_) => return None,
            Error::Unsupported { hint, .. }
            | Error::Exists { hint, .. }
            | Error::Conflict { hint, .. }
            | Error::Mount { hint, .. }
            | Error::Forbidden { hint, .. }
            | Error::InUse { hint, .. } => hint.clone(),
            Error::NotFound { what, .. } => match what {
                Missing::Backup => "`sendense-ctl backup list` shows what there is".into(),
                Missing::Vm => {
                    "`sendense-ctl vm list` shows what there is; `backup start --source URI` registers a VM \
                     at its first backup"
                        .into()
                }
                Missing::Repository => "`sendense-ctl repo list` shows what there is".into(),
                Missing::Job => "the job may belong to another hub".into(),
                Missing::Disk => "`sendense-ctl vm show` and `backup show` list the disks".into(),
                Missing::User => "`sendense-ctl hub users list` shows who there is".into(),
                Missing::Token => "`sendense-ctl hub tokens list` shows them".into(),
                Missing::Archive => "a restore session remembers the last 32 archives that were made of it".into(),
                Missing::Mount => {
                    "it may have been closed because nobody used it; `sendense-ctl restore mounts` lists the open ones"
                        .into()
                }
            },
            Error::ChainNotFound { .. } => {
                "make a full backup first (--type full), or let the engine choose (--type auto)".into()
            }
            Error::Ambiguous { .. } => "write more of the id".into(),
            Error::NotEmpty { .. } => "delete them first: `sendense-ctl backup list` shows them".into(),
            Error::HasDependents { .. } => {
                "delete them too (--cascade), or merge the point into what follows it (--merge)".into()
            }
            Error::Protected { id, .. } => {
                format!("`sendense-ctl backup unprotect {}` lifts it", shell_word(id.as_str()))
            },
            Error::Ended { .. } => "nothing is left to do".into(),
            Error::Locked { holder, .. } => match (holder.operation.as_str(), &holder.job_id) {
                ("restore session" | "mount" | "export", Some(id)) => {
                    format!("`sendense-ctl restore unmount {id}` closes it")
                }
                _ => "wait for it (--retry-lock 10m), or cancel it".into(),
            },
            Error::Source { .. } => "check that the source exists and may be read, then retry".into(),
            Error::TrackingLost { .. } => {
                "make a full backup, or allow one with --on-cbt-loss full".into()
            }
            Error::Damaged { .. } => {
                "`sendense-ctl backup verify` tells which points are hit; the next full backup begins a sound \
                 chain"
                    .into()
            }
            Error::Repository { .. } => {
                "check that its folder is there and may be written: `sendense-ctl repo test`".into()
            }
            Error::Guest { code, .. } => match code {
                ErrorCode::FileNotFound => {
                    "`sendense-ctl backup ls` shows the folder above it, `backup volumes` what else is on the disks".into()
                }
                ErrorCode::Encrypted => "give the passphrase of the volume (--passphrase-file, --ask-passphrase)".into(),
                ErrorCode::Untrusted => {
                    "--ignore-journal shows it as it lies on the disk; some files may then be older or damaged".into()
                }
                ErrorCode::Damaged => "`sendense-ctl backup verify` tells whether it is the backup that is damaged, or was \
                     the guest's disk"
                    .into(),
                ErrorCode::Unsupported => "restore the whole disk and read it with the guest's own system".into(),
                _ => return None,
            },
            Error::Target { .. } => "choose another target, or repair this one".into(),
            Error::NoSpace { .. } => {
                "delete or merge old points, enlarge the file system, or use another repository".into()
            }
            Error::WrongPassword { .. } => {
                "who has forgotten it asks an administrator: `sendense-ctl hub users passwd NAME`".into()
            }
            Error::TooManyLogins { .. } => {
                "root and the hub's own user get in on its machine without a password".into()
            }
            Error::Reported(_) => "put right what it says there, then push again".into(),
            Error::Silent(_) => {
                "look at the machine that pushes and at the way from there; a client that works sends data or telemetry"
                    .into()
            }
            Error::TimedOut(_) => "allow more time with --timeout".into(),
            Error::Killed(_) => "retry it: `sendense-ctl backup retry`".into(),
            Error::Catalog { fault, .. } => match fault {
                CatalogFault::Busy => "another program holds it: try again".into(),
                CatalogFault::Denied => {
                    "run it as the user whose backups these are, or use another folder (--state-dir)".into()
                }
                CatalogFault::Unreachable => {
                    "see that its server runs and can be reached from here, then run it again".into()
                }
                CatalogFault::Refused => {
                    "give the user's password in SENDENSE_CATALOG_PASSWORD_FILE, and let the user in with \
                     `GRANT ALL ON the database` (docs/database.md)"
                        .into()
                }
                CatalogFault::Damaged => {
                    "move catalog.db* aside, then `sendense-ctl repo scan default`; a repository elsewhere needs \
                     `sendense-ctl repo create NAME --path FOLDER` first"
                        .into()
                }
                CatalogFault::Other => {
                    "put right what it says and run it again; a lost catalog is rebuilt by `sendense-ctl repo scan`"
                        .into()
                }
            },
        };
        Some(hint)
    }
}
