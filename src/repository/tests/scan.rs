//! Scanning whole and damaged repositories, and the sidecars they are made of.

use model::Backup;
use repository::{DiskFiles, Error, Identity, LocalRepository, ProblemKind, RelPath, ScanItem, sidecar};
use serde_json::{Value, json};
use tempfile::TempDir;

fn repository() -> (TempDir, LocalRepository) {
    let root = tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap());
    let identity = Identity {
        id: "repo-test".parse().unwrap(),
        name: "test".parse().unwrap(),
        created_at: "2025-10-06T12:00:00Z".parse().unwrap(),
    };
    let repository = LocalRepository::create(root.path(), identity).unwrap();
    (root, repository)
}

fn record(vm: &str, minute: u32, disks: u32, parent: Option<u32>) -> Value {
    let stamp = |minute: u32| format!("20251006-12{minute:02}00");
    let id = |minute| format!("backup-{vm}-{}", stamp(minute));
    let kind = if parent.is_some() { "incremental" } else { "full" };
    let prefix = if parent.is_some() { "incr" } else { "full" };
    let disks: Vec<Value> = (0..disks)
        .map(|index| {
            json!({
                "index": index, "source": "/disk.raw", "backup_type": kind,
                "parent_backup_id": parent.map(id), "status": "completed",
                "capacity_bytes": 1u64 << 30, "size_bytes": 4096, "bytes_transferred": 1, "bytes_processed": 1u64 << 30,
                "file": format!("{vm}/disk-{index}/{prefix}-{}.qcow2", stamp(minute)),
                "nbd_export_name": "x", "change_id": null, "fallback_reason": null,
                "blake3": "ab".repeat(32), "error_message": null,
            })
        })
        .collect();
    json!({
        "id": id(minute), "vm_name": vm, "vm_context_id": format!("ctx-{vm}"), "requested_type": "auto",
        "backup_type": kind, "status": "completed", "phase": "completed", "repository_id": "repo-test",
        "parent_backup_id": parent.map(id), "fallback_reason": null, "bytes_transferred": 1,
        "total_bytes": 1u64 << 30, "bytes_processed": 1u64 << 30, "transfer_speed_bps": 1, "eta_seconds": null,
        "last_telemetry_at": null, "error_message": null, "error_code": null, "tags": {"a": "b"}, "notes": null,
        "protected": false, "protect_reason": null, "compression": "none", "on_tracking_loss": "full",
        "timeout_seconds": 14400, "bandwidth_limit_bps": null,
        "created_at": format!("2025-10-06T12:{minute:02}:00Z"), "started_at": null, "completed_at": null,
        "verification": null, "disks": disks,
    })
}

fn backup(vm: &str, minute: u32, disks: u32, parent: Option<u32>) -> Backup {
    serde_json::from_value(record(vm, minute, disks, parent)).unwrap()
}

fn publish(repository: &LocalRepository, backup: &Backup) {
    let mut transaction = repository.begin().unwrap();
    for disk in &backup.disks {
        repository.prepare(&backup.vm_name, disk.index).unwrap();
        let files = DiskFiles::of(disk).unwrap();
        repository.create_partial(&files.image).unwrap();
        repository.create_manifest(&files.manifest, disk.capacity_bytes).unwrap().finish().unwrap();
        transaction.publish_disk(&files).unwrap();
    }
    transaction.put_sidecars(backup).unwrap();
    transaction.commit().unwrap();
}

type Problems = Vec<(ProblemKind, String, Option<String>)>;

fn scan(repository: &LocalRepository) -> (Vec<Backup>, Problems) {
    let (mut points, mut problems) = (Vec::new(), Vec::new());
    for item in repository.scan().unwrap() {
        match item {
            ScanItem::Point(point) => points.push(*point),
            ScanItem::Problem(problem) => {
                assert!(!problem.detail.is_empty());
                problems.push((problem.kind, problem.path, problem.backup_id.map(|id| id.to_string())));
            }
        }
    }
    problems.sort();
    (points, problems)
}

