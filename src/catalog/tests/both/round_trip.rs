//! Every field of a record comes back as it went in, whatever it holds.

use crate::samples::{context, pending, point, repository};
use catalog::{Catalog, Existing, JobRecord};
use jiff::Timestamp;
use model::{
    Backup, BackupDisk, BackupId, BackupType, Compression, DiskIndex, JobId, JobType, OnTrackingLoss, Phase,
    Repository, RepositoryId, RequestedType, SourceUri, Status, Verification, Vm, VmDisk, VmName,
};
use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;
use std::sync::atomic::{AtomicU32, Ordering};

fn cases() -> u32 {
    std::env::var("SENDENSE_PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(48)
}

/// Any text a person or a guest may have put there, quotes, wildcards and NUL-free control characters included.
fn words() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{0,40}",
        "\\PC{0,20}",
        Just("'; DROP TABLE backup_jobs; --".to_owned()),
        "[%_\\\\\t\n]{1,5}"
    ]
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 0..1u64 << 44, Just(i64::MAX as u64)]
}

fn time() -> impl Strategy<Value = Timestamp> {
    // Years 1 to 9999, to the nanosecond.
    (-62_135_596_800i64..253_402_000_000, 0..1_000_000_000i32)
        .prop_map(|(second, nanosecond)| Timestamp::new(second, nanosecond).unwrap())
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z][a-z0-9_.%-]{0,20}", "[a-zäöü🐘 ]{1,8}[a-z]".prop_map(|s| s.trim().to_owned())]
}

fn backup_id() -> impl Strategy<Value = BackupId> {
    name().prop_map(|name| BackupId::new(format!("backup-{name}-20251006-120000")).unwrap())
}

fn source() -> impl Strategy<Value = SourceUri> {
    select(vec![
        "/srv/images/büro 🐘 100%.raw".to_owned(),
        "file:///srv/a%20b.qcow2?format=qcow2".to_owned(),
        "/dev/mapper/vg-lv".to_owned(),
        "nbd://host:10809/export".to_owned(),
        "nbd+unix:///export?socket=/run/nbd.sock".to_owned(),
    ])
    .prop_map(|text| text.parse().unwrap())
}

fn verification() -> impl Strategy<Value = Verification> {
    (time(), any::<bool>(), vec(words(), 0..3), any::<bool>())
        .prop_map(|(verified_at, ok, problems, whole)| Verification { verified_at, ok, problems, whole })
}

fn disks() -> impl Strategy<Value = Vec<BackupDisk>> {
    let first = (source(), select(BackupType::ALL), of(backup_id()), select(Status::ALL), words());
    let sizes = (number(), number(), number(), number());
    let rest = (words(), of(words()), of(words()), of("[0-9a-f]{64}"), of(words()));
    vec((first, sizes, rest), 0..4).prop_map(|disks| {
        disks
            .into_iter()
            .enumerate()
            .map(|(index, (first, sizes, rest))| BackupDisk {
                index: DiskIndex(index as u32 * 3),
                source: first.0,
                backup_type: first.1,
                parent_backup_id: first.2,
                status: first.3,
                file: first.4,
                capacity_bytes: sizes.0,
                size_bytes: sizes.1,
                bytes_transferred: sizes.2,
                bytes_processed: sizes.3,
                nbd_export_name: rest.0,
                change_id: rest.1,
                fallback_reason: rest.2,
                blake3: rest.3,
                error_message: rest.4,
            })
            .collect()
    })
}

