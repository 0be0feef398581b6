//! `backup_chains` and generations follow every change of the points.

use crate::samples::{context, disk, pending, point, point_on, second};
use catalog::{Catalog, Error, Existing};
use model::{Backup, DiskIndex, PointName, Stamp, Status};

/// (disk, full, latest, points) of each chain of the VM.
async fn chains(catalog: &Catalog) -> Vec<(u32, String, String, u64)> {
    let found = catalog.chains(&context("pg")).await.unwrap();
    for chain in &found {
        assert_eq!(chain.total_size_bytes, chain.total_backups * (2 << 20));
    }
    found
        .iter()
        .map(|c| {
            let short = |id: &model::BackupId| id.as_str().rsplit('-').next().unwrap().to_owned();
            (c.disk.0, short(&c.full_backup_id), short(&c.latest_backup_id), c.total_backups)
        })
        .collect()
}

fn chain(disk: u32, full: &str, latest: &str, points: u64) -> (u32, String, String, u64) {
    (disk, full.to_owned(), latest.to_owned(), points)
}

#[tokio::test]
async fn chains_follow_points_as_they_complete_join_and_go() {
    let Some(fixture) = super::fixture().await else { return };
    let catalog = &fixture.catalog;
    let full = point("pg", 0);
    let first = point_on("pg", 60, Some(&full));
    let mut second = point_on("pg", 120, Some(&first));
    let name = PointName { vm: second.vm_name.clone(), stamp: Stamp::new(second.created_at) };
    second.disks.push(disk(&name, 1, None));
    let running = Backup { status: Status::Running, ..second.clone() };
    catalog.insert_backup(&full, None).await.unwrap();
    catalog.insert_backup(&first, None).await.unwrap();
    catalog.insert_backup(&running, None).await.unwrap();
    assert_eq!(chains(catalog).await, [chain(0, "000000", "000100", 2)]);

    catalog.update_backup(&second).await.unwrap();
    let both = [chain(0, "000000", "000200", 3), chain(1, "000200", "000200", 1)];
    assert_eq!(chains(catalog).await, both);

    // The full is merged into the first incremental, which becomes a full and keeps its file.
    let mut merged = first.clone();
    merged.parent_backup_id = None;
    merged.disks[0].parent_backup_id = None;
    catalog.replace_backups(std::slice::from_ref(&merged), std::slice::from_ref(&full.id)).await.unwrap();
    let both = [chain(0, "000100", "000200", 2), chain(1, "000200", "000200", 1)];
    assert_eq!(chains(catalog).await, both);
    assert_eq!(catalog.backup(&full.id).await.unwrap(), None);

    assert_eq!(catalog.delete_backups(&[second.id.clone(), full.id.clone()]).await.unwrap(), 1);
    assert_eq!(chains(catalog).await, [chain(0, "000100", "000100", 1)]);

    let all = [full, first, second];
    let done = catalog.import_backups(&all, Existing::Replace).await.unwrap();
    assert_eq!((done.inserted, done.replaced, done.kept), (2, 1, 0));
    let both = [chain(0, "000000", "000200", 3), chain(1, "000200", "000200", 1)];
    assert_eq!(chains(catalog).await, both);
    let points = catalog.points_of_vm(&context("pg"), None).await.unwrap();
    assert_eq!(points, all);
    let graph = model::ChainGraph::new(&points);
    assert_eq!(graph.lineage(&points[2].id, DiskIndex(0)).len() as u64, both[0].3);
}

#[tokio::test]
async fn the_generation_grows_with_the_files_and_with_nothing_else() {
    let Some(fixture) = super::fixture().await else { return };
    let catalog = &fixture.catalog;
    let backup = point("pg", 0);
    catalog.insert_backup(&backup, None).await.unwrap();
    let generation = async || catalog.backup_state(&backup.id).await.unwrap().unwrap().generation;
    let start = generation().await;
    catalog.modify_backup(&backup.id, |b| b.notes = Some("n".into())).await.unwrap();
    catalog.modify_backup(&backup.id, |b| b.tags.insert("a".into(), "b".into())).await.unwrap();
    catalog.modify_backup(&backup.id, |b| b.protected = true).await.unwrap();
    catalog.modify_backup(&backup.id, |_| ()).await.unwrap();
    assert_eq!(generation().await, start);
    catalog.modify_backup(&backup.id, |b| b.disks[0].blake3 = Some("cd".repeat(32))).await.unwrap();
    assert_eq!(generation().await, start + 1);
    catalog
        .modify_backup(&backup.id, |b| b.disks[0].parent_backup_id = Some(point("pg", 9).id))
        .await
        .unwrap();
    assert_eq!(generation().await, start + 2);
    catalog.delete_backups(std::slice::from_ref(&backup.id)).await.unwrap();
    assert_eq!(catalog.backup_state(&backup.id).await.unwrap(), None);
}

