//! Damage: what verifying finds, whom it says is hit, and what backups and restores do about it.

use crate::support::{Site, vm};
use api::{DamageKind, JobResult, StartBackup, VerifyReport, VerifyRequest};
use model::{Backup, BackupType, OnTrackingLoss, RequestedType, Status};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use testkit::image::{mixed, mutate, write_sparse};

async fn verify(site: &Site, point: &Backup, subset: Option<&str>) -> VerifyReport {
    let request = VerifyRequest { subset: subset.map(|text| text.parse().unwrap()) };
    let job = site.hub.start_verify(&point.id, request).await.unwrap();
    let ended = site.hub.wait(job.id.as_str()).await.unwrap();
    assert_eq!(ended.status, Status::Completed, "{:?}", ended.error_message);
    match ended.result {
        Some(JobResult::Verify(report)) => report,
        other => panic!("{other:?}"),
    }
}

/// A full and two incrementals.
async fn chain(site: &Site) -> Vec<Backup> {
    let mut disk = mixed(3, 4 << 20);
    let mut points = Vec::new();
    for round in 0..3u64 {
        mutate(round, &mut disk, 40);
        write_sparse(&site.disk("a.raw"), &disk);
        let request = StartBackup {
            source: Some(site.source("a.raw")),
            ..StartBackup::new(vm("pg"), RequestedType::Auto)
        };
        points.push(site.backup(request).await);
    }
    points
}

/// Flips one bit in the middle of a data cluster.
fn flip(path: &std::path::Path) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let length = file.metadata().unwrap().len();
    let mut cluster = vec![0; 65536];
    // The first cluster that looks like data: tables are mostly zeros.
    for at in (0..length / 65536).rev().map(|n| n * 65536) {
        let count = file.read_at(&mut cluster, at).unwrap();
        if cluster[..count].iter().filter(|byte| **byte != 0).count() > 50_000 {
            file.write_at(&[cluster[777] ^ 4], at + 777).unwrap();
            return;
        }
    }
    panic!("no data in {}", path.display());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sound_points_verify_whole_and_in_parts() {
    let site = Site::new().await;
    let points = chain(&site).await;
    let report = verify(&site, &points[2], None).await;
    assert!(report.ok && report.whole, "{report:?}");
    assert_eq!(report.checked.len(), 3);
    for part in ["50%", "1/2", "2/2", "1M"] {
        assert!(verify(&site, &points[2], Some(part)).await.ok, "{part}");
    }
    let record = site.hub.backup(&points[2].id).await.unwrap();
    assert!(record.verification.unwrap().ok);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_hits_its_point_and_all_later_ones() {
    let site = Site::new().await;
    let points = chain(&site).await;
    flip(&site.file(&points[1], 0));
    let report = verify(&site, &points[2], None).await;
    assert!(!report.ok);
    assert_eq!(report.affected, [points[1].id.clone(), points[2].id.clone()]);
    assert!(report.findings.iter().any(|found| found.kind == DamageKind::Data
        && found.backup_id == points[1].id
        && found.offset.is_some()));
    assert!(verify(&site, &points[0], None).await.ok);
    assert!(!site.hub.backup(&points[2].id).await.unwrap().verification.unwrap().ok);

    // A restore refuses the damaged data, and leaves nothing. Of the point itself: a later one may have
    // overwritten just that cluster.
    let target = site.disk("restored.raw");
    let job = site.restore(&points[1].id, 0, &target).await;
    assert_eq!(job.error_code.as_deref(), Some("damaged"), "{job:?}");
    assert!(!target.exists());
    assert_eq!(fs::read_dir(site.folder.path()).unwrap().count(), 2, "only the state and the disk");

    // Nothing is built on it any more.
    let next = site.point("pg", RequestedType::Incremental).await;
    assert_eq!(next.backup_type, BackupType::Full);
    assert!(next.fallback_reason.unwrap().contains("damage"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_and_truncated_files_are_found_and_not_built_upon() {
    for (what, kind) in
        [("image", DamageKind::Missing), ("manifest", DamageKind::Missing), ("cut", DamageKind::Structure)]
    {
        let site = Site::new().await;
        let points = chain(&site).await;
        let image = site.file(&points[0], 0);
        match what {
            "image" => fs::remove_file(&image).unwrap(),
            "manifest" => fs::remove_file(image.with_extension("b3")).unwrap(),
            _ => OpenOptions::new().write(true).open(&image).unwrap().set_len(300_000).unwrap(),
        }
        let report = verify(&site, &points[2], None).await;
        assert_eq!(report.affected.len(), 3, "{what}: {report:?}");
        assert!(report.findings.iter().any(|found| found.kind == kind), "{what}: {report:?}");

        let strict = StartBackup {
            on_cbt_loss: Some(OnTrackingLoss::Fail),
            ..StartBackup::new(vm("pg"), RequestedType::Incremental)
        };
        let failed = site.backup(strict).await;
        assert_eq!(failed.error_code.as_deref(), Some("tracking_lost"), "{what}");
        let anew = site.point("pg", RequestedType::Incremental).await;
        assert_eq!(anew.backup_type, BackupType::Full, "{what}");
        assert!(site.leftovers().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sidecars_that_disagree_are_told_but_do_not_make_data_unsound() {
    let site = Site::new().await;
    let points = chain(&site).await;
    fs::remove_file(site.file(&points[2], 0).with_extension("json")).unwrap();
    let report = verify(&site, &points[2], None).await;
    assert!(!report.ok);
    assert_eq!(report.affected, [points[2].id.clone()]);
    let findings = site.hub.doctor().await.unwrap();
    assert!(findings.iter().any(|found| found.check == "files" || found.check == "records"), "{findings:?}");
}