prop_compose! {
    fn backup()(
        (id, vm, parent, disks) in (backup_id(), name(), of(backup_id()), disks()),
        (requested, kind, status, phase) in
            (select(RequestedType::ALL), select(BackupType::ALL), select(Status::ALL), select(Phase::ALL)),
        (compression, loss) in (select(Compression::ALL), select(OnTrackingLoss::ALL)),
        (transferred, total, processed, speed) in (number(), number(), number(), number()),
        (eta, timeout, bandwidth, protected) in (of(number()), number(), of(number()), any::<bool>()),
        (fallback, error, code, notes, reason) in (of(words()), of(words()), of("[a-z_]{1,20}"), of(words()), of(words())),
        tags in btree_map(words(), words(), 0..4),
        (created, started, completed, heard) in (time(), of(time()), of(time()), of(time())),
        verification in of(verification()),
    ) -> Backup {
        Backup {
            id,
            vm_context_id: context(&vm),
            vm_name: VmName::new(vm).unwrap(),
            requested_type: requested,
            backup_type: kind,
            status,
            phase,
            repository_id: RepositoryId::new("default").unwrap(),
            parent_backup_id: parent,
            fallback_reason: fallback,
            bytes_transferred: transferred,
            total_bytes: total,
            bytes_processed: processed,
            transfer_speed_bps: speed,
            eta_seconds: eta,
            last_telemetry_at: heard,
            error_message: error,
            error_code: code,
            tags,
            notes,
            protected,
            protect_reason: reason,
            compression,
            on_tracking_loss: loss,
            timeout_seconds: timeout,
            bandwidth_limit_bps: bandwidth,
            created_at: created,
            started_at: started,
            completed_at: completed,
            verification,
            disks,
        }
    }
}

/// The sum of the disks' sizes must fit; a catalog that refuses more is checked below.
fn fits(backup: &Backup) -> bool {
    backup.disks.iter().try_fold(0i64, |sum, disk| sum.checked_add_unsigned(disk.size_bytes)).is_some()
}

