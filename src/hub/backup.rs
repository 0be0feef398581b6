//! Backups: from a request to a restore point.
//!
//! The way of a backup, and what a crash leaves at each step:
//!
//! 1. `start`: the request is checked, VM and repository are found or made, the VM's lease is taken, the row
//!    is inserted as pending. A crash leaves a lease without a row, or a pending row: the next process fails it.
//! 2. `run`, phase snapshot: partial files of earlier crashes are removed (the lease makes that safe), all
//!    sources are opened, each disk's parent is looked at (`parent`), what is decided is written to the row.
//! 3. Phase transferring: every disk on a thread of its own, into `.partial` files. A crash leaves these.
//! 4. Phase finalizing (`finish`): sidecars are added and everything gets its name in one transaction of the
//!    repository: the moment at which the point exists. Then the row becomes completed. A crash in between
//!    leaves a row that is not final beside a complete point: the next process rolls the row forward.
//! 5. The lease is given back, and only then do watchers hear of the end.
//!
//! A failure anywhere before the transaction drops the writers, which removes their files, and is kept on the
//! record. After the transaction nothing can fail the point any more.

mod finish;
mod parent;
pub(crate) mod plan;
mod report;
mod run;
mod start;

pub(crate) use finish::{Published, commit, fail};
pub(crate) use start::check_labels;
