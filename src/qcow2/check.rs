//! Whether one file's structures hold together.
//!
//! Two independent accounts are compared: what every table of the file *refers to* (`references`), and the
//! refcounts that the file *claims* (`refcounts`). Beside that every entry is looked at by itself: reserved
//! bits, alignment, offsets behind the end, "copied" flags, metadata that lies on other metadata or on data.
//!
//! Errors mean that the file is damaged and what is read may be wrong, or that a program that writes to it
//! would destroy something. Leaks (claimed, but referred to by nothing) only waste space. The data itself is
//! not read: whether it is true is what hashes are for, and compressed clusters are not decompressed. The
//! backing file is not opened.
//!
//! Bounded: 64 MiB of counters whatever the file's size (longer files are gone through in several rounds of
//! 16 Mi clusters), each distinct table is read once a round, and nothing read is believed before it is
//! checked. Internal snapshots and persistent bitmaps are counted, so that images of running guests come
//! out clean.

mod areas;
mod claims;
mod counts;
mod references;

use crate::error::unsupported;
use crate::header::Header;
use crate::storage::{FileStorage, Storage};
use block::Result;
use claims::Claims;
use counts::{Counts, WINDOW};
use references::References;
use std::path::Path;

/// Findings that are told in words; all are counted.
const TOLD: usize = 64;
/// Rounds over the metadata at most: 1 PiB of file at 64 KiB clusters.
const MOST_ROUNDS: u64 = 1024;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Space is wasted, nothing is wrong.
    Leak,
    /// The file is damaged.
    Error,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What was found and what was expected, with offsets, for a person.
    pub text: String,
}

/// The result of a check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The disk's size in bytes.
    pub virtual_size: u64,
    /// The file's length in bytes.
    pub file_size: u64,
    /// The unit of allocation in bytes.
    pub cluster_size: u64,
    /// Guest clusters stored as they are (with subclusters: at least in part).
    pub data_clusters: u64,
    /// Guest clusters stored compressed.
    pub compressed_clusters: u64,
    /// Guest clusters that are explicit zeros.
    pub zero_clusters: u64,
    /// Everything that is wrong, counted.
    pub errors: u64,
    /// Host clusters that nothing refers to.
    pub leaks: u64,
    /// The first findings in words.
    pub findings: Vec<Finding>,
}

impl Report {
    /// True where nothing is wrong. Leaks are no damage.
    pub fn is_sound(&self) -> bool {
        self.errors == 0
    }

    /// The first error in words.
    pub fn first_error(&self) -> Option<&str> {
        self.findings.iter().find(|f| f.severity == Severity::Error).map(|f| f.text.as_str())
    }

    fn error(&mut self, text: impl FnOnce() -> String) {
        self.errors += 1;
        self.tell(Severity::Error, text);
    }

    fn leak(&mut self, text: impl FnOnce() -> String) {
        self.leaks += 1;
        self.tell(Severity::Leak, text);
    }

    /// Adds what was found in a part.
    fn absorb(&mut self, part: Report) {
        self.data_clusters += part.data_clusters;
        self.compressed_clusters += part.compressed_clusters;
        self.zero_clusters += part.zero_clusters;
        self.errors += part.errors;
        self.leaks += part.leaks;
        let room = TOLD.saturating_sub(self.findings.len());
        self.findings.extend(part.findings.into_iter().take(room));
    }

    fn tell(&mut self, severity: Severity, text: impl FnOnce() -> String) {
        let room = match severity {
            // Leaks, which may be many, leave room for errors.
            Severity::Leak => TOLD / 2,
            Severity::Error => TOLD,
        };
        if self.findings.len() < room {
            self.findings.push(Finding { severity, text: text() });
        }
    }
}

/// Checks the structures of the QCOW2 file at `path`.
///
/// # Errors
/// Where it can't be read, or where already its header is damaged or not supported: there is then nothing to
/// check by. Anything else is in the report.
pub fn check(path: &Path) -> Result<Report> {
    check_storage(&FileStorage::open(path)?)
}

/// As [`check`], for an image that is open already.
///
/// # Errors
/// As for `check`.
pub fn check_storage(storage: &dyn Storage) -> Result<Report> {
    let header = Header::read(storage)?;
    let cluster_size = header.format.cluster_size();
    let mut report = Report {
        virtual_size: header.virtual_size,
        file_size: storage.size(),
        cluster_size,
        ..Report::default()
    };
    let clusters = storage.size().div_ceil(cluster_size);
    let rounds = clusters.div_ceil(WINDOW);
    if rounds > MOST_ROUNDS {
        return Err(unsupported(
            storage.name(),
            format!("{} bytes are too long to be checked", storage.size()),
        ));
    }
    let mut claims = Claims::read(storage, &header, &mut report)?;
    let references = References::collect(storage, &header, &claims, &mut report)?;
    for round in 0..rounds {
        let window = round * WINDOW..((round + 1) * WINDOW).min(clusters);
        let mut counts = Counts::new(window, cluster_size);
        references.count(&mut counts, &mut claims, round == 0, &mut report)?;
        claims.compare(&counts, header.dirty, &mut report)?;
    }
    Ok(report)
}
