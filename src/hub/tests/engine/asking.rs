//! Asking the hub: addresses, lists, watching, labels.

use crate::support::{Site, open, vm};
use api::{AddressQuery, BackupQuery, DeleteQuery, Event, JobQuery, PatchBackup, StartBackup};
use futures_util::StreamExt;
use hub::Error;
use model::{Backup, JobType, RequestedType, Status};
use testkit::image::{mixed, write_sparse};

async fn three(site: &Site) -> Vec<Backup> {
    write_sparse(&site.disk("a.raw"), &mixed(1, 1 << 20));
    let mut points = Vec::new();
    for _ in 0..3 {
        let request = StartBackup {
            source: Some(site.source("a.raw")),
            tags: [("n".to_owned(), points.len().to_string())].into(),
            ..StartBackup::new(vm("pg"), RequestedType::Auto)
        };
        points.push(site.backup(request).await);
    }
    points
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_mean_one_backup_or_list_the_candidates() {
    let site = Site::new().await;
    let points = three(&site).await;
    let resolve = |address: &str| {
        let query = AddressQuery { address: address.to_owned(), ..AddressQuery::default() };
        let hub = site.hub.clone();
        async move { hub.resolve(&query).await }
    };
    let today = points[2].created_at.to_zoned(jiff::tz::TimeZone::UTC).date();
    for (address, meant) in [
        (points[0].id.to_string(), 0),
        ("latest".to_owned(), 2),
        ("latest~1".to_owned(), 1),
        ("pg@latest~2".to_owned(), 0),
        (format!("pg@{today}"), 2),
    ] {
        assert_eq!(resolve(&address).await.unwrap().id, points[meant].id, "{address}");
    }
    let Err(Error::Ambiguous { candidates, .. }) = resolve("backup-pg").await else { panic!("one of three") };
    assert_eq!(candidates.len(), 3);
    for (address, code) in [
        ("latest~3", "backup_not_found"),
        ("backup-x", "backup_not_found"),
        ("none@latest", "vm_not_found"),
        ("pg@1999-01-01", "backup_not_found"),
        ("pg@yesterday", "invalid_request"),
    ] {
        assert_eq!(resolve(address).await.unwrap_err().code().as_str(), code, "{address}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_filter_and_labels_stick() {
    let site = Site::new().await;
    let points = three(&site).await;
    let count = |query: BackupQuery| {
        let hub = site.hub.clone();
        async move { hub.backups(&query).await.unwrap().1 }
    };
    let query = BackupQuery::default;
    assert_eq!(count(query()).await, 3);
    assert_eq!(count(BackupQuery { tag: Some("n=1".into()), ..query() }).await, 1);
    assert_eq!(count(BackupQuery { tag: Some("n".into()), ..query() }).await, 3);
    assert_eq!(count(BackupQuery { vm_name: Some("other".into()), ..query() }).await, 0);
    assert_eq!(count(BackupQuery { status: Some(Status::Failed), ..query() }).await, 0);
    let verify = site.hub.start_verify(&points[2].id, api::VerifyRequest::default()).await.unwrap();
    site.hub.wait(verify.id.as_str()).await.unwrap();
    assert_eq!(site.hub.jobs(&JobQuery::default()).await.unwrap().1, 4);
    let verifies = JobQuery { job_type: Some(JobType::Verify), ..JobQuery::default() };
    assert_eq!(site.hub.jobs(&verifies).await.unwrap().0[0].id, verify.id);

    let protect = PatchBackup {
        protected: Some(true),
        protect_reason: Some("audit".into()),
        tags: [("n".to_owned(), None), ("kept".to_owned(), Some("yes".to_owned()))].into(),
        ..PatchBackup::default()
    };
    let now = site.hub.patch_backup(&points[2].id, protect).await.unwrap();
    assert_eq!(now.tags, [("kept".to_owned(), "yes".to_owned())].into());
    let cascade = DeleteQuery { cascade: true, ..DeleteQuery::default() };
    let refused = site.hub.delete_backup(&points[0].id, cascade).await.unwrap_err();
    assert!(
        matches!(&refused, Error::Protected { reason: Some(reason), .. } if reason == "audit"),
        "{refused}"
    );
    let sidecar = std::fs::read_to_string(site.file(&now, 0).with_extension("json")).unwrap();
    assert!(sidecar.contains("audit") && sidecar.contains("kept"));
    let lift = PatchBackup { protected: Some(false), ..PatchBackup::default() };
    assert_eq!(site.hub.patch_backup(&points[2].id, lift).await.unwrap().protect_reason, None);
    site.hub.delete_backup(&points[0].id, cascade).await.unwrap();
    assert_eq!(count(query()).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watching_ends_with_the_end_here_and_in_another_process() {
    let site = Site::new().await;
    write_sparse(&site.disk("a.raw"), &mixed(1, 6 << 20));
    let request = StartBackup {
        source: Some(site.source("a.raw")),
        bandwidth_limit_bps: Some(3 << 20),
        ..StartBackup::new(vm("pg"), RequestedType::Full)
    };
    let started = site.hub.start_backup(request).await.unwrap();
    let other = open(site.folder.path()).await;
    let watch = |hub: hub::Hub| {
        let id = started.id.to_string();
        async move { hub.watch(&id).await.unwrap().collect::<Vec<Event>>().await }
    };
    let (ours, theirs) = tokio::join!(watch(site.hub.clone()), watch(other.clone()));
    for events in [ours, theirs] {
        let Some((Event::Final(last), before)) = events.split_last() else { panic!("{events:?}") };
        assert_eq!(last.status, Status::Completed);
        let mut done = 0;
        for event in before {
            let Event::Progress(told) = event else { panic!("{event:?}") };
            assert!(told.bytes_processed.unwrap() >= done, "progress never goes back");
            done = told.bytes_processed.unwrap();
        }
    }
    assert!(matches!(other.watch("backup-none").await, Err(Error::NotFound { .. })));
}