#[test]
fn a_sound_repository_is_scanned_back_exactly() {
    let (_root, repository) = repository();
    let mut expected = Vec::new();
    for vm in ["a vm", "büro-🐘"] {
        for minute in 0..5 {
            let backup = backup(vm, minute, 2, minute.checked_sub(1));
            publish(&repository, &backup);
            expected.push(backup);
        }
    }
    assert_eq!(scan(&repository), (expected.clone(), vec![]));

    let mut changed = expected.remove(3);
    changed.protected = true;
    changed.tags.insert("new".into(), "tag".into());
    repository.rewrite_sidecars(&changed).unwrap();
    expected.insert(3, changed);
    assert_eq!(scan(&repository), (expected, vec![]));
}

#[test]
fn everything_that_is_wrong_is_told_and_the_rest_still_found() {
    let (root, repository) = repository();
    let at = |name: &str| root.path().join(name);
    for minute in 0..8 {
        publish(&repository, &backup("vm", minute, 2, minute.checked_sub(1)));
    }
    publish(&repository, &backup("sound", 0, 1, None));
    let file = |disk: u32, minute: u32, ending: &str| {
        let prefix = if minute == 0 { "full" } else { "incr" };
        format!("vm/disk-{disk}/{prefix}-20251006-12{minute:02}00.{ending}")
    };
    let id = |minute: u32| Some(format!("backup-vm-20251006-12{minute:02}00"));
    let mut expected: Problems = Vec::new();
    let mut expect = |kind, path: &str, id: Option<String>| expected.push((kind, path.to_owned(), id));

    // 1 lost an image, 2 a manifest, 3 a sidecar; what is built on them is told too.
    for (minute, disk, ending) in [(1, 0, "qcow2"), (2, 1, "b3"), (3, 1, "json")] {
        std::fs::remove_file(at(&file(disk, minute, ending))).unwrap();
        expect(ProblemKind::Missing, &file(disk, minute, ending), id(minute));
    }
    // The next complete one has no parent.
    for disk in 0..2 {
        expect(ProblemKind::UnknownParent, &file(disk, 4, "qcow2"), id(4));
    }
    // 5: both sidecars unreadable, 6: of a newer version, 7: they disagree.
    for disk in 0..2 {
        std::fs::write(at(&file(disk, 5, "json")), "{\"schema_version\":1,").unwrap();
        expect(ProblemKind::BadSidecar, &file(disk, 5, "json"), None);
        std::fs::write(at(&file(disk, 6, "json")), "{\"schema_version\":99,\"all\":\"new\"}").unwrap();
        expect(ProblemKind::NewerSidecar, &file(disk, 6, "json"), None);
    }
    let mut other = backup("vm", 7, 2, Some(6));
    other.disks[1].blake3 = None;
    std::fs::write(at(&file(1, 7, "json")), sidecar::encode(&other).unwrap()).unwrap();
    expect(ProblemKind::Disagreement, &file(1, 7, "json"), id(7));

    std::fs::write(at("vm/disk-0/full-20240101-000000.qcow2"), "").unwrap();
    expect(ProblemKind::Orphan, "vm/disk-0/full-20240101-000000.qcow2", None);
    std::fs::write(at("vm/disk-0/incr-20250101-000000.qcow2.partial"), "").unwrap();
    expect(ProblemKind::Partial, "vm/disk-0/incr-20250101-000000.qcow2.partial", None);
    for foreign in ["readme.txt", "vm/notes", "vm/disk-0/thumbs.db"] {
        std::fs::write(at(foreign), "").unwrap();
        expect(ProblemKind::Foreign, foreign, None);
    }
    for foreign in ["vm/disk-x", "vm/disk-00", "vm/disk-0/deeper", ".hidden"] {
        std::fs::create_dir(at(foreign)).unwrap();
        expect(ProblemKind::Foreign, foreign, None);
    }
    std::os::unix::fs::symlink("/etc", at("link")).unwrap();
    expect(ProblemKind::Foreign, "link", None);
    std::os::unix::fs::symlink("/etc/hostname", at("vm/disk-0/link.json")).unwrap();
    expect(ProblemKind::Foreign, "vm/disk-0/link.json", None);
    let bytes = std::os::unix::ffi::OsStrExt::as_bytes(std::ffi::OsStr::new("vm/disk-0/")).to_vec();
    let odd: std::ffi::OsString =
        std::os::unix::ffi::OsStringExt::from_vec([&bytes[..], b"\xff.json"].concat());
    std::fs::write(root.path().join(odd), "").unwrap();
    expect(ProblemKind::Foreign, "vm/disk-0/\u{fffd}.json", None);

    expected.sort();
    let (points, problems) = scan(&repository);
    assert_eq!(problems, expected);
    let ids: Vec<&str> = points.iter().map(|point| point.id.as_str()).collect();
    assert_eq!(
        ids,
        ["backup-sound-20251006-120000", "backup-vm-20251006-120000", "backup-vm-20251006-120400"]
    );
}

