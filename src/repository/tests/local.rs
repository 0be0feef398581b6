//! Making, opening, trying out and giving up a repository.

use model::{DiskIndex, VmName};
use repository::{Error, Identity, LocalRepository, RelPath, probe};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

fn identity(name: &str) -> Identity {
    Identity {
        id: format!("repo-{name}").parse().unwrap(),
        name: name.parse().unwrap(),
        created_at: "2025-10-06T12:00:00Z".parse().unwrap(),
    }
}

fn vm(name: &str) -> VmName {
    VmName::new(name).unwrap()
}

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

/// Puts a finished file of a point into the repository.
fn publish(repository: &LocalRepository, name: &str) {
    let path = path(name);
    repository.create_partial(&path).unwrap();
    let mut transaction = repository.begin().unwrap();
    transaction.publish(&path).unwrap();
    transaction.commit().unwrap();
}

fn own_files(root: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(root.join(".sendense")).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_repository_keeps_its_identity() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("new");
    let made = LocalRepository::create(&root, identity("one")).unwrap();
    assert_eq!(made.identity(), &identity("one"));
    assert_eq!(LocalRepository::open(&root).unwrap().identity(), &identity("one"));
    match LocalRepository::create(&root, identity("two")) {
        Err(Error::Exists { identity: found, .. }) => assert_eq!(*found, identity("one")),
        other => panic!("{other:?}"),
    }
    let mode = std::fs::metadata(&root).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "others can look into it: {mode:o}");
    assert!(made.space().unwrap().total > 0);
}

#[test]
fn of_many_makers_at_once_one_wins_and_the_others_are_told_who() {
    for _ in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let start = std::sync::Barrier::new(6);
        let made: Vec<_> = std::thread::scope(|scope| {
            let make = |number: u32| {
                let (start, root) = (&start, folder.path().join("repository"));
                scope.spawn(move || {
                    start.wait();
                    match LocalRepository::create(&root, identity(&number.to_string())) {
                        Ok(repository) => (true, repository.identity().clone()),
                        Err(Error::Exists { identity, .. }) => (false, *identity),
                        Err(error) => panic!("{error}"),
                    }
                })
            };
            let threads: Vec<_> = (0..6).map(make).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let winners: Vec<_> = made.iter().filter(|(won, _)| *won).collect();
        assert_eq!(winners.len(), 1, "{made:?}");
        assert!(made.iter().all(|(_, identity)| *identity == winners[0].1), "{made:?}");
    }
}

#[test]
fn every_way_in_which_a_root_can_be_wrong_has_its_own_error() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let open = |root: &Path| LocalRepository::open(root).unwrap_err();

    assert!(matches!(open(&at("missing")), Error::Missing { .. }));
    assert!(matches!(LocalRepository::create(&at("a/b"), identity("x")), Err(Error::Missing { .. })));
    std::fs::write(at("file"), "x").unwrap();
    assert!(matches!(open(&at("file")), Error::NotAFolder { .. }));
    assert!(matches!(LocalRepository::create(&at("file"), identity("x")), Err(Error::NotAFolder { .. })));
    std::fs::create_dir(at("empty")).unwrap();
    assert!(matches!(open(&at("empty")), Error::NoMarker { .. }));

    LocalRepository::create(&at("newer"), identity("x")).unwrap();
    let marker = at("newer/.sendense/repository.json");
    std::fs::write(&marker, r#"{"schema_version":7,"shape":"unknown"}"#).unwrap();
    match open(&at("newer")) {
        Error::Newer { found: 7, known: 1, .. } => {}
        other => panic!("{other:?}"),
    }
    for content in [
        "",
        "{}",
        "[1]",
        r#"{"schema_version":1,"id":"../x","name":"x","created_at":"2025-10-06T12:00:00Z"}"#,
    ] {
        std::fs::write(&marker, content).unwrap();
        assert!(matches!(open(&at("newer")), Error::Damaged { .. }), "{content}");
    }
    std::fs::write(&marker, vec![b' '; 1 << 20]).unwrap();
    assert!(matches!(open(&at("newer")), Error::Damaged { .. }));
    std::fs::remove_file(&marker).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", &marker).unwrap();
    assert!(open(&at("newer")).to_string().contains("symbolic link"));

    for error in [open(&at("missing")), open(&at("file")), open(&at("empty"))] {
        assert!(error.is_unavailable(), "{error}");
        assert!(!error.hint().is_empty());
    }
}

/// Rights don't bind root, so this runs as an ordinary user in a child process.
#[test]
fn a_root_without_the_rights_says_which_one_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("repository");
    if let Ok(root) = std::env::var("SENDENSE_TEST_ROOT_AS_USER") {
        let outcome = match LocalRepository::open(Path::new(&root)) {
            Err(Error::NotReadable { .. }) => "not readable",
            Err(Error::NotWritable { .. }) => "not writable",
            Err(_) => "another error",
            Ok(_) => "open",
        };
        println!("outcome: {outcome}");
        return;
    }
    if !rustix::process::getuid().is_root() {
        eprintln!("SKIPPED: needs root, to become another user");
        return;
    }
    LocalRepository::create(&root, identity("x")).unwrap();
    // The test program itself must be reachable for that user.
    let program = folder.path().join("program");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let rights = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    rights(folder.path(), 0o755);
    let outcome = |mode: u32| {
        rights(&root, mode);
        let mut command = std::process::Command::new(&program);
        command.args(["--exact", "a_root_without_the_rights_says_which_one_is_missing", "--nocapture"]);
        command.env("SENDENSE_TEST_ROOT_AS_USER", &root);
        std::os::unix::process::CommandExt::uid(&mut command, 65_534);
        std::os::unix::process::CommandExt::gid(&mut command, 65_534);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    rights(&root.join(".sendense"), 0o755);
    rights(&root.join(".sendense/repository.json"), 0o644);
    assert!(outcome(0o700).contains("outcome: not readable"), "{}", outcome(0o700));
    assert!(outcome(0o755).contains("outcome: not writable"), "{}", outcome(0o755));
    rights(&root.join(".sendense"), 0o700);
    assert!(outcome(0o755).contains("outcome: not readable"), "{}", outcome(0o755));
}

#[test]
fn a_read_only_file_system_is_told_apart_and_can_still_be_read_from() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("repository");
    LocalRepository::create(&root, identity("x")).unwrap();
    let mount = |arguments: &[&str]| {
        std::process::Command::new("mount").args(arguments).output().is_ok_and(|done| done.status.success())
    };
    let text = root.to_str().unwrap();
    if !mount(&["--bind", text, text]) {
        eprintln!("SKIPPED: this user can't mount");
        return;
    }
    let read_only = mount(&["-o", "remount,ro,bind", text]);
    let outcome = std::panic::catch_unwind(|| {
        assert!(read_only);
        assert!(matches!(LocalRepository::open(&root), Err(Error::ReadOnly { .. })));
        let repository = LocalRepository::open_for_reading(&root).unwrap();
        assert_eq!(repository.scan().unwrap().count(), 0);
        assert_eq!(repository.recover().unwrap(), repository::Recovery::default());
        let checks = probe(&root, None);
        let writable = checks.iter().find(|check| check.name == "writable").unwrap();
        assert!(!writable.ok && writable.detail.contains("read-only"), "{writable:?}");
    });
    let gone = std::process::Command::new("umount").arg(&root).status().unwrap().success();
    outcome.unwrap();
    assert!(gone);
}

