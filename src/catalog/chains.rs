//! `backup_chains`: one row for each full of each disk, with what is built on it.
//!
//! The rows say nothing that the points don't: they are made anew from a VM's completed points by
//! [`recompute`], in every transaction that changes one of these. A point whose chain does not lead to a full
//! (its parent's row is gone) is in no chain.

use crate::engine::Session;
use crate::engine::transaction;
use crate::fields::{Row, inserts, int, text};
use crate::statement::Statement;
use crate::{Catalog, Result};
use model::{Backup, BackupId, ChainGraph, ContextId, DiskIndex, RepositoryId};
use std::collections::{BTreeMap, HashMap};

/// A full of one disk and everything that is built on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainSummary {
    /// `{full backup id}-disk{n}-chain`.
    pub id: String,
    /// The VM.
    pub vm_context_id: ContextId,
    /// The disk.
    pub disk: DiskIndex,
    /// Where it is kept.
    pub repository_id: RepositoryId,
    /// Its full.
    pub full_backup_id: BackupId,
    /// Its newest point.
    pub latest_backup_id: BackupId,
    /// Points, the full included.
    pub total_backups: u64,
    /// Bytes of their files of this disk.
    pub total_size_bytes: u64,
}

impl Catalog {
    /// The chains of a VM, by disk, oldest full first.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn chains(&self, context: &ContextId) -> Result<Vec<ChainSummary>> {
        transaction!(self.engine.read(), |session| {
            let query = "SELECT c.* FROM backup_chains c JOIN backup_jobs j ON j.id = c.full_backup_id \
                         WHERE c.vm_context_id = ? ORDER BY c.disk_id, j.created_at, j.id";
            let rows = session.all(Statement::new(query).bind(context.as_str())).await?;
            rows.iter().map(summary).collect()
        })
    }

    /// The points of a disk's chain that ends with `latest`, oldest first, without a look at the other points of its VM;
    /// `None` where the chain can't be told so: the caller looks at all of them.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn chain_ending_with(&self, latest: &Backup, disk: DiskIndex) -> Result<Option<Vec<Backup>>> {
        transaction!(self.engine.read(), |session| {
            let query = "SELECT * FROM backup_chains WHERE vm_context_id = ? AND disk_id = ? AND latest_backup_id = ?";
            let query = Statement::new(query)
                .bind(latest.vm_context_id.as_str())
                .bind(i64::from(disk.0))
                .bind(latest.id.as_str());
            let Some(chain) = session.optional(query).await?.as_ref().map(summary).transpose()? else {
                return Ok(None);
            };
            // What is built on a full is younger, unless a clock was put back: then the numbers disagree.
            let full = Statement::new("SELECT created_at FROM backup_jobs WHERE id = ?");
            let Some(full) = session.optional(full.bind(chain.full_backup_id.as_str())).await? else {
                return Ok(None);
            };
            let since = full.text("created_at")?;
            let points = crate::backups::points_since(session, &chain, &since).await?;
            let graph = ChainGraph::new(&points);
            let members: Vec<Backup> = graph.chain(&latest.id, disk).into_iter().cloned().collect();
            Ok((members.len() as u64 == chain.total_backups).then_some(members))
        })
    }
}

fn summary(row: &Row) -> Result<ChainSummary> {
    Ok(ChainSummary {
        id: row.text("id")?,
        vm_context_id: row.parse("vm_context_id")?,
        disk: DiskIndex(row.index("disk_id")?),
        repository_id: row.parse("repository_id")?,
        full_backup_id: row.parse("full_backup_id")?,
        latest_backup_id: row.parse("latest_backup_id")?,
        total_backups: row.int("total_backups")?,
        total_size_bytes: row.int("total_size_bytes")?,
    })
}

/// One disk of one completed point.
struct Link {
    backup_id: String,
    repository_id: String,
    parent: Option<String>,
    size_bytes: u64,
}

