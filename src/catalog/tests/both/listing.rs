//! Lists, prefixes and the latest points, against the same asked of a vector.

use crate::samples::{point, point_on, repository, second, vm_name};
use catalog::{BackupFilter, Existing, TagFilter};
use model::{Backup, BackupType, RepositoryId, Status};

/// Thirty of two VMs in two repositories, in different states, some in one second, some tagged.
fn thirty() -> Vec<Backup> {
    let mut backups: Vec<Backup> = Vec::new();
    for n in 0..30i64 {
        let vm = if n % 3 == 0 { "db" } else { "web" };
        let parent = if n % 4 == 1 { backups.last() } else { None };
        let mut backup = point_on(vm, (n / 5) * 60, parent);
        backup.id = format!("backup-{vm}-{n:03}").parse().unwrap();
        backup.status = *Status::ALL.get(n as usize % 8).unwrap_or(&Status::Completed);
        if n % 7 == 0 {
            backup.repository_id = RepositoryId::new("second").unwrap();
        }
        if n % 5 == 0 {
            backup.tags.insert("env".into(), if n % 2 == 0 { "prod" } else { "test" }.into());
            backup.tags.insert("n".into(), n.to_string());
        }
        backups.push(backup);
    }
    backups
}

fn matches(backup: &Backup, filter: &BackupFilter) -> bool {
    let tagged = |tag: &TagFilter| match &tag.value {
        Some(value) => backup.tags.get(&tag.key) == Some(value),
        None => backup.tags.contains_key(&tag.key),
    };
    filter.vm_name.as_ref().is_none_or(|vm| *vm == backup.vm_name)
        && filter.vm_names.as_ref().is_none_or(|vms| vms.contains(&backup.vm_name))
        && filter.vm_context_id.as_ref().is_none_or(|vm| *vm == backup.vm_context_id)
        && filter.repository_id.as_ref().is_none_or(|id| *id == backup.repository_id)
        && filter.backup_type.is_none_or(|kind| kind == backup.backup_type)
        && filter.status.is_none_or(|status| status == backup.status)
        && filter.since.is_none_or(|since| backup.created_at >= since)
        && filter.until.is_none_or(|until| backup.created_at <= until)
        && filter.tag.as_ref().is_none_or(tagged)
}

/// Every combination of the conditions, on or off.
fn filters() -> Vec<BackupFilter> {
    let tag = |value: Option<&str>| TagFilter { key: "env".into(), value: value.map(str::to_owned) };
    (0u32..512)
        .map(|bits| {
            let on = |bit: u32| bits & (1 << bit) != 0;
            BackupFilter {
                vm_name: on(0).then(|| vm_name("web")),
                vm_context_id: on(1).then(|| crate::samples::context("web")),
                repository_id: on(2).then(|| RepositoryId::new("default").unwrap()),
                backup_type: on(3).then_some(BackupType::Full),
                status: on(4).then_some(Status::Completed),
                since: on(5).then(|| second(60)),
                until: on(6).then(|| second(240)),
                vm_names: on(8).then(|| vec![vm_name("db"), vm_name("nothing")]),
                tag: on(7).then(|| tag((bits % 3 == 0).then_some("prod"))),
                ..BackupFilter::default()
            }
        })
        .collect()
}

