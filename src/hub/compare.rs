//! Two restore points beside each other: which files were added, removed and changed.
//!
//! Both points are open, each with a lease, for as long as the comparison runs, which is until its reader has had the
//! last line or goes away. What is known of their disks without reading them is `changes`; the comparison of the trees
//! is `guestfs::compare`.
//!
//! Not here: HTTP (`server`), pages of differences.

mod changes;
mod report;

pub(crate) use changes::Changes;
pub(crate) use report::hidden_volumes;

use crate::browse::{OpenPoint, View, failure, keys_of};
use crate::leases::Guard;
use crate::readers::Stopper;
use crate::streams::{Lines, Teller, body_of};
use crate::{Error, Hub, Result, blocking};
use api::{DiffLine, DiffQuery, DiffSummary, from_base64};
use guestfs::tree::{Follow, Node, Tree};
use model::{Backup, BackupId};
use report::Report;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// Two open points.
struct Points {
    records: [Backup; 2],
    trees: [Tree; 2],
    /// Why disks of them are left out.
    notes: [Vec<String>; 2],
    /// What stands at the path that is compared.
    nodes: [Option<Node>; 2],
    path: Vec<u8>,
    changes: Changes,
    /// Bytes that were read of their disks.
    read: Arc<AtomicU64>,
}

impl Hub {
    /// The differences between two restore points of any VMs, as lines that come as they are found, in the order of
    /// paths; a summary at the end.
    ///
    /// # Errors
    /// No such point, disk, volume or path; damage that hides all of a point. What can't be read of one is a line.
    pub async fn diff(
        &self,
        before: &BackupId,
        after: &BackupId,
        query: DiffQuery,
        keys_b64: &[String],
    ) -> Result<Lines<DiffLine>> {
        let path = path_of("path_b64", query.path.as_deref(), query.path_b64.as_deref())?;
        let path = path.unwrap_or_else(|| b"/".to_vec());
        let view = View {
            disk: query.disk_id,
            volume: query.volume,
            ignore_journal: query.ignore_journal,
            keys: keys_of(keys_b64)?,
            walked: true,
        };
        let records = [self.point(before).await?, self.point(after).await?];
        let reader = self.inner.readers.enter();
        let id = format!("diff-{}", uuid::Uuid::new_v4());
        let mut leases = Vec::new();
        let stop = reader.stop.clone();
        let opened = async {
            for record in &records {
                leases.push(self.lock_point(&record.id, "diff", &id).await?);
            }
            let before = self.open_point(&records[0], view.disk).await?;
            let open = [before, self.open_point(&records[1], view.disk).await?];
            blocking::run("diff", move || Points::open(records, open, &view, path, &stop)).await
        };
        let opened = opened.await;
        let points = match opened {
            Ok(points) => points,
            Err(error) => {
                release(leases).await;
                return Err(error);
            }
        };
        let (teller, lines) = Teller::new(reader.stop.clone());
        let content_only = query.content_only;
        tokio::spawn(async move {
            let telling = teller.clone();
            let work = blocking::run("diff", move || Ok(Report::new(&points, &telling).run(content_only)));
            finish(work, &teller, leases).await;
            drop(reader);
        });
        Ok(lines)
    }
}

/// Waits for the work, stops it where its reader has gone away, and tells its end. Who has read that finds no lease any
/// more.
async fn finish(
    work: impl Future<Output = Result<DiffSummary>>,
    teller: &Teller<DiffLine>,
    leases: Vec<Guard>,
) {
    let mut work = std::pin::pin!(work);
    let ended = tokio::select! {
        ended = &mut work => ended,
        () = teller.gone() => work.await,
    };
    release(leases).await;
    let last = match ended {
        Ok(summary) => DiffLine::Summary(Box::new(summary)),
        Err(error) => DiffLine::Fatal(body_of(&error)),
    };
    teller.tell(last).await;
}

async fn release(leases: Vec<Guard>) {
    for lease in leases {
        lease.release().await;
    }
}

impl Points {
    /// Blocks.
    fn open(
        records: [Backup; 2],
        open: [OpenPoint; 2],
        view: &View,
        path: Vec<u8>,
        stop: &Stopper,
    ) -> Result<Points> {
        let read = Arc::new(AtomicU64::new(0));
        let trees = [open[0].tree(view, &read)?, open[1].tree(view, &read)?];
        let found =
            [trees[0].resolve(&path, Follow::AllButLast), trees[1].resolve(&path, Follow::AllButLast)];
        let missing = |error: &guestfs::tree::PathError| {
            matches!(error.source, guestfs::Error::NotFound | guestfs::Error::NotADirectory)
        };
        let nodes = match &found {
            [Err(error), Err(other)] => {
                return Err(failure::of_path(if missing(error) { other } else { error }));
            }
            [Err(error), _] | [_, Err(error)] if !missing(error) => return Err(failure::of_path(error)),
            [one, other] => {
                [one.as_ref().ok().map(|found| found.node), other.as_ref().ok().map(|found| found.node)]
            }
        };
        let path = found.into_iter().flatten().next().map_or(path, |found| found.path);
        let changes = Changes::between(&open[0].disks, &open[1].disks, stop);
        let [one, other] = open;
        Ok(Points { records, trees, notes: [one.notes, other.notes], nodes, path, changes, read })
    }
}

/// The bytes of a path that was given as text or in Base64.
///
/// # Errors
/// Both were given, or it is no Base64.
pub(crate) fn path_of(field: &'static str, text: Option<&str>, b64: Option<&str>) -> Result<Option<Vec<u8>>> {
    match (text, b64) {
        (Some(_), Some(_)) => Err(Error::invalid(
            field,
            format!("give {} or {field}, not both", field.trim_end_matches("_b64")),
        )),
        (Some(text), None) => Ok(Some(text.as_bytes().to_vec())),
        (None, Some(b64)) => from_base64(b64).map(Some).map_err(|error| Error::invalid(field, error)),
        (None, None) => Ok(None),
    }
}
