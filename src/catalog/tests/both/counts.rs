//! What lists say there is, against the same counted one by one: after anything that changes it, and far down.

use crate::samples::{job, pending, point_on, progress, repository, second};
use catalog::{
    AnyJob, BackupFilter, Catalog, DiskProgress, Existing, JobEnd, JobFilter, JobRecord, Progress, TagFilter,
};
use model::{Backup, BackupType, DiskIndex, JobType, Phase, RepositoryId, Status};

const DAY: i64 = 86_400;

fn running(at: i64) -> Progress {
    let disk = DiskProgress {
        index: DiskIndex(0),
        status: Status::Running,
        bytes_transferred: 1,
        bytes_processed: 1,
        capacity_bytes: 2,
    };
    Progress { disks: vec![disk], ..progress(at) }
}

fn verification(n: i64, status: Status) -> JobRecord {
    JobRecord { status, created_at: second(n * 7_000), ..job(n) }
}

async fn assert_counted(catalog: &Catalog, after: &str) {
    assert_eq!(catalog.check_counts().await.unwrap(), Vec::<String>::new(), "after {after}");
}

async fn total(catalog: &Catalog, filter: BackupFilter) -> u64 {
    catalog.backups(&BackupFilter { limit: 1, ..filter }).await.unwrap().total
}