#[test]
fn a_tag_that_differs_between_the_sidecars_does_not_lose_the_point() {
    let (root, repository) = repository();
    let point = backup("vm", 0, 2, None);
    publish(&repository, &point);
    let mut other = point.clone();
    other.notes = Some("later".into());
    let path = DiskFiles::of(&other.disks[1]).unwrap().sidecar;
    std::fs::write(root.path().join(path.as_str()), sidecar::encode(&other).unwrap()).unwrap();
    let (points, problems) = scan(&repository);
    assert_eq!(points, [point]);
    assert!(matches!(&problems[..], [(ProblemKind::Disagreement, ..)]), "{problems:?}");
}

#[test]
fn a_hostile_sidecar_is_refused() {
    let path = RelPath::new("vm/disk-0/full-20251006-120000.json").unwrap();
    let good = json!({"schema_version": 1, "backup": record("vm", 0, 2, None)});
    let decode = |json: &Value| sidecar::decode(&path, json.to_string().as_bytes());
    decode(&good).unwrap();
    let patched = |pointer: &str, value: Value| {
        let mut json = good.clone();
        *json.pointer_mut(pointer).unwrap() = value;
        decode(&json)
    };
    for (pointer, value) in [
        ("/backup/disks/0/file", json!("../../etc/passwd.qcow2")),
        ("/backup/disks/0/file", json!("/etc/disk-0/passwd.qcow2")),
        ("/backup/disks/0/file", json!("other/disk-0/full-20251006-120000.qcow2")),
        ("/backup/disks/1/file", json!("vm/disk-0/full-20251006-120000.qcow2")),
        ("/backup/disks/0/file", json!("vm/disk-0/other.qcow2")),
        ("/backup/disks/0/file", json!("vm/disk-0/full-20251006-120000.raw")),
        ("/backup/disks/0/file", json!("vm/disk-0/a\u{0}.qcow2")),
        ("/backup/disks/1/index", json!(0)),
        ("/backup/disks/0/index", json!(-1)),
        ("/backup/disks", json!([])),
        ("/backup/disks/0/parent_backup_id", json!("backup-vm-20251006-120000")),
        ("/backup/disks/0/capacity_bytes", json!(u64::MAX)),
        ("/backup/disks/0/blake3", json!("x")),
        ("/backup/id", json!("../x")),
        ("/backup/vm_name", json!("..")),
        ("/backup/status", json!("running")),
        ("/backup/created_at", json!("yesterday")),
        ("/schema_version", json!(0)),
        ("/schema_version", json!("1")),
        ("/backup", json!([[[[]]]])),
    ] {
        let error = patched(pointer, value.clone()).unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "{pointer} = {value}: {error}");
    }
    assert!(matches!(patched("/schema_version", json!(2)), Err(Error::Newer { found: 2, .. })));
    let deep = format!("{{\"schema_version\":1,\"backup\":{}", "[".repeat(1 << 20));
    assert!(sidecar::decode(&path, deep.as_bytes()).is_err());
    assert!(sidecar::decode(&path, &vec![b' '; 5 << 20]).is_err());
    for running in ["running", "failed"] {
        let mut unfinished: Backup = serde_json::from_value(record("vm", 0, 1, None)).unwrap();
        unfinished.status = running.parse().unwrap();
        assert!(sidecar::encode(&unfinished).is_err());
    }
}
