//! Killed at any moment of anything: the next hub puts everything right by itself.
//!
//! A child process does backups, deletions, merges and restores as fast as it can and is killed without warning
//! at a random moment; then every point must be what it was, and nothing may be left over.
//! `SENDENSE_KILLS` says how often.

use crate::support::{Site, open, vm};
use api::{BackupQuery, DeleteQuery, Severity, StartBackup};
use jiff::Timestamp;
use model::{Backup, BackupId, Compression, RequestedType, Status};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use testkit::image::{Rng, mixed, mutate, write_sparse};

/// Not a test of its own: what is killed by the one below.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn busy_victim() {
    let (Some(folder), Ok(seed)) = (std::env::var_os("SENDENSE_VICTIM"), std::env::var("SENDENSE_SEED"))
    else {
        return;
    };
    let folder = PathBuf::from(folder);
    let mut rng = Rng::new(seed.parse().unwrap());
    let hub = open(&folder).await;
    println!("ready");
    loop {
        let (known, _) = hub.backups(&BackupQuery::default()).await.unwrap();
        let points: Vec<&Backup> = known.iter().filter(|backup| backup.is_point()).collect();
        let picked = points.get(rng.below(points.len() as u64) as usize).map(|point| point.id.clone());
        match (rng.below(8), picked) {
            (0, Some(id)) => {
                let cascade = DeleteQuery { cascade: true, ..DeleteQuery::default() };
                hub.delete_backup(&id, cascade).await.unwrap();
            }
            (1 | 2, Some(id)) => {
                let merge = DeleteQuery { merge: true, ..DeleteQuery::default() };
                match hub.delete_backup(&id, merge).await {
                    Ok(_) | Err(hub::Error::Conflict { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            (3, Some(id)) => {
                let target = folder.join("restored.raw").to_str().unwrap().parse().unwrap();
                let job = hub.start_restore(crate::support::restore_of(&id, target), false).await.unwrap();
                hub.wait(job.id.as_str()).await.unwrap();
            }
            _ => {
                let kinds = [
                    RequestedType::Full,
                    RequestedType::Auto,
                    RequestedType::Auto,
                    RequestedType::Differential,
                ];
                let kind = kinds[rng.below(4) as usize];
                let kind = if points.is_empty() { RequestedType::Full } else { kind };
                let request = StartBackup {
                    source: Some(folder.join("a.raw").to_str().unwrap().parse().unwrap()),
                    compression: Some([Compression::None, Compression::Zstd][rng.below(2) as usize]),
                    ..StartBackup::new(vm("pg"), kind)
                };
                crate::support::finish(&hub, request).await;
            }
        }
    }
}

fn kill_at_random(folder: &Path, rng: &mut Rng) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed::busy_victim", "--nocapture"])
        .env("SENDENSE_VICTIM", folder)
        .env("SENDENSE_SEED", rng.next_u64().to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("ready")), "the victim never came up");
    // The moment itself is the test: nothing is waited for.
    std::thread::sleep(Duration::from_micros(rng.below(600_000)));
    let early = child.try_wait().unwrap();
    child.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(early.is_none(), "the victim ended by itself: {said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_it_did_when_it_was_killed_nothing_is_lost_and_nothing_left() {
    let kills: u64 = std::env::var("SENDENSE_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(6);
    let site = Site::new().await;
    let mut rng = Rng::new(std::env::var("SENDENSE_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(7));
    let mut disk = mixed(1, 3 << 20);
    // By id and moment: an id that was deleted may be given again within its second.
    let mut contents: BTreeMap<(BackupId, Timestamp), Vec<u8>> = BTreeMap::new();
    for round in 0..kills {
        mutate(round, &mut disk, 30);
        write_sparse(&site.disk("a.raw"), &disk);
        kill_at_random(site.folder.path(), &mut rng);

        let hub = open(site.folder.path()).await;
        let (all, _) =
            hub.backups(&BackupQuery { limit: Some(1000), ..BackupQuery::default() }).await.unwrap();
        for backup in &all {
            assert!(backup.status.is_final(), "{} is {}", backup.id, backup.status);
            if backup.status == Status::Failed {
                hub.delete_backup(&backup.id, DeleteQuery::default()).await.unwrap();
            }
        }
        let points: Vec<&Backup> = all.iter().filter(|backup| backup.is_point()).collect();
        contents.retain(|(id, at), _| points.iter().any(|point| point.id == *id && point.created_at == *at));
        for point in &points {
            let content =
                contents.entry((point.id.clone(), point.created_at)).or_insert_with(|| disk.clone());
            assert!(site.restored(&point.id, 0).await == *content, "{} in round {round}", point.id);
        }
        assert_eq!(site.leftovers(), Vec::<PathBuf>::new(), "round {round}");
        assert!(!site.disk("restored.raw.partial").exists(), "round {round}");
        let findings = hub.doctor().await.unwrap();
        assert!(findings.iter().all(|found| found.severity == Severity::Ok), "round {round}: {findings:?}");
    }
}