#[tokio::test]
async fn an_id_that_is_taken_is_said_to_be_and_a_missing_one_too() {
    let Some(fixture) = super::fixture().await else { return };
    let catalog = &fixture.catalog;
    let backup = pending("pg", 0);
    catalog.insert_backup(&backup, None).await.unwrap();
    let error = catalog.insert_backup(&point("pg", 0), None).await.unwrap_err();
    assert!(
        matches!(&error, Error::AlreadyExists { what: "backup", id } if *id == backup.id.as_str()),
        "{error}"
    );
    assert_eq!(catalog.backup(&backup.id).await.unwrap(), Some(backup.clone()));
    let error = catalog.update_backup(&point("pg", 60)).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { what: "backup", .. }), "{error}");
    let twice = [point("pg", 60), point("pg", 60)];
    assert!(matches!(
        catalog.import_backups(&twice, Existing::Keep).await.unwrap_err(),
        Error::AlreadyExists { .. }
    ));
    assert_eq!(catalog.count_backups(&Default::default()).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn changes_of_one_record_from_many_tasks_all_count() {
    let Some(fixture) = super::fixture().await else { return };
    let backup = point("pg", 0);
    fixture.catalog.insert_backup(&backup, None).await.unwrap();
    let tasks: Vec<_> = (0..4)
        .map(|task| {
            let (catalog, id) = (fixture.catalog.clone(), backup.id.clone());
            tokio::spawn(async move {
                for n in 0..10 {
                    let change = |b: &mut Backup| b.tags.insert(format!("{task}-{n}"), String::new());
                    catalog.modify_backup(&id, change).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(fixture.catalog.backup(&backup.id).await.unwrap().unwrap().tags.len(), 40);
}

#[tokio::test]
async fn a_change_that_is_dropped_half_way_has_not_happened() {
    let Some(fixture) = super::fixture().await else { return };
    let backup = point("pg", 0);
    for polls in 1..40 {
        let mut insert = Box::pin(fixture.catalog.insert_backup(&backup, None));
        for _ in 0..polls {
            let step = std::future::poll_fn(|context| {
                let done = insert.as_mut().poll(context).is_ready();
                std::task::Poll::Ready(done)
            });
            if step.await {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(insert);
        // Whole or not at all; and the connection is fit for the next one.
        if let Some(found) = fixture.catalog.backup(&backup.id).await.unwrap() {
            assert_eq!(found, backup);
        }
        fixture.catalog.delete_backups(std::slice::from_ref(&backup.id)).await.unwrap();
        assert!(fixture.catalog.check().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_chain_is_found_by_its_end_and_not_where_its_points_are_in_no_order() {
    let Some(fixture) = super::fixture().await else { return };
    let catalog = &fixture.catalog;
    let mut points: Vec<Backup> = Vec::new();
    for n in 0..12 {
        let parent = if n % 4 == 0 { None } else { points.last() };
        points.push(point_on("pg", n * 100, parent));
    }
    catalog.import_backups(&points, Existing::Keep).await.unwrap();
    let disk = DiskIndex(0);
    let ids = |found: &[Backup]| found.iter().map(|point| point.id.to_string()).collect::<Vec<_>>();
    let newest = catalog.newest_point_of(&points[0].vm_context_id, None).await.unwrap().unwrap();
    assert_eq!(newest, points[11]);
    let found = catalog.chain_ending_with(&newest, disk).await.unwrap().unwrap();
    assert_eq!(ids(&found), ids(&points[8..]));
    // Nothing ends there, and there is no such disk.
    assert_eq!(catalog.chain_ending_with(&points[10], disk).await.unwrap(), None);
    assert_eq!(catalog.chain_ending_with(&newest, DiskIndex(7)).await.unwrap(), None);
    // A clock was put back: a point is older than what it is built on.
    catalog.modify_backup(&points[9].id, |point| point.created_at = second(1)).await.unwrap();
    assert_eq!(catalog.chain_ending_with(&newest, disk).await.unwrap(), None);
}