#[tokio::test]
async fn whatever_happens_to_backups_and_jobs_is_counted() {
    let Some(fixture) = super::fixture().await else { return };
    let catalog = &fixture.catalog;
    catalog.insert_repository(&repository("second")).await.unwrap();
    let of = |status| BackupFilter { status: Some(status), ..BackupFilter::default() };
    let tagged = |value: Option<&str>| BackupFilter {
        tag: Some(TagFilter { key: "env".into(), value: value.map(str::to_owned) }),
        ..BackupFilter::default()
    };

    let mut backup = pending("pg", 0);
    let long = "ü".repeat(200);
    backup.tags = [("env".into(), "prod".into()), ("long".into(), long.clone())].into();
    catalog.insert_backup(&backup, None).await.unwrap();
    assert_counted(catalog, "insert").await;
    assert_eq!(total(catalog, of(Status::Pending)).await, 1);
    catalog.record_progress(&backup.id, &running(1)).await.unwrap();
    assert_counted(catalog, "the first report").await;
    catalog.record_progress(&backup.id, &running(2)).await.unwrap();
    catalog.record_silence(&backup.id).await.unwrap();
    assert_counted(catalog, "silence").await;
    assert_eq!(total(catalog, of(Status::Stalled)).await, 1);
    catalog.record_progress(&backup.id, &running(3)).await.unwrap();
    let done = |record: &mut Backup| {
        record.status = Status::Completed;
        record.phase = Phase::Completed;
        record.disks[0].size_bytes = 4_096;
    };
    catalog.modify_backup(&backup.id, done).await.unwrap();
    assert_counted(catalog, "its end").await;
    let default = RepositoryId::new("default").unwrap();
    let usage = catalog.usage().await.unwrap()[&default];
    assert_eq!((usage.backup_count, usage.size_bytes), (1, 4_096));
    let relabel = |record: &mut Backup| {
        record.tags.insert("env".into(), "test".into());
    };
    catalog.modify_backup(&backup.id, relabel).await.unwrap();
    assert_counted(catalog, "new tags").await;
    assert_eq!(
        (total(catalog, tagged(Some("prod"))).await, total(catalog, tagged(Some("test"))).await),
        (0, 1)
    );
    assert_eq!(total(catalog, tagged(None)).await, 1);
    // Values that begin alike for as long as a key is are told apart all the same.
    for (value, number) in [(long.clone(), 1), (format!("{long}ü"), 0), ("ü".repeat(128), 0)] {
        let tag = TagFilter { key: "long".into(), value: Some(value) };
        assert_eq!(total(catalog, BackupFilter { tag: Some(tag), ..BackupFilter::default() }).await, number);
    }

    // In bulk: new ones, and one that is another by then, made on another day.
    let mut many: Vec<Backup> = (1..40).map(|n| point_on("web", n * DAY / 3, None)).collect();
    many[7].repository_id = RepositoryId::new("second").unwrap();
    catalog.import_backups(&many, Existing::Keep).await.unwrap();
    assert_counted(catalog, "an import").await;
    many[3].created_at = second(90 * DAY);
    many[3].tags.insert("env".into(), "prod".into());
    catalog.import_backups(&many, Existing::Replace).await.unwrap();
    assert_counted(catalog, "an import that replaces").await;
    many[4].disks[0].size_bytes += 1;
    catalog.replace_backups(&many[4..5], &[many[5].id.clone()]).await.unwrap();
    assert_counted(catalog, "a merge").await;
    catalog.delete_backups(&[many[3].id.clone(), many[6].id.clone()]).await.unwrap();
    assert_counted(catalog, "a deletion").await;
    assert_eq!(total(catalog, BackupFilter::default()).await, 37);

    for n in 0..6 {
        catalog.insert_job(&verification(n, Status::Pending)).await.unwrap();
    }
    let id = |n: i64| verification(n, Status::Pending).id;
    catalog.record_job_progress(&id(1), &running(1)).await.unwrap();
    catalog.record_job_progress(&id(2), &running(1)).await.unwrap();
    catalog.record_job_silence(&id(2)).await.unwrap();
    let end = JobEnd {
        at: second(DAY),
        status: Status::Completed,
        error_message: None,
        error_code: None,
        result: None,
    };
    assert!(catalog.finish_job(&id(3), &end).await.unwrap());
    assert!(!catalog.finish_job(&id(3), &JobEnd { status: Status::Failed, ..end }).await.unwrap());
    assert_counted(catalog, "jobs").await;
    let jobs = |status| JobFilter { status, ..JobFilter::default() };
    assert_eq!(catalog.all_jobs(&jobs(None)).await.unwrap().total, 43);
    assert_eq!(catalog.all_jobs(&jobs(Some(Status::Pending))).await.unwrap().total, 3);
    assert_eq!(catalog.forget_jobs(second(2 * DAY)).await.unwrap(), 1);
    assert_counted(catalog, "jobs that are forgotten").await;

    catalog.remove_repository(&default, true).await.unwrap();
    assert_counted(catalog, "a repository that is forgotten").await;
    assert_eq!(total(catalog, BackupFilter::default()).await, 1);
    catalog.recount().await.unwrap();
    assert_counted(catalog, "counting anew").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_at_once_is_counted_once() {
    let Some(fixture) = super::fixture().await else { return };
    let catalog = &fixture.catalog;
    let work = (0..8).map(|worker: i64| {
        let catalog = catalog.clone();
        tokio::spawn(async move {
            for n in 0..6 {
                let mut backup = pending(&format!("vm{worker}"), n);
                backup.tags = [("env".into(), "prod".into()), ("n".into(), format!("{worker}-{n}"))].into();
                catalog.insert_backup(&backup, None).await.unwrap();
                catalog.record_progress(&backup.id, &running(n + 1)).await.unwrap();
                catalog.modify_backup(&backup.id, |record| record.status = Status::Completed).await.unwrap();
                if n % 2 == 0 {
                    catalog.delete_backups(&[backup.id]).await.unwrap();
                }
            }
        })
    });
    for worker in work.collect::<Vec<_>>() {
        worker.await.unwrap();
    }
    assert_counted(catalog, "eight at once").await;
    assert_eq!(total(catalog, BackupFilter::default()).await, 24);
}

/// Three hundred days of backups of two repositories and of jobs.
#[tokio::test]
async fn a_page_far_down_is_the_same_as_that_part_of_all() {
    let Some(fixture) = super::fixture().await else { return };
    let catalog = &fixture.catalog;
    catalog.insert_repository(&repository("second")).await.unwrap();
    let mut backups: Vec<Backup> = Vec::new();
    for n in 0..1_500i64 {
        let mut backup = point_on(&format!("vm-{}", n % 11), n * DAY / 5 + n % 7, None);
        backup.status = if n % 13 == 0 { Status::Failed } else { Status::Completed };
        backup.backup_type = if n % 6 == 0 { BackupType::Full } else { BackupType::Incremental };
        if n % 4 == 0 {
            backup.repository_id = RepositoryId::new("second").unwrap();
        }
        if n % 3 == 0 {
            backup.tags.insert("env".into(), "prod".into());
        }
        backups.push(backup);
    }
    catalog.import_backups(&backups, Existing::Keep).await.unwrap();
    backups.sort_by(|a, b| (b.created_at, &b.id).cmp(&(a.created_at, &a.id)));
    let all = BackupFilter::default();
    let tag = TagFilter { key: "env".into(), value: Some("prod".into()) };
    let (early, late) = (Some(second(20 * DAY + 5_000)), Some(second(280 * DAY + 70_000)));
    let second_one = RepositoryId::new("second").unwrap();
    for filter in [
        all.clone(),
        BackupFilter { status: Some(Status::Completed), ..all.clone() },
        BackupFilter { since: early, ..all.clone() },
        BackupFilter { until: late, ..all.clone() },
        BackupFilter { since: early, until: late, backup_type: Some(BackupType::Incremental), ..all.clone() },
        BackupFilter { since: late, until: late, ..all.clone() },
        BackupFilter { repository_id: Some(second_one.clone()), status: Some(Status::Failed), ..all.clone() },
        BackupFilter { tag: Some(tag.clone()), since: early, ..all.clone() },
        BackupFilter { tag: Some(tag.clone()), status: Some(Status::Failed), ..all.clone() },
        BackupFilter { tag: Some(tag), repository_id: Some(second_one), until: late, ..all },
    ] {
        let fits = |backup: &&Backup| {
            filter.status.is_none_or(|status| status == backup.status)
                && filter.backup_type.is_none_or(|kind| kind == backup.backup_type)
                && filter.repository_id.as_ref().is_none_or(|id| *id == backup.repository_id)
                && filter.since.is_none_or(|since| backup.created_at >= since)
                && filter.until.is_none_or(|until| backup.created_at <= until)
                && filter.tag.as_ref().is_none_or(|tag| backup.tags.get(&tag.key) == tag.value.as_ref())
        };
        let matching: Vec<&Backup> = backups.iter().filter(fits).collect();
        for offset in [0, 7, 499, 500, 777, 1_100, 1_499, 1_500] {
            let page = BackupFilter { limit: 20, offset, ..filter.clone() };
            let page = catalog.backups(&page).await.unwrap();
            let ids: Vec<&str> = page.items.iter().map(|backup| backup.id.as_str()).collect();
            let part: Vec<&str> =
                matching.iter().skip(offset as usize).take(20).map(|backup| backup.id.as_str()).collect();
            assert_eq!((ids, page.total), (part, matching.len() as u64), "after {offset}: {filter:?}");
        }
    }

    let mut both: Vec<(jiff::Timestamp, String)> =
        backups.iter().map(|backup| (backup.created_at, backup.id.to_string())).collect();
    for n in 0..1_000 {
        let job = verification(n, if n % 2 == 0 { Status::Completed } else { Status::Failed });
        catalog.insert_job(&job).await.unwrap();
        both.push((job.created_at, job.id.to_string()));
    }
    both.sort_unstable_by(|a, b| b.cmp(a));
    for offset in [0, 3, 499, 501, 1_234, 2_490, 2_500] {
        let page = catalog.all_jobs(&JobFilter { limit: 20, offset, ..JobFilter::default() }).await.unwrap();
        let ids: Vec<String> = page
            .items
            .iter()
            .map(|job| match job {
                AnyJob::Backup(backup) => backup.id.to_string(),
                AnyJob::Job(job) => job.id.to_string(),
            })
            .collect();
        let part: Vec<String> =
            both.iter().skip(offset as usize).take(20).map(|(_, id)| id.clone()).collect();
        assert_eq!((ids, page.total), (part, 2_500), "after {offset}");
    }
    let failed =
        JobFilter { status: Some(Status::Failed), job_type: Some(JobType::Verify), ..JobFilter::default() };
    let page = catalog.all_jobs(&JobFilter { offset: 490, ..failed }).await.unwrap();
    assert_eq!((page.items.len(), page.total), (10, 500));
}
