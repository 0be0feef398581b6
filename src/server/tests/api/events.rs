//! Watching jobs.

use crate::support::Site;
use api::{Event, StartBackup};
use model::{Phase, RequestedType, Status};

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_sees_progress_that_never_goes_back_and_one_final_state() {
    let site = Site::new().await;
    let source = site.disk("a.raw", 2048, 1);
    let mut request = site.full("a", &source);
    request.bandwidth_limit_bps = Some(1 << 20);
    let id = site.client.start_backup(&request).await.unwrap().backup.id;
    let mut events = site.client.backup_events(&id).await.unwrap();
    let (mut last, mut progress) = (0, 0);
    let job = loop {
        match events.next().await.unwrap().expect("a final event comes first") {
            Event::Progress(telemetry) => {
                // The size is known once the disk is open.
                let opened = !matches!(telemetry.current_phase, Phase::Pending | Phase::Snapshot);
                assert!(telemetry.total_bytes == 2 << 20 || !opened, "{telemetry:?}");
                assert!(telemetry.bytes_processed.unwrap() >= last);
                last = telemetry.bytes_processed.unwrap();
                assert_eq!(telemetry.disks[0].disk_key, 2000);
                progress += 1;
            }
            Event::Final(job) => break job,
            Event::Error(error) => panic!("{error:?}"),
        }
    };
    assert!(progress > 0);
    assert_eq!(job.status, Status::Completed, "{:?}", job.error_message);
    assert_eq!(job.backup_id, Some(id.clone()));
    assert!(events.next().await.unwrap().is_none());

    // Who comes late gets the final state alone.
    let mut late = site.client.job_events(&id.into()).await.unwrap();
    assert!(matches!(late.next().await.unwrap(), Some(Event::Final(_))));
    assert!(late.next().await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_a_final_state_too_and_what_is_not_there_can_not_be_watched() {
    let site = Site::new().await;
    let source = site.disk("a.raw", 64, 1);
    site.point(&site.full("a", &source)).await;
    std::fs::remove_file(site.path("a.raw")).unwrap();
    let request = StartBackup::new("a".parse().unwrap(), RequestedType::Full);
    // Whether it is refused or fails at its start is the hub's to choose.
    match site.client.start_backup(&request).await {
        Ok(started) => {
            let mut events = site.client.backup_events(&started.backup.id).await.unwrap();
            let job = loop {
                match events.next().await.unwrap() {
                    Some(Event::Final(job)) => break job,
                    Some(_) => {}
                    None => panic!("no final event"),
                }
            };
            assert_eq!(job.status, Status::Failed);
            assert_eq!(job.error_code.as_deref(), Some("source_unavailable"));
        }
        Err(error) => assert_eq!(error.exit_code(), 13, "{error}"),
    }
    let error = site.client.job_events(&"verify-x".parse().unwrap()).await.unwrap_err();
    assert_eq!(error.exit_code(), 4);
    site.call("GET", "/backups/backup-x/events", None).await.refused(404, "backup_not_found");
}
