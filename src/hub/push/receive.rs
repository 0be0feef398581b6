//! Receiving one disk: from its first byte to its files.

use super::disk::{Making, PushDisk};
use super::serve::serve;
use super::session::Session;
use crate::config::PushConfig;
use crate::control::Control;
use crate::image::Stored;
use crate::points::{OpenDisk, OpenRepository};
use crate::{Error, Result};
use block::{Counters, Limiter};
use model::{BackupId, Compression, DiskIndex};
use repository::DiskFiles;
use std::sync::Arc;

/// What a disk is received with.
pub(crate) struct Receiving {
    pub config: PushConfig,
    pub session: Arc<Session>,
    pub repository: OpenRepository,
    pub files: DiskFiles,
    pub id: BackupId,
    pub index: DiskIndex,
    pub export_name: String,
    /// Virtual size in bytes.
    pub size: u64,
    pub compression: Compression,
    /// The point below, and the name of its image in the same folder.
    pub parent: Option<(OpenDisk, String)>,
    pub counters: Arc<Counters>,
    pub limiter: Option<Arc<Limiter>>,
}

/// Serves a disk until its client is done. Blocks.
///
/// # Errors
/// What ended it before; its port is free then, and nothing of its files is left.
pub(crate) fn receive(receiving: Receiving, control: &Control) -> Result<Stored> {
    let Receiving {
        config,
        session,
        repository,
        files,
        id,
        index,
        export_name,
        size,
        compression,
        parent,
        counters,
        limiter,
    } = receiving;
    let parent_id = parent.as_ref().and_then(|(open, _)| open.lineage.first()).map(|at| at.id.clone());
    let failed = |error: block::Error| match (&error, &parent_id) {
        (block::Error::Mismatch { .. } | block::Error::Corrupt { .. }, Some(parent)) => {
            repository.place.read_failure(parent, error)
        }
        _ => repository.place.write_failure(error),
    };
    let disk = PushDisk::make(Making {
        repository: &repository,
        files: &files,
        name: format!("disk {index}"),
        size,
        compression,
        parent,
        counters,
        limiter,
        cancel: control.token().clone(),
        life: Arc::clone(session.life()),
    });
    let disk = Arc::new(disk.map_err(failed)?);
    let description = format!("{id} disk {index}");
    let served = serve(&config, index, &export_name, description, Arc::clone(&disk));
    let (server, target) = served.inspect_err(|_| disk.give_up())?;
    tracing::info!(%id, disk = %index, port = target.port, "a disk can be written");
    session.open(target);
    let done = session.until_done(control, || disk.failure().map(failed));
    // Nobody is connected afterwards, so nothing is taken that was not asked for in time.
    server.stop();
    match done {
        Ok(()) => {
            let finished = disk.finish(&repository, &files);
            // What a client was told last is why the rest of it can't be finished, and not the other way round.
            match disk.failure() {
                Some(error) => Err(failed(error)),
                None => finished.map_err(failed),
            }
        }
        Err(error) => {
            disk.give_up();
            // A client that gives up because this disk failed it may be heard before the failure is looked for.
            Err::<Stored, Error>(disk.failure().map_or(error, failed))
        }
    }
}