#[test]
fn points_can_be_deleted_where_not_a_byte_is_free() {
    let folder = tempfile::tempdir().unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
        .arg(folder.path())
        .output()
        .is_ok_and(|done| done.status.success());
    if !mounted {
        eprintln!("SKIPPED: this user can't mount");
        return;
    }
    let outcome = std::panic::catch_unwind(|| {
        let repository = LocalRepository::create(folder.path(), identity("x")).unwrap();
        repository.prepare(&vm("vm"), DiskIndex(0)).unwrap();
        publish(&repository, "vm/disk-0/full.qcow2");
        let mut file = std::fs::File::create(folder.path().join("others")).unwrap();
        while std::io::Write::write(&mut file, &[1; 4096]).is_ok_and(|written| written > 0) {}
        assert_eq!(repository.space().unwrap().available, 0);

        // What adds something fails and leaves nothing.
        let mut transaction = repository.begin().unwrap();
        let error = transaction.put(&path("vm/disk-0/full.json"), b"x").unwrap_err();
        assert!(error.is_no_space(), "{error}");
        drop(transaction);
        assert_eq!(own_files(folder.path()), ["ballast", "repository.json"]);

        let mut transaction = repository.begin().unwrap();
        transaction.remove(&path("vm/disk-0/full.qcow2")).unwrap();
        transaction.commit().unwrap();
        assert!(!folder.path().join("vm").exists());
        // Some of its room went to the bookkeeping of the file system, perhaps: then there is none this time.
        assert!(own_files(folder.path()).contains(&"repository.json".to_owned()));
    });
    let gone = std::process::Command::new("umount").arg(folder.path()).status().unwrap().success();
    outcome.unwrap();
    assert!(gone);
}

#[test]
fn a_mount_point_inside_a_repository_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let repository = LocalRepository::create(folder.path(), identity("x")).unwrap();
    let inner = folder.path().join("vm");
    std::fs::create_dir(&inner).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
        .arg(&inner)
        .output()
        .is_ok_and(|done| done.status.success());
    if !mounted {
        eprintln!("SKIPPED: this user can't mount");
        return;
    }
    let outcome = repository.prepare(&vm("vm"), DiskIndex(0));
    let gone = std::process::Command::new("umount").arg(&inner).status().unwrap().success();
    assert!(matches!(outcome, Err(Error::OtherFileSystem { .. })), "{outcome:?}");
    assert!(gone);
}