/// Brings the rows of a VM in line with its completed points.
pub(crate) async fn recompute(session: &mut Session, context: &ContextId) -> Result<()> {
    // By the VM: an index on the status would walk the points of all VMs.
    let query = "SELECT j.id, j.repository_id, d.disk_index, d.parent_backup_id, d.size_bytes \
                 FROM backup_jobs j [index idx_vm_context_id] [join] backup_disks d ON d.backup_job_id = j.id \
                 WHERE j.vm_context_id = ? AND j.status = 'completed' ORDER BY j.created_at, j.id";
    let rows = session.all(Statement::new(query).bind(context.as_str()).for_change()).await?;
    let mut disks: BTreeMap<u32, Vec<Link>> = BTreeMap::new();
    for row in &rows {
        disks.entry(row.index("disk_index")?).or_default().push(Link {
            backup_id: row.text("id")?,
            repository_id: row.text("repository_id")?,
            parent: row.maybe_text("parent_backup_id")?,
            size_bytes: row.int("size_bytes")?,
        });
    }
    let mut chains = Vec::new();
    for (disk, links) in &disks {
        for (full, members) in group(links) {
            let Some(latest) = members.last() else { continue };
            let size = members.iter().fold(0u64, |sum, link| sum.saturating_add(link.size_bytes));
            chains.push(vec![
                ("id", text(format!("{}-disk{disk}-chain", full.backup_id))),
                ("vm_context_id", text(context.as_str())),
                ("disk_id", int("disk_id", u64::from(*disk))?),
                ("repository_id", text(full.repository_id.as_str())),
                ("full_backup_id", text(full.backup_id.as_str())),
                ("latest_backup_id", text(latest.backup_id.as_str())),
                ("total_backups", int("total_backups", members.len() as u64)?),
                ("total_size_bytes", int("total_size_bytes", size)?),
            ]);
        }
    }
    let clear = Statement::new("DELETE FROM backup_chains WHERE vm_context_id = ?").bind(context.as_str());
    session.execute(clear).await?;
    for statement in inserts("backup_chains", chains) {
        session.execute(statement).await?;
    }
    Ok(())
}

/// The links (oldest first) by the full that each leads to, in that order too.
fn group(links: &[Link]) -> Vec<(&Link, Vec<&Link>)> {
    let by_id: HashMap<&str, usize> =
        links.iter().enumerate().map(|(index, link)| (link.backup_id.as_str(), index)).collect();
    let mut roots: Vec<Option<usize>> = vec![None; links.len()];
    let mut seen = vec![false; links.len()];
    for start in 0..links.len() {
        // Down to a full, to a link whose root is known, or to one seen before (a loop or a missing parent).
        let mut path = Vec::new();
        let mut next = Some(start);
        let root = loop {
            let Some(here) = next else { break None };
            if seen[here] {
                break roots[here];
            }
            seen[here] = true;
            path.push(here);
            match &links[here].parent {
                None => break Some(here),
                Some(parent) => next = by_id.get(parent.as_str()).copied(),
            }
        };
        for here in path {
            roots[here] = root;
        }
    }
    let mut chains: BTreeMap<usize, Vec<&Link>> = BTreeMap::new();
    for (link, root) in links.iter().zip(&roots) {
        if let Some(root) = root {
            chains.entry(*root).or_default().push(link);
        }
    }
    chains.into_iter().map(|(root, members)| (&links[root], members)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(id: &str, parent: Option<&str>) -> Link {
        Link {
            backup_id: id.into(),
            repository_id: "r".into(),
            parent: parent.map(str::to_owned),
            size_bytes: 1,
        }
    }

    #[test]
    fn links_group_by_their_full_and_loops_and_orphans_end() {
        let links = [
            link("f1", None),
            link("i1", Some("f1")),
            link("f2", None),
            link("d1", Some("f1")),
            link("i2", Some("i1")),
            link("orphan", Some("gone")),
            link("on-orphan", Some("orphan")),
            link("loop-a", Some("loop-b")),
            link("loop-b", Some("loop-a")),
            link("self", Some("self")),
            link("child-first", Some("parent-later")),
            link("parent-later", Some("f2")),
        ];
        let found: Vec<(&str, Vec<&str>)> = group(&links)
            .into_iter()
            .map(|(full, members)| {
                (full.backup_id.as_str(), members.iter().map(|link| link.backup_id.as_str()).collect())
            })
            .collect();
        assert_eq!(
            found,
            [("f1", vec!["f1", "i1", "d1", "i2"]), ("f2", vec!["f2", "child-first", "parent-later"])]
        );
    }
}
