//! Reports of runners and requests to them.

use crate::children::Process;
use crate::samples::{self, pending, point, second};
use catalog::{AnyJob, CancelRequest, DiskProgress, Error, JobEnd, JobFilter, JobRecord, Progress};
use model::{DiskIndex, JobId, JobType, Phase, Status};

fn progress(at: i64, phase: Phase, bytes: u64) -> Progress {
    Progress {
        at: second(at),
        phase,
        bytes_transferred: bytes,
        bytes_processed: bytes * 2,
        total_bytes: 1_000,
        transfer_speed_bps: bytes,
        eta_seconds: Some(bytes),
        disks: vec![DiskProgress {
            index: DiskIndex(0),
            status: Status::Running,
            bytes_transferred: bytes,
            bytes_processed: bytes * 2,
            capacity_bytes: 1_000,
        }],
    }
}

#[tokio::test]
async fn progress_moves_forward_only_and_late_reports_change_nothing() {
    let Some(fixture) = super::fixture().await else { return };
    let catalog = &fixture.catalog;
    let backup = pending("pg", 0);
    catalog.insert_backup(&backup, None).await.unwrap();
    let heard = catalog.record_progress(&backup.id, &progress(10, Phase::Transferring, 100)).await.unwrap();
    assert_eq!((heard.status, heard.is_running(), heard.cancel_requested), (Status::Running, true, false));
    let first = catalog.backup(&backup.id).await.unwrap().unwrap();
    assert_eq!((first.status, first.phase), (Status::Running, Phase::Transferring));
    assert_eq!((first.bytes_transferred, first.bytes_processed, first.total_bytes), (100, 200, 1_000));
    assert_eq!((first.eta_seconds, first.transfer_speed_bps), (Some(100), 100));
    assert_eq!((first.started_at, first.last_telemetry_at), (Some(second(10)), Some(second(10))));
    assert_eq!((first.disks[0].bytes_processed, first.disks[0].status), (200, Status::Running));

    // Older than the last one: as if it had not come.
    catalog.record_progress(&backup.id, &progress(9, Phase::Finalizing, 400)).await.unwrap();
    assert_eq!(catalog.backup(&backup.id).await.unwrap().unwrap().phase, Phase::Transferring);
    // Newer, but with less of everything: speed and ETA are news, the rest never goes back.
    catalog.record_progress(&backup.id, &progress(11, Phase::Snapshot, 50)).await.unwrap();
    let after = catalog.backup(&backup.id).await.unwrap().unwrap();
    assert_eq!(
        (after.phase, after.bytes_transferred, after.bytes_processed),
        (Phase::Transferring, 100, 200)
    );
    assert_eq!((after.disks[0].bytes_processed, after.eta_seconds), (200, Some(50)));
    assert_eq!(after.started_at, Some(second(10)));
}

#[tokio::test]
async fn what_has_ended_takes_no_report_and_no_request() {
    let Some(fixture) = super::fixture().await else { return };
    let catalog = &fixture.catalog;
    let backup = point("pg", 0);
    catalog.insert_backup(&backup, None).await.unwrap();
    let heard = catalog.record_progress(&backup.id, &progress(1_000, Phase::Transferring, 1)).await.unwrap();
    assert_eq!((heard.status, heard.is_running()), (Status::Completed, false));
    assert_eq!(catalog.request_cancel(&backup.id).await.unwrap(), CancelRequest::Ended(Status::Completed));
    assert_eq!(catalog.backup(&backup.id).await.unwrap(), Some(backup));
    let unknown = point("other", 0).id;
    let error = catalog.record_progress(&unknown, &progress(1, Phase::Snapshot, 1)).await.unwrap_err();
    assert!(matches!(error, Error::NotFound { what: "backup", .. }), "{error}");
    assert!(matches!(catalog.request_cancel(&unknown).await.unwrap_err(), Error::NotFound { .. }));
}