fn run<S: Strategy>(strategy: S, check: impl AsyncFn(&Catalog, S::Value)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let Some(fixture) = runtime.block_on(super::fixture()) else { return };
    let config = ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() };
    proptest::test_runner::TestRunner::new(config)
        .run(&strategy, |value| {
            runtime.block_on(check(&fixture.catalog, value));
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_backup_comes_back_as_it_went_in_and_as_it_was_changed_to() {
    let two = (backup().prop_filter("too large", fits), backup().prop_filter("too large", fits));
    run(two, async |catalog, (first, second)| {
        catalog.insert_backup(&first, Some("{\"vm_name\":\"pg\"}")).await.unwrap();
        assert_eq!(catalog.backup(&first.id).await.unwrap().as_ref(), Some(&first));
        assert_eq!(catalog.backups(&Default::default()).await.unwrap().items, std::slice::from_ref(&first));

        let second = Backup { id: first.id.clone(), ..second };
        catalog.update_backup(&second).await.unwrap();
        assert_eq!(catalog.backup(&first.id).await.unwrap().as_ref(), Some(&second));
        let request = catalog.backup_request(&first.id).await.unwrap();
        assert_eq!(request.as_deref(), Some("{\"vm_name\":\"pg\"}"), "the request outlives changes");

        assert_eq!(catalog.delete_backups(std::slice::from_ref(&first.id)).await.unwrap(), 1);
        let imported = catalog.import_backups(std::slice::from_ref(&second), Existing::Keep).await.unwrap();
        assert_eq!(imported.inserted, 1);
        assert_eq!(catalog.backup(&first.id).await.unwrap().as_ref(), Some(&second));
        let again = catalog.import_backups(std::slice::from_ref(&second), Existing::Replace).await.unwrap();
        assert_eq!((again.replaced, again.kept), (0, 1));
        assert!(catalog.check().await.unwrap().is_empty());
        catalog.delete_backups(&[first.id]).await.unwrap();
        assert_eq!(catalog.count_backups(&Default::default()).await.unwrap(), 0);
    });
}

#[test]
fn a_vm_and_a_repository_come_back_as_they_went_in() {
    let vms = (name(), vec((source(), of(number())), 0..4), time(), time());
    let repositories = (name(), words(), any::<[bool; 2]>(), of(number()), time(), time());
    run((vms, repositories), async |catalog, (vm, other)| {
        let vm = Vm {
            context_id: context(&vm.0),
            name: VmName::new(vm.0).unwrap(),
            disks: vm
                .1
                .into_iter()
                .enumerate()
                .map(|(index, (source, capacity_bytes))| VmDisk {
                    index: DiskIndex(index as u32),
                    source,
                    capacity_bytes,
                })
                .collect(),
            created_at: vm.2,
            updated_at: vm.3,
        };
        catalog.insert_vm(&vm).await.unwrap();
        assert_eq!(catalog.vm(&vm.context_id).await.unwrap().as_ref(), Some(&vm));
        assert_eq!(catalog.vm_by_name(&vm.name).await.unwrap().as_ref(), Some(&vm));
        catalog.remove_vm(&vm.context_id, false).await.unwrap();

        let repository = Repository {
            name: RepositoryId::new(other.0).unwrap(),
            path: other.1,
            enabled: other.2[0],
            immutable: other.2[1],
            reserve_bytes: other.3,
            created_at: other.4,
            updated_at: other.5,
            ..repository("another")
        };
        catalog.insert_repository(&repository).await.unwrap();
        assert_eq!(catalog.repository(&repository.id).await.unwrap().as_ref(), Some(&repository));
        assert_eq!(catalog.repository(&repository.name).await.unwrap().as_ref(), Some(&repository));
        catalog.remove_repository(&repository.id, false).await.unwrap();
    });
}

#[test]
fn a_job_comes_back_as_it_went_in() {
    let words = (of(words()), of(words()), of(words()));
    let numbers = (number(), number(), number(), number(), of(number()));
    let times = (time(), of(time()), of(time()), of(time()));
    let states = (select(JobType::ALL), select(Status::ALL), select(Phase::ALL), any::<bool>());
    let serial = AtomicU32::new(0);
    run(
        (words, numbers, times, states, of(backup_id())),
        async |catalog, (words, numbers, times, states, backup)| {
            let serial = serial.fetch_add(1, Ordering::Relaxed);
            let json = |text: &Option<String>| {
                text.as_ref().map(|text| serde_json::json!({"text": text, "n": [1, null]}))
            };
            let job = JobRecord {
                id: JobId::new(format!("restore-{serial}")).unwrap(),
                job_type: states.0,
                status: states.1,
                phase: states.2,
                backup_id: backup,
                vm_name: None,
                repository_id: None,
                bytes_transferred: numbers.0,
                bytes_processed: numbers.1,
                total_bytes: numbers.2,
                transfer_speed_bps: numbers.3,
                eta_seconds: numbers.4,
                last_telemetry_at: times.1,
                error_message: words.0.clone(),
                error_code: Some("damaged".into()),
                request: json(&words.1),
                result: json(&words.2),
                cancel_requested: states.3,
                created_at: times.0,
                started_at: times.2,
                completed_at: times.3,
            };
            catalog.insert_job(&job).await.unwrap();
            assert_eq!(catalog.job(&job.id).await.unwrap().as_ref(), Some(&job));
        },
    );
}

#[tokio::test]
async fn what_the_tables_can_not_hold_is_refused_and_leaves_nothing() {
    let Some(fixture) = super::fixture().await else { return };
    let mut backups = [point("pg", 0), point("pg", 1), point("pg", 2), point("pg", 3)];
    backups[0].total_bytes = u64::MAX;
    backups[1].created_at = Timestamp::MIN;
    let twin = backups[2].disks[0].clone();
    backups[2].disks.push(twin);
    backups[3].repository_id = RepositoryId::new("unknown").unwrap();
    for backup in &backups {
        fixture.catalog.insert_backup(backup, None).await.unwrap_err();
        fixture
            .catalog
            .import_backups(&[pending("pg", 9), backup.clone()], Existing::Keep)
            .await
            .unwrap_err();
        assert_eq!(fixture.catalog.count_backups(&Default::default()).await.unwrap(), 0);
    }
}
