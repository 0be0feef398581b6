//! Full, incremental and differential backups of disks that change, grow, shrink, join and leave: every point
//! is what the disk was, for this program and for QEMU.

use crate::support::{Site, same_for_qemu, vm};
use api::{CreateVm, CreateVmDisk, DeleteQuery, StartBackup};
use hub::Error;
use model::{BackupType, Compression, DiskIndex, RequestedType, Status};
use testkit::image::{mixed, mutate, write_sparse};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_point_of_a_cycle_is_what_the_disk_was() {
    for compression in [Compression::None, Compression::Zstd] {
        let site = Site::new().await;
        let mut disk = mixed(1, (6 << 20) + 512);
        write_sparse(&site.disk("a.raw"), &disk);
        let request = |kind| StartBackup {
            compression: Some(compression),
            source: Some(site.source("a.raw")),
            ..StartBackup::new(vm("pg"), kind)
        };
        let mut points = Vec::new();
        let kinds = [
            (RequestedType::Auto, BackupType::Full),
            (RequestedType::Incremental, BackupType::Incremental),
            (RequestedType::Differential, BackupType::Differential),
            (RequestedType::Auto, BackupType::Incremental),
            (RequestedType::Full, BackupType::Full),
            (RequestedType::Incremental, BackupType::Incremental),
        ];
        for (round, (asked, made)) in kinds.into_iter().enumerate() {
            if round > 0 {
                mutate(round as u64, &mut disk, 20);
                write_sparse(&site.disk("a.raw"), &disk);
            }
            let point = site.backup(request(asked)).await;
            assert_eq!(point.status, Status::Completed, "{:?}", point.error_message);
            assert_eq!(point.backup_type, made);
            same_for_qemu(&site.file(&point, 0), &site.disk("a.raw"));
            points.push((point, disk.clone()));
        }
        for (point, then) in &points {
            assert_eq!(site.restored(&point.id, 0).await, *then, "{}", point.id);
        }
        let parents: Vec<_> = points.iter().map(|(point, _)| point.parent_backup_id.clone()).collect();
        assert_eq!(parents[1], Some(points[0].0.id.clone()));
        assert_eq!(parents[2], Some(points[0].0.id.clone()), "a differential builds on the full");
        assert_eq!(parents[3], Some(points[2].0.id.clone()), "an incremental builds on the latest");
        assert_eq!(parents[5], Some(points[4].0.id.clone()));
        assert_eq!(site.leftovers(), Vec::<std::path::PathBuf>::new());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disks_that_change_their_size_join_or_leave_are_recorded() {
    let site = Site::new().await;
    let a = mixed(1, 3 << 20);
    write_sparse(&site.disk("a.raw"), &a);
    let disks = |names: &[&str]| CreateVm {
        name: vm("pg"),
        disks: names.iter().map(|name| CreateVmDisk { source: site.source(name) }).collect(),
        ..create("pg")
    };
    site.hub.add_vm(disks(&["a.raw"]), false).await.unwrap();
    site.point("pg", RequestedType::Full).await;

    // Grown by an odd number, then shrunk by another, then grown over its first size.
    for (round, size) in [(4 << 20) + 1024, (1 << 20) + 512, 5 << 20].into_iter().enumerate() {
        let now = mixed(10 + round as u64, size);
        write_sparse(&site.disk("a.raw"), &now);
        let point = site.point("pg", RequestedType::Incremental).await;
        assert_eq!(point.backup_type, BackupType::Incremental);
        assert!(point.fallback_reason.as_deref().unwrap().contains("size has changed"), "{point:?}");
        same_for_qemu(&site.file(&point, 0), &site.disk("a.raw"));
        assert_eq!(site.restored(&point.id, 0).await, now);
    }

    let b = mixed(2, 1 << 20);
    write_sparse(&site.disk("b.raw"), &b);
    site.hub.add_vm(disks(&["a.raw", "b.raw"]), true).await.unwrap();
    let joined = site.point("pg", RequestedType::Incremental).await;
    assert_eq!(joined.backup_type, BackupType::Incremental);
    assert_eq!(joined.disk(DiskIndex(1)).unwrap().backup_type, BackupType::Full);
    assert!(joined.fallback_reason.as_deref().unwrap().contains("disk 1: the disk is new"), "{joined:?}");
    assert_eq!(joined.disk(DiskIndex(0)).unwrap().bytes_transferred, 0, "nothing has changed");
    assert_eq!(site.restored(&joined.id, 1).await, b);

    site.hub.add_vm(disks(&["a.raw"]), true).await.unwrap();
    let left = site.point("pg", RequestedType::Incremental).await;
    assert!(left.fallback_reason.as_deref().unwrap().contains("disk 1 is no longer"), "{left:?}");
    assert_eq!(left.disks.len(), 1);
}

fn create(name: &str) -> CreateVm {
    serde_json::from_value(serde_json::json!({ "name": name, "disks": [] })).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn merging_and_deleting_in_branches_loses_nothing_later() {
    let site = Site::new().await;
    let mut disk = mixed(1, (4 << 20) + 512);
    let mut points = Vec::new();
    let request =
        |kind| StartBackup { source: Some(site.source("a.raw")), ..StartBackup::new(vm("pg"), kind) };
    // full ← incr ← incr, full ← diff ← incr
    for (round, kind) in [
        RequestedType::Full,
        RequestedType::Incremental,
        RequestedType::Incremental,
        RequestedType::Differential,
        RequestedType::Incremental,
    ]
    .into_iter()
    .enumerate()
    {
        mutate(round as u64, &mut disk, 30);
        write_sparse(&site.disk("a.raw"), &disk);
        let point = site.backup(request(kind)).await;
        assert_eq!(point.status, Status::Completed, "{:?}", point.error_message);
        points.push((point, disk.clone()));
    }
    let ids: Vec<_> = points.iter().map(|(point, _)| point.id.clone()).collect();

    let refused = site.hub.delete_backup(&ids[0], DeleteQuery::default()).await.unwrap_err();
    assert!(
        matches!(&refused, Error::HasDependents { dependents, .. } if *dependents == ids[1..]),
        "{refused}"
    );

    let merge = DeleteQuery { merge: true, ..DeleteQuery::default() };
    let done = site.hub.delete_backup(&ids[1], merge).await.unwrap();
    assert_eq!(done.rewritten, [ids[2].clone()]);
    let child = site.hub.backup(&ids[2]).await.unwrap();
    assert_eq!(child.parent_backup_id, Some(ids[0].clone()));

    // The full goes into both branches, which become fulls.
    let done = site.hub.delete_backup(&ids[0], merge).await.unwrap();
    assert_eq!(done.rewritten, [ids[2].clone(), ids[3].clone()]);
    for id in &ids[2..4] {
        let branch = site.hub.backup(id).await.unwrap();
        assert_eq!(branch.backup_type, BackupType::Full);
        assert_eq!(branch.parent_backup_id, None);
    }
    for (point, then) in &points[2..] {
        assert_eq!(site.restored(&point.id, 0).await, *then, "{}", point.id);
        let now = site.hub.backup(&point.id).await.unwrap();
        write_sparse(&site.disk("then.raw"), then);
        same_for_qemu(&site.file(&now, 0), &site.disk("then.raw"));
    }

    let cascade = DeleteQuery { cascade: true, ..DeleteQuery::default() };
    let planned = site.hub.delete_backup(&ids[3], DeleteQuery { dry_run: true, ..cascade }).await.unwrap();
    assert_eq!(planned.deleted, [ids[4].clone(), ids[3].clone()]);
    let done = site.hub.delete_backup(&ids[3], cascade).await.unwrap();
    assert_eq!(done.deleted, planned.deleted);
    assert!(done.freed_bytes > 0);
    assert_eq!(site.restored(&ids[2], 0).await, points[2].1);
    assert_eq!(site.leftovers(), Vec::<std::path::PathBuf>::new());
    assert!(site.hub.backup(&ids[4]).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_catalog_that_is_lost_comes_back_exactly() {
    let site = Site::new().await;
    let mut disk = mixed(5, 2 << 20);
    for round in 0..3u64 {
        mutate(round, &mut disk, 50);
        write_sparse(&site.disk("a.raw"), &disk);
        let request = StartBackup {
            source: Some(site.source("a.raw")),
            tags: [("round".to_owned(), round.to_string())].into(),
            ..StartBackup::new(vm("pg"), RequestedType::Auto)
        };
        site.backup(request).await;
    }
    let all = site.hub.backups(&api::BackupQuery::default()).await.unwrap();
    let patch = api::PatchBackup {
        protected: Some(true),
        protect_reason: Some("audit".into()),
        notes: Some(Some("kept".into())),
        ..api::PatchBackup::default()
    };
    site.hub.patch_backup(&all.0[1].id, patch).await.unwrap();
    let verified = site.hub.start_verify(&all.0[0].id, api::VerifyRequest::default()).await.unwrap();
    site.hub.wait(verified.id.as_str()).await.unwrap();
    let before = site.hub.backups(&api::BackupQuery::default()).await.unwrap();
    let (vm_before, chain) = (
        site.hub.vm(&vm("pg")).await.unwrap(),
        site.hub.chain(&vm("pg"), &api::ChainQuery::default()).await.unwrap(),
    );

    site.hub.shutdown().await;
    let other = tempfile::tempdir().unwrap();
    let hub = hub::Hub::open(hub::HubConfig::new(other.path().join("state"))).await.unwrap();
    let created = hub
        .create_repository(api::CreateRepository {
            name: model::RepositoryId::new("default").unwrap(),
            kind: model::RepositoryType::Local,
            config: api::RepositoryConfig::local(site.repository().to_str().unwrap()),
            immutable: false,
            default: true,
            reserve_bytes: None,
        })
        .await
        .unwrap();
    let report = hub.scan_repository(created.repository.id.as_str()).await.unwrap();
    assert_eq!((report.found, report.added, report.problems.len()), (3, 3, 0), "{report:?}");
    assert_eq!(hub.backups(&api::BackupQuery::default()).await.unwrap(), before);
    assert_eq!(hub.vm(&vm("pg")).await.unwrap().disks, vm_before.disks);
    assert_eq!(hub.chain(&vm("pg"), &api::ChainQuery::default()).await.unwrap(), chain);
    let again = hub.scan_repository("default").await.unwrap();
    assert_eq!((again.added, again.updated, again.missing), (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_disks_of_a_point_are_merged_together() {
    let site = Site::new().await;
    let names = ["a.raw", "b.raw", "c.raw"];
    let mut disks: Vec<Vec<u8>> = (0..3).map(|n| mixed(n, 1 << 20)).collect();
    let write = |disks: &[Vec<u8>]| {
        names.iter().zip(disks).for_each(|(name, disk)| write_sparse(&site.disk(name), disk))
    };
    write(&disks);
    let with = |count: usize| CreateVm {
        disks: names[..count].iter().map(|name| CreateVmDisk { source: site.source(name) }).collect(),
        ..create("pg")
    };
    site.hub.add_vm(with(2), false).await.unwrap();
    let full = site.point("pg", RequestedType::Full).await;
    site.hub.add_vm(with(3), true).await.unwrap();
    let mut contents = Vec::new();
    for round in 0..2u64 {
        disks.iter_mut().for_each(|disk| mutate(round, disk, 40));
        write(&disks);
        contents.push((site.point("pg", RequestedType::Incremental).await, disks.clone()));
    }
    // The third disk begins in the middle point: it has nothing to merge when the full goes.
    let merge = DeleteQuery { merge: true, ..DeleteQuery::default() };
    for id in [&full.id, &contents[0].0.id] {
        site.hub.delete_backup(id, merge).await.unwrap();
    }
    let last = site.hub.backup(&contents[1].0.id).await.unwrap();
    assert_eq!(last.backup_type, BackupType::Full);
    assert!(last.disks.iter().all(|disk| disk.parent_backup_id.is_none()));
    for disk in 0..3 {
        assert!(site.restored(&last.id, disk).await == contents[1].1[disk as usize], "disk {disk}");
        same_for_qemu(&site.file(&last, disk), &site.disk(names[disk as usize]));
    }
    let chain = site.hub.chain(&vm("pg"), &api::ChainQuery::default()).await.unwrap();
    assert_eq!((chain.chain_length, &chain.full_backup_id), (1, &last.id));
}
