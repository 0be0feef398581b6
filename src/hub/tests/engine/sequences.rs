//! Random sequences of everything that can happen to a VM, against a model in memory: after every step each
//! point must be what the disk was when it was made.
//!
//! `SENDENSE_PROPTEST_CASES` says how many sequences.

use crate::support::{Site, same_for_qemu, vm};
use api::{DeleteQuery, StartBackup, VerifyRequest};
use model::{Backup, BackupId, Compression, RequestedType, Status};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::collections::BTreeMap;
use testkit::image::{Rng, mutate, write_sparse};

#[derive(Debug, Clone)]
enum Step {
    Write(u64),
    Discard(u64),
    Resize(u64),
    Backup(RequestedType, Compression),
    Delete(usize),
    Merge(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![
        Just(RequestedType::Full),
        Just(RequestedType::Incremental),
        Just(RequestedType::Differential),
        Just(RequestedType::Auto),
    ];
    let compression = prop_oneof![Just(Compression::None), Just(Compression::Zstd)];
    prop_oneof![
        3 => any::<u64>().prop_map(Step::Write),
        2 => any::<u64>().prop_map(Step::Discard),
        2 => any::<u64>().prop_map(Step::Resize),
        6 => (kind, compression).prop_map(|(kind, compression)| Step::Backup(kind, compression)),
        1 => any::<usize>().prop_map(Step::Delete),
        3 => any::<usize>().prop_map(Step::Merge),
    ]
}

struct World {
    site: Site,
    disk: Vec<u8>,
    points: BTreeMap<BackupId, Vec<u8>>,
}

impl World {
    async fn take(&mut self, step: &Step) {
        match step {
            Step::Write(seed) => mutate(*seed, &mut self.disk, 30),
            Step::Discard(seed) => {
                let mut rng = Rng::new(*seed);
                let start = rng.below(self.disk.len() as u64) as usize;
                let end = (start + rng.below(600_000) as usize).min(self.disk.len());
                self.disk[start..end].fill(0);
            }
            Step::Resize(seed) => {
                let size = 512 * (1 + Rng::new(*seed).below(3000) as usize);
                self.disk.resize(size, 0);
            }
            Step::Backup(kind, compression) => self.backup(*kind, *compression).await,
            Step::Delete(which) => {
                let Some(id) = self.pick(*which) else { return };
                let cascade = DeleteQuery { cascade: true, ..DeleteQuery::default() };
                let done = self.site.hub.delete_backup(&id, cascade).await.unwrap();
                done.deleted.iter().for_each(|id| drop(self.points.remove(id)));
            }
            Step::Merge(which) => {
                let Some(id) = self.pick(*which) else { return };
                let merge = DeleteQuery { merge: true, ..DeleteQuery::default() };
                match self.site.hub.delete_backup(&id, merge).await {
                    Ok(_) => drop(self.points.remove(&id)),
                    // Nothing is built on it.
                    Err(hub::Error::Conflict { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }

    async fn backup(&mut self, kind: RequestedType, compression: Compression) {
        write_sparse(&self.site.disk("a.raw"), &self.disk);
        let request = StartBackup {
            compression: Some(compression),
            source: Some(self.site.source("a.raw")),
            ..StartBackup::new(vm("pg"), kind)
        };
        let started = match self.site.hub.start_backup(request).await {
            Ok(started) => started,
            Err(hub::Error::ChainNotFound { .. }) if self.points.is_empty() => return,
            Err(error) => panic!("{error}"),
        };
        let ended = self.site.hub.wait(started.id.as_str()).await.unwrap();
        assert_eq!(ended.status, Status::Completed, "{:?}", ended.error_message);
        let point = self.site.hub.backup(&started.id).await.unwrap();
        same_for_qemu(&self.site.file(&point, 0), &self.site.disk("a.raw"));
        self.points.insert(point.id, self.disk.clone());
    }

    fn pick(&self, which: usize) -> Option<BackupId> {
        self.points.keys().nth(which % self.points.len().max(1)).cloned()
    }

    async fn check(&self) {
        let (known, _) = self.site.hub.backups(&api::BackupQuery::default()).await.unwrap();
        let known: Vec<&Backup> = known.iter().filter(|backup| backup.is_point()).collect();
        assert_eq!(known.len(), self.points.len());
        for (id, then) in &self.points {
            assert!(self.site.restored(id, 0).await == *then, "{id} is not what it was");
        }
        assert!(self.site.leftovers().is_empty());
    }
}

#[test]
fn points_stay_what_they_were_through_any_sequence() {
    let cases = std::env::var("SENDENSE_PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(4);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut runner = TestRunner::new(Config {
        cases,
        max_shrink_iters: 30,
        failure_persistence: None,
        ..Config::default()
    });
    let steps = proptest::collection::vec(step(), 4..14);
    let outcome = runner.run(&steps, |steps| {
        runtime.block_on(async {
            let site = Site::new().await;
            let mut disk = testkit::image::mixed(9, 900_096);
            disk.truncate(900_096);
            let mut world = World { site, disk, points: BTreeMap::new() };
            for step in &steps {
                world.take(step).await;
                world.check().await;
            }
            for id in world.points.keys() {
                let job = world.site.hub.start_verify(id, VerifyRequest::default()).await.unwrap();
                let ended = world.site.hub.wait(job.id.as_str()).await.unwrap();
                let Some(api::JobResult::Verify(report)) = ended.result else { panic!("{ended:?}") };
                assert!(report.ok, "{report:?}");
            }
        });
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}
