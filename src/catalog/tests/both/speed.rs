//! What lists cost with years of backups. The plans are checked beside the statements (`backups/plans.rs`), the
//! times here only against a generous limit; they are printed (`--no-capture`). `SENDENSE_CATALOG_VMS=500` makes
//! 100,000 points instead of 10,000; with `SENDENSE_KEEP_CATALOG=PATH` the catalog is copied there.

use crate::samples::{point_on, repository, vm_name};
use catalog::{BackupFilter, Catalog, Existing, TagFilter};
use model::{Backup, BackupType, RepositoryId, Status};
use std::time::{Duration, Instant};

const POINTS: i64 = 200;

/// Of each VM a full every twenty, every hundredth point tagged and in another repository.
fn many(vms: i64) -> Vec<Backup> {
    let mut backups: Vec<Backup> = Vec::new();
    for vm in 0..vms {
        let name = format!("vm-{vm:04}");
        let first = backups.len();
        for n in 0..POINTS {
            let parent = if n % 20 == 0 { None } else { backups.get(first..).and_then(|own| own.last()) };
            let mut backup = point_on(&name, n * 86_400 + vm, parent);
            if (vm * POINTS + n) % 100 == 99 {
                backup.tags.insert("kept".into(), "yearly".into());
                backup.repository_id = RepositoryId::new("second").unwrap();
            }
            backups.push(backup);
        }
    }
    backups
}

async fn timed<T>(what: &str, limit: Duration, work: impl Future<Output = T>) -> T {
    let start = Instant::now();
    let value = work.await;
    let took = start.elapsed();
    println!("{what}: {took:?}");
    assert!(took < limit, "{what} took {took:?}");
    value
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn years_of_backups_are_imported_at_once_and_listed_in_milliseconds() {
    let vms = std::env::var("SENDENSE_CATALOG_VMS").ok().and_then(|n| n.parse().ok()).unwrap_or(50);
    let Some(fixture) = super::fixture().await else { return };
    fixture.catalog.insert_repository(&repository("second")).await.unwrap();
    let backups = many(vms);
    let count = backups.len() as u64;
    let import = fixture.catalog.import_backups(&backups, Existing::Replace);
    let done = timed("import", Duration::from_secs(300), import).await.unwrap();
    assert_eq!(done.inserted, count);
    fixture.catalog.close().await;
    if let Some(file) = fixture.location().file() {
        println!("file: {} bytes", std::fs::metadata(file).unwrap().len());
    }

    let limit = Duration::from_secs(5);
    let catalog = timed("open", limit, Catalog::open_at(fixture.location())).await.unwrap();
    let all = BackupFilter::default();
    let page =
        timed("newest 100 and total, first in this process", limit, catalog.backups(&all)).await.unwrap();
    assert_eq!((page.items.len(), page.total), (100, count));
    assert!(page.items.is_sorted_by_key(|b| std::cmp::Reverse(b.created_at)));
    timed("newest 100 and total, again", limit, catalog.backups(&all)).await.unwrap();

    let filters = [
        ("one VM", BackupFilter { vm_name: Some(vm_name("vm-0023")), ..all.clone() }, 200),
        ("completed", BackupFilter { status: Some(Status::Completed), ..all.clone() }, count),
        ("failed", BackupFilter { status: Some(Status::Failed), ..all.clone() }, 0),
        (
            "incremental",
            BackupFilter { backup_type: Some(BackupType::Incremental), ..all.clone() },
            count / 20 * 19,
        ),
        (
            "one repository",
            BackupFilter { repository_id: Some(RepositoryId::new("second").unwrap()), ..all.clone() },
            count / 100,
        ),
        (
            "a tag",
            BackupFilter { tag: Some(TagFilter { key: "kept".into(), value: None }), ..all.clone() },
            count / 100,
        ),
        ("a late page", BackupFilter { offset: count / 10 * 9, ..all.clone() }, count),
    ];
    for (what, filter, total) in filters {
        let page = timed(what, limit, catalog.backups(&filter)).await.unwrap();
        assert_eq!(page.total, total, "{what}");
    }

    let prefix = "backup-vm-0023-2025";
    let found = timed("prefix", limit, catalog.backups_with_prefix(prefix, 20)).await.unwrap();
    assert_eq!(found.len(), 20);
    assert!(found.iter().all(|b| b.id.as_str().starts_with(prefix)));
    assert!(found.is_sorted_by_key(|b| std::cmp::Reverse(b.created_at)));
    timed("by id", limit, catalog.backup(&found[0].id)).await.unwrap().unwrap();
    let name = vm_name("vm-0023");
    timed("latest of a VM", limit, catalog.latest_point(Some(&name), None, None, 0)).await.unwrap().unwrap();
    timed("latest of all", limit, catalog.latest_point(None, None, None, 2)).await.unwrap().unwrap();
    let points = catalog.points_of_vm(&found[0].vm_context_id, None);
    assert_eq!(timed("points of a VM", limit, points).await.unwrap().len(), 200);
    assert!(timed("unfinished", limit, catalog.unfinished_backups()).await.unwrap().is_empty());
    let usage = timed("usage of repositories", limit, catalog.usage()).await.unwrap();
    assert_eq!(usage.values().map(|u| u.backup_count).sum::<u64>(), count);
    timed("quick check", Duration::from_secs(10), catalog.check()).await.unwrap();

    let start = Instant::now();
    for backup in &backups[..50] {
        catalog.modify_backup(&backup.id, |b| b.notes = Some("x".into())).await.unwrap();
    }
    if let (Ok(keep), Some(file)) = (std::env::var("SENDENSE_KEEP_CATALOG"), fixture.location().file()) {
        fixture.catalog.close().await;
        std::fs::copy(file, keep).unwrap();
    }
    println!("durable change: {:?} each", start.elapsed() / 50);
}
