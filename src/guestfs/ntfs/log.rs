//! `$LogFile`: whether it is dirty, and its replay in memory.
//!
//! The model: [`pages`] reads the log as a ring of records; [`tables`] what the last checkpoint and the records after it
//! say of open attributes, dirty pages and transactions; [`replay`] does again what may not be on the disk, and undoes
//! transactions that did not end, with [`change`] for the single operation. What does not fit the volume exactly stops the
//! replay: the volume is not trusted then, rather than half replayed.
//!
//! What proves it: no program here writes a dirty log, so the tests write one by hand, and compare with ntfsrecover of
//! ntfs-3g. By hand too, the logs of two volumes of Windows were looked at (the test data of the Python package
//! dissect.ntfs 3.16, one of them dirty, with a log of version 2.0): 2,018 of their operations, done on what the log
//! itself says of a new record or block, gave 1,026 MFT records and index blocks that equal those on the disk byte by
//! byte; only what a user wrote into records, which is not logged, differed in others. They decided what the sources do
//! not agree in (the order of sizes in SetNewAttributeSizes) or do not say (data that is not logged is zeros). The undo
//! pass has the hand-made log alone.
//!
//! Not here: the log of 32-bit NT before version 1.1, hot fixes, the operations 0x23 and 0x24 (relative data in views).

mod change;
mod pages;
mod record;
mod replay;
mod tables;

use super::boot::Geometry;
use super::stream::Content;
use super::volume::{Volume, number};
use crate::{Error, OpenOptions, Overlay, Result};
use pages::Log;
pub use replay::Replayed;

/// Bytes in which the restart pages lie.
const HEAD: usize = 128 << 10;

/// What was found.
pub enum Found {
    /// Nothing to be done.
    Clean,
    /// It was replayed.
    Replayed(Box<Replayed>),
}

/// Looks at the log of a volume, and replays it where it is dirty.
///
/// # Errors
/// [`Error::Untrusted`] where it is dirty, and can't be replayed with certainty; [`Error::Io`].
pub fn recover(volume: &Volume, options: &OpenOptions) -> Result<Found> {
    let trust = |error: Error| match error {
        error @ (Error::Untrusted(_) | Error::Io { .. }) => error,
        other => Error::Untrusted(format!("$LogFile can't be replayed: {other}")),
    };
    let content = volume.log().map_err(trust)?;
    let mut head = vec![0; HEAD.min(content.size() as usize)];
    volume.read(ID, &content, 0, &mut head).map_err(trust)?;
    match pages::restart(&head).map_err(trust)? {
        None => Ok(Found::Clean),
        Some(restart) if restart.clean => Ok(Found::Clean),
        Some(restart) => {
            let page_size = restart.page_size();
            let log = Log::new(restart, bytes(volume, &content, options)?).map_err(trust)?;
            let overlay = Overlay::new(volume.device.clone(), options.journal_bytes);
            let geometry: Geometry = volume.geometry;
            let replayed = replay::replay(&log, overlay, geometry, page_size).map_err(trust)?;
            Ok(Found::Replayed(Box::new(replayed)))
        }
    }
}

const ID: (u64, usize) = (number::LOG_FILE, 0);

fn bytes(volume: &Volume, content: &Content, options: &OpenOptions) -> Result<Vec<u8>> {
    volume.read_all(ID, content, options.journal_bytes).map_err(|error| match error {
        Error::Limit(_) => Error::Untrusted(format!(
            "$LogFile is dirty and has {} MiB, of which {} MiB are replayed at most",
            content.size() >> 20,
            options.journal_bytes >> 20
        )),
        other => other,
    })
}
