//! Restore points and the jobs that make them: `backup_jobs`, `backup_disks`, `backup_tags`.
//!
//! A `model::Backup` is one row, one row a disk and one a tag, written together and read at one moment. Beside
//! the record a row holds how the engine works on it: the request (for retry), whether someone wants it to
//! stop, the lease under which it is being deleted, and its generation, which grows with each change of its
//! files, so that a reader who has opened these can tell whether they are still what the record says.
//!
//! One subject a file: the row (`row`), new ones (`insert`), looking them up (`query`), which of them a page of
//! a list shows (`listing`), changing them
//! (`update`), reports of the runner (`progress`), taking them away (`remove`).

mod insert;
pub(crate) mod listing;
#[cfg(test)]
mod plans;
mod progress;
mod query;
mod remove;
mod row;
mod update;

pub use insert::{Existing, Imported};
pub use progress::{DiskProgress, Heard, Progress};
pub(crate) use progress::{count_as, report, silence, state};
pub use query::{BackupFilter, BackupState, TagFilter};
pub(crate) use query::{by_ids, points_since};
pub use remove::Marked;
pub(crate) use row::size;

use crate::Error;

fn not_found(id: &model::BackupId) -> Error {
    Error::NotFound { what: "backup", id: id.to_string() }
}
