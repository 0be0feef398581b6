//! Marks: how a commit that got no answer is looked up.
//!
//! The model: every transaction that writes sets a number of its own in a row of `_commit_marks` that no
//! transaction beside it uses. After a commit whose answer was lost the row is read with a lock: that waits until
//! the old transaction has ended one way or the other, and the number tells which. A row that is not there was
//! never committed.
//!
//! The rows mean nothing once their process has ended; those of days ago are removed when a hub connects.

use crate::statement::Statement;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use uuid::Uuid;

/// Made with the other tables.
pub(super) const TABLE: &str = "CREATE TABLE IF NOT EXISTS _commit_marks (writer VARCHAR(64) NOT NULL, \
     mark BIGINT NOT NULL, left_at BIGINT NOT NULL, PRIMARY KEY (writer)) \
     ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_nopad_bin";

/// Seconds after which a row is nobody's.
pub(super) const KEPT: u32 = 2 * 86_400;

/// The rows of this process, and which of them are free.
#[derive(Debug)]
pub(super) struct Marks {
    process: Uuid,
    next: AtomicI64,
    rows: Mutex<Rows>,
}

#[derive(Debug, Default)]
struct Rows {
    free: Vec<u32>,
    used: u32,
}

impl Default for Marks {
    fn default() -> Self {
        Marks { process: Uuid::new_v4(), next: AtomicI64::new(1), rows: Mutex::default() }
    }
}

/// The mark of one transaction; its row is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Mark {
    marks: Arc<Marks>,
    row: u32,
    number: i64,
}

impl Marks {
    pub(super) fn next(self: &Arc<Marks>) -> Mark {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let row = rows.free.pop().unwrap_or_else(|| {
            rows.used += 1;
            rows.used
        });
        drop(rows);
        Mark { marks: Arc::clone(self), row, number: self.next.fetch_add(1, Ordering::Relaxed) }
    }
}

impl Mark {
    pub(super) fn number(&self) -> i64 {
        self.number
    }

    fn writer(&self) -> String {
        format!("{}/{}", self.marks.process, self.row)
    }

    /// The statement that leaves it. It holds nothing that was given to us.
    pub(super) fn leave(&self) -> String {
        format!(
            "INSERT INTO _commit_marks (writer, mark, left_at) VALUES ('{}', {}, UNIX_TIMESTAMP()) \
             ON DUPLICATE KEY UPDATE mark = VALUES(mark), left_at = VALUES(left_at)",
            self.writer(),
            self.number
        )
    }

    /// The statement that reads what is there, once nobody writes it.
    pub(super) fn look(&self) -> Statement {
        Statement::new("SELECT mark FROM _commit_marks WHERE writer = ?").bind(self.writer()).for_change()
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        self.marks.rows.lock().unwrap_or_else(PoisonError::into_inner).free.push(self.row);
    }
}