#[tokio::test]
async fn a_runner_in_another_process_hears_the_request_to_stop_while_the_record_is_changed() {
    let Some(fixture) = super::fixture().await else { return };
    let catalog = &fixture.catalog;
    let backup = pending("pg", 0);
    catalog.insert_backup(&backup, None).await.unwrap();
    let mut runner = Process::start("report", fixture.location());
    runner.expect("running");
    for n in 0..20 {
        let tag = |record: &mut model::Backup| record.tags.insert(format!("tag-{n}"), n.to_string());
        catalog.modify_backup(&backup.id, tag).await.unwrap();
    }
    assert_eq!(catalog.request_cancel(&backup.id).await.unwrap(), CancelRequest::Noted);
    runner.expect("asked to stop");
    runner.finish();
    let found = catalog.backup(&backup.id).await.unwrap().unwrap();
    assert_eq!(found.tags.len(), 20);
    assert!(found.bytes_processed > 0);
    assert!(catalog.backup_state(&backup.id).await.unwrap().unwrap().cancel_requested);
    assert_eq!(catalog.unfinished_backups().await.unwrap(), [found]);
}

fn job(n: i64) -> JobRecord {
    JobRecord {
        job_type: if n % 2 == 0 { JobType::Verify } else { JobType::Restore },
        backup_id: Some(point("pg", n % 2).id),
        ..samples::job(n)
    }
}

#[tokio::test]
async fn a_job_runs_ends_once_and_is_listed_and_forgotten() {
    let Some(fixture) = super::fixture().await else { return };
    let catalog = &fixture.catalog;
    for n in 0..4 {
        catalog.insert_job(&job(n)).await.unwrap();
    }
    assert!(matches!(catalog.insert_job(&job(0)).await.unwrap_err(), Error::AlreadyExists { .. }));
    let id = job(0).id;
    let heard = catalog.record_job_progress(&id, &progress(5, Phase::Transferring, 100)).await.unwrap();
    assert_eq!(heard.status, Status::Running);
    assert_eq!(catalog.request_job_cancel(&id).await.unwrap(), CancelRequest::Noted);
    let heard = catalog.record_job_progress(&id, &progress(6, Phase::Transferring, 100)).await.unwrap();
    assert!(heard.cancel_requested);
    assert_eq!(catalog.unfinished_jobs().await.unwrap().len(), 4);

    let end = JobEnd {
        at: second(7),
        status: Status::Completed,
        error_message: None,
        error_code: None,
        result: Some(serde_json::json!({"damaged": []})),
    };
    assert!(catalog.finish_job(&id, &end).await.unwrap());
    let again = JobEnd { status: Status::Failed, ..end.clone() };
    assert!(!catalog.finish_job(&id, &again).await.unwrap());
    assert!(matches!(
        catalog.finish_job(&JobId::new("none").unwrap(), &end).await.unwrap_err(),
        Error::NotFound { .. }
    ));
    let done = catalog.job(&id).await.unwrap().unwrap();
    assert_eq!(
        (done.status, done.phase, done.completed_at),
        (Status::Completed, Phase::Completed, Some(second(7)))
    );
    assert_eq!((done.bytes_processed, done.result), (200, end.result));

    let all = catalog.all_jobs(&JobFilter::default()).await.unwrap();
    assert_eq!((all.total, all.items.len()), (4, 4));
    let filter = JobFilter {
        job_type: Some(JobType::Verify),
        status: Some(Status::Pending),
        backup_id: Some(point("pg", 0).id),
        ..JobFilter::default()
    };
    let page = catalog.all_jobs(&filter).await.unwrap();
    assert_eq!((page.items, page.total), (vec![AnyJob::Job(Box::new(job(2)))], 1));
    assert_eq!(catalog.forget_jobs(second(7)).await.unwrap(), 0);
    assert_eq!(catalog.forget_jobs(second(8)).await.unwrap(), 1);
    assert_eq!(catalog.job(&id).await.unwrap(), None);
}