#[test]
fn a_good_folder_passes_every_check_and_nothing_is_left_of_them() {
    let folder = tempfile::tempdir().unwrap();
    for made in [false, true] {
        if made {
            LocalRepository::create(folder.path(), identity("x")).unwrap();
        }
        let checks = probe(folder.path(), Some(1));
        let names: Vec<&str> = checks.iter().map(|check| check.name).collect();
        for name in [
            "reachable",
            "marker",
            "writable",
            "space",
            "speed",
            "holes",
            "rename",
            "locks",
            "long_names",
            "file_system",
        ] {
            assert!(names.contains(&name), "{name} is not among {names:?}");
        }
        assert!(checks.iter().all(|check| check.ok), "{checks:#?}");
        let left = if made { 1 } else { 0 };
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), left);
    }
    assert_eq!(own_files(folder.path()), ["ballast", "repository.json"]);

    let full = probe(folder.path(), Some(u64::MAX));
    assert!(!full.iter().find(|check| check.name == "space").unwrap().ok);
    let missing = probe(&folder.path().join("missing"), None);
    assert!(matches!(&missing[..], [check] if check.name == "reachable" && !check.ok), "{missing:?}");
}

#[test]
fn partial_files_of_one_vm_are_found_and_removed_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let repository = LocalRepository::create(folder.path(), identity("x")).unwrap();
    for name in ["a", "b"] {
        repository.prepare(&vm(name), DiskIndex(0)).unwrap();
        repository.prepare(&vm(name), DiskIndex(1)).unwrap();
        publish(&repository, &format!("{name}/disk-0/full.qcow2"));
        repository.create_partial(&path(&format!("{name}/disk-0/incr.qcow2"))).unwrap();
        repository.create_partial(&path(&format!("{name}/disk-1/incr.b3"))).unwrap();
    }
    let expected = ["a/disk-0/incr.qcow2.partial", "a/disk-1/incr.b3.partial"].map(path);
    assert_eq!(repository.partials(&vm("a")).unwrap(), expected);
    assert_eq!(repository.remove_partials(&vm("a")).unwrap(), expected);
    assert_eq!(repository.partials(&vm("a")).unwrap(), []);
    assert!(repository.exists(&path("a/disk-0/full.qcow2")).unwrap());
    assert!(!repository.exists(&path("a/disk-1")).unwrap(), "an empty folder stays");
    assert_eq!(repository.partials(&vm("b")).unwrap().len(), 2);
    assert_eq!(repository.remove_partials(&vm("nobody")).unwrap(), []);
}

#[test]
fn deleting_the_last_point_takes_the_folders_along_and_the_marker_goes_last() {
    let folder = tempfile::tempdir().unwrap();
    let repository = LocalRepository::create(folder.path(), identity("x")).unwrap();
    repository.prepare(&vm("vm one"), DiskIndex(0)).unwrap();
    publish(&repository, "vm one/disk-0/full.qcow2");
    match repository.remove_marker() {
        Err(Error::NotEmpty { path }) => assert_eq!(path, "vm one/disk-0/full.qcow2"),
        other => panic!("{other:?}"),
    }
    let mut transaction = repository.begin().unwrap();
    transaction.remove(&path("vm one/disk-0/full.qcow2")).unwrap();
    transaction.commit().unwrap();
    assert!(!folder.path().join("vm one").exists());

    std::fs::write(folder.path().join("notes.txt"), "mine").unwrap();
    repository.remove_marker().unwrap();
    assert!(matches!(LocalRepository::open(folder.path()), Err(Error::NoMarker { .. })));
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["notes.txt"]);
}

#[test]
fn a_transaction_takes_only_files_of_points() {
    let folder = tempfile::tempdir().unwrap();
    let repository = LocalRepository::create(folder.path(), identity("x")).unwrap();
    let mut transaction = repository.begin().unwrap();
    for name in ["vm", "vm/disk-0", ".sendense/repository.json", ".sendense/a/b", "a/b/c/d"] {
        assert!(transaction.remove(&path(name)).is_err(), "{name}");
        assert!(transaction.put(&path(name), b"").is_err(), "{name}");
        assert!(transaction.publish(&path(name)).is_err(), "{name}");
    }
    assert!(transaction.rename(&path("a/b/c"), &path("a/b/d")).is_err());
    assert!(transaction.rename(&path("a/b/c.partial"), &path("a/b/d.partial")).is_err());
    // A file that was never made: nothing happens.
    transaction.publish(&path("vm/disk-0/x.qcow2")).unwrap();
    assert!(transaction.commit().unwrap_err().is_not_found());
    assert_eq!(own_files(folder.path()), ["ballast", "repository.json"]);
    repository.begin().unwrap().commit().unwrap();
    assert_eq!(own_files(folder.path()), ["ballast", "repository.json"]);
}