#[tokio::test]
async fn lists_hold_what_matches_newest_first_page_by_page_with_the_total() {
    let Some(fixture) = super::fixture().await else { return };
    fixture.catalog.insert_repository(&repository("second")).await.unwrap();
    let mut backups = thirty();
    fixture.catalog.import_backups(&backups, Existing::Keep).await.unwrap();
    backups.sort_by(|a, b| (b.created_at, &b.id).cmp(&(a.created_at, &a.id)));
    for filter in filters() {
        let expected: Vec<&Backup> = backups.iter().filter(|backup| matches(backup, &filter)).collect();
        let page = fixture.catalog.backups(&filter).await.unwrap();
        assert_eq!(page.items.iter().collect::<Vec<_>>(), expected, "{filter:?}");
        assert_eq!(page.total, expected.len() as u64, "{filter:?}");
        assert_eq!(fixture.catalog.count_backups(&filter).await.unwrap(), page.total);
        for (limit, offset) in [(3u32, 0u64), (3, 3), (3, 100), (0, 0), (1, 1)] {
            let page =
                fixture.catalog.backups(&BackupFilter { limit, offset, ..filter.clone() }).await.unwrap();
            let part: Vec<&Backup> =
                expected.iter().copied().skip(offset as usize).take(limit as usize).collect();
            assert_eq!(page.items.iter().collect::<Vec<_>>(), part, "{limit} after {offset}: {filter:?}");
            assert_eq!(page.total, expected.len() as u64, "{limit} after {offset}: {filter:?}");
        }
    }
}

#[tokio::test]
async fn a_prefix_is_taken_literally() {
    let Some(fixture) = super::fixture().await else { return };
    let names = ["pg", "pg_1", "pg%1", "pgx1", "PG", "büro", "bürp", "pg*"];
    let mut backups: Vec<Backup> = names.iter().map(|name| point(name, 0)).collect();
    backups.push(point("pg", 60));
    fixture.catalog.import_backups(&backups, Existing::Keep).await.unwrap();
    for (prefix, expected) in [
        ("backup-pg-", &["backup-pg-20251001-000100", "backup-pg-20251001-000000"][..]),
        ("backup-pg_", &["backup-pg_1-20251001-000000"]),
        ("backup-pg%", &["backup-pg%1-20251001-000000"]),
        ("backup-pg*", &["backup-pg*-20251001-000000"]),
        ("backup-PG", &["backup-PG-20251001-000000"]),
        ("backup-bür", &["backup-bürp-20251001-000000", "backup-büro-20251001-000000"]),
        ("backup-pg-20251001-0000000", &[]),
        ("Backup", &[]),
        ("' OR 1=1", &[]),
    ] {
        let found = fixture.catalog.backups_with_prefix(prefix, 20).await.unwrap();
        let ids: Vec<&str> = found.iter().map(|backup| backup.id.as_str()).collect();
        assert_eq!(ids, expected, "{prefix}");
    }
    assert_eq!(fixture.catalog.backups_with_prefix("", 20).await.unwrap().len(), 9);
    assert_eq!(fixture.catalog.backups_with_prefix("backup-", 4).await.unwrap().len(), 4);
}

#[tokio::test]
async fn the_latest_point_is_a_completed_one_of_the_vm_within_the_time() {
    let Some(fixture) = super::fixture().await else { return };
    let catalog = &fixture.catalog;
    assert_eq!(catalog.latest_point(None, None, None, 0).await.unwrap(), None);
    let mut backups: Vec<Backup> = (0..6).map(|n| point("web", n * 60)).collect();
    backups[5].status = Status::Failed;
    backups.push(point("db", 1_000));
    catalog.import_backups(&backups, Existing::Keep).await.unwrap();
    let web = vm_name("web");
    let latest = async |since: Option<i64>, until: Option<i64>, back| {
        let found =
            catalog.latest_point(Some(&web), since.map(second), until.map(second), back).await.unwrap();
        found.map(|backup| backup.created_at)
    };
    assert_eq!(latest(None, None, 0).await, Some(second(240)));
    assert_eq!(latest(None, None, 2).await, Some(second(120)));
    assert_eq!(latest(None, None, 5).await, None);
    assert_eq!(latest(None, Some(120), 0).await, Some(second(120)));
    assert_eq!(latest(None, Some(119), 0).await, Some(second(60)));
    assert_eq!(latest(None, Some(-1), 0).await, None);
    assert_eq!(latest(Some(61), Some(119), 0).await, None);
    let any = catalog.latest_point(None, None, None, 0).await.unwrap().unwrap();
    assert_eq!(any.vm_name, vm_name("db"));
    assert_eq!(catalog.unfinished_backups().await.unwrap(), []);
}
