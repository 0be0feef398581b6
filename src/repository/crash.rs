//! Tests: a process killed, and the power cut, after every single step of a transaction and of its recovery.
//!
//! [`Witness`] passes steps on to the real files until its count is used up, then refuses everything: to the
//! code above that is the end of the process, clean-up included. It also keeps a log, from which
//! [`after_power_cut`] makes the tree that a disk could hold afterwards: what was made durable is there, and
//! of the rest any subset.

use crate::gate::{Entry, Files, Gate};
use crate::journal::Record;
use crate::{RelPath, Result, Transaction, recovery};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;

/// A step that changed something.
#[derive(Debug, Clone)]
enum Step {
    Make(RelPath, Vec<u8>),
    Fill(RelPath, Vec<u8>),
    Rename(RelPath, RelPath),
    Remove(RelPath),
    RemoveFolder(RelPath),
    Sync(Option<RelPath>),
}

struct Witness {
    gate: Gate,
    left: AtomicUsize,
    log: Mutex<Vec<Step>>,
}

impl Witness {
    fn new(root: &Path, steps: usize) -> Arc<Self> {
        let gate = Gate::open(root).unwrap();
        Arc::new(Witness { gate, left: AtomicUsize::new(steps), log: Mutex::default() })
    }

    /// Does a step if the process still lives.
    fn step<T>(&self, step: Step, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let spent = |left: usize| left.checked_sub(1);
        if self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, spent).is_err() {
            return Err(io::Error::other("the process is gone"));
        }
        let done = work()?;
        self.log.lock().unwrap().push(step);
        Ok(done)
    }
}

impl Files for Witness {
    fn create_locked(&self, path: &RelPath) -> io::Result<File> {
        self.step(Step::Make(path.clone(), Vec::new()), || self.gate.create_locked(path))
    }
    fn write_new(&self, path: &RelPath, content: &[u8]) -> io::Result<()> {
        self.step(Step::Make(path.clone(), content.to_vec()), || self.gate.write_new(path, content))
    }
    fn fill(&self, path: &RelPath, file: &File, content: &[u8]) -> io::Result<()> {
        self.step(Step::Fill(path.clone(), content.to_vec()), || self.gate.fill(path, file, content))
    }
    fn lock(&self, path: &RelPath) -> io::Result<Option<File>> {
        self.gate.lock(path)
    }
    fn read(&self, path: &RelPath, limit: u64) -> io::Result<Vec<u8>> {
        self.gate.read(path, limit)
    }
    fn list(&self, path: Option<&RelPath>) -> io::Result<Vec<Entry>> {
        self.gate.list(path)
    }
    fn rename(&self, from: &RelPath, to: &RelPath) -> io::Result<()> {
        self.step(Step::Rename(from.clone(), to.clone()), || self.gate.rename(from, to))
    }
    fn remove(&self, path: &RelPath) -> io::Result<()> {
        self.step(Step::Remove(path.clone()), || self.gate.remove(path))
    }
    fn remove_folder(&self, path: &RelPath) -> io::Result<()> {
        self.step(Step::RemoveFolder(path.clone()), || self.gate.remove_folder(path))
    }
    fn sync_file(&self, path: &RelPath) -> io::Result<()> {
        self.gate.sync_file(path)
    }
    fn sync_folder(&self, path: Option<&RelPath>) -> io::Result<()> {
        self.step(Step::Sync(path.cloned()), || self.gate.sync_folder(path))
    }
    fn exists(&self, path: &RelPath) -> io::Result<bool> {
        self.gate.exists(path)
    }
    fn is_on_root_device(&self, path: &RelPath) -> io::Result<bool> {
        self.gate.is_on_root_device(path)
    }
}

type Tree = BTreeMap<String, String>;

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

/// All files of a tree, and its empty folders with a `/`.
fn tree(root: &Path) -> Tree {
    fn walk(root: &Path, folder: &Path, tree: &mut Tree) {
        let mut empty = true;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            empty = false;
            if path.is_dir() {
                walk(root, &path, tree);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                tree.insert(name, std::fs::read_to_string(&path).unwrap());
            }
        }
        if empty && folder != root {
            tree.insert(format!("{}/", folder.strip_prefix(root).unwrap().to_str().unwrap()), String::new());
        }
    }
    let mut found = Tree::new();
    walk(root, root, &mut found);
    found
}

/// On a tmpfs where there is one: these tests make thousands of trees and what they prove needs no disk.
fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

fn plant(tree: &Tree) -> TempDir {
    let root = folder();
    std::fs::create_dir_all(root.path().join(".sendense")).unwrap();
    for (name, content) in tree {
        let path = root.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    root
}

/// A merge of `a` into `b`, two disks, beside the deletion of the only point of another disk.
fn before() -> Tree {
    [
        ("vm/disk-0/a.qcow2", "a0"),
        ("vm/disk-0/a.json", "a"),
        ("vm/disk-0/b.qcow2", "b0"),
        ("vm/disk-0/b.qcow2.partial", "ab0"),
        ("vm/disk-0/b.json", "b"),
        ("vm/disk-1/b.qcow2", "b1"),
        ("vm/disk-1/b.qcow2.partial", "ab1"),
        ("vm/disk-1/b.json", "b"),
        ("vm/disk-2/a.qcow2", "a2"),
        ("vm/disk-2/a.json", "a"),
    ]
    .into_iter()
    .map(|(name, content)| (name.to_owned(), content.to_owned()))
    .collect()
}

fn after() -> Tree {
    [
        ("vm/disk-0/b.qcow2", "ab0"),
        ("vm/disk-0/b.json", "ab"),
        ("vm/disk-1/b.qcow2", "ab1"),
        ("vm/disk-1/b.json", "ab"),
    ]
    .into_iter()
    .map(|(name, content)| (name.to_owned(), content.to_owned()))
    .collect()
}

fn change(files: Arc<Witness>) -> Result<()> {
    let mut transaction = Transaction::begin(files)?;
    for disk in 0..2 {
        transaction.publish(&path(&format!("vm/disk-{disk}/b.qcow2")))?;
        transaction.put(&path(&format!("vm/disk-{disk}/b.json")), b"ab")?;
    }
    for disk in [0, 2] {
        transaction.remove(&path(&format!("vm/disk-{disk}/a.qcow2")))?;
        transaction.remove(&path(&format!("vm/disk-{disk}/a.json")))?;
    }
    transaction.commit()
}

/// The whole change has happened, or nothing of it; nothing of the machinery is left. Old partial files may
/// be there still: they are their maker's.
fn check(found: &Tree, what: &str) -> bool {
    let machinery: Vec<&String> = found.keys().filter(|name| name.starts_with(".sendense/txn")).collect();
    assert!(machinery.is_empty(), "{what}: {machinery:?}");
    let without = |tree: &Tree| -> Tree {
        tree.iter()
            .filter(|(name, _)| !name.ends_with(".partial") && !name.starts_with(".sendense"))
            .map(|(name, content)| (name.clone(), content.clone()))
            .collect()
    };
    let found = without(found);
    assert!(found == without(&before()) || found == after(), "{what}: half a change: {found:#?}");
    found == after()
}

/// Steps that the whole change takes.
fn all_steps() -> usize {
    let root = plant(&before());
    let witness = Witness::new(root.path(), usize::MAX);
    change(witness.clone()).unwrap();
    assert!(check(&tree(root.path()), "undisturbed"));
    let count = witness.log.lock().unwrap().len();
    // Attempts that failed (a folder that is not empty) count too when steps are numbered.
    count + 8
}

#[test]
fn a_transaction_killed_after_any_step_happens_whole_or_not_at_all() {
    let (mut old, mut new) = (0, 0);
    for steps in 0..=all_steps() {
        let root = plant(&before());
        let outcome = change(Witness::new(root.path(), steps));
        let report = recovery::recover(&Gate::open(root.path()).unwrap(), Duration::ZERO).unwrap();
        let what = format!("killed after step {steps}");
        assert!(report.problems.is_empty() && report.pending.is_empty(), "{what}: {report:?}");
        let happened = check(&tree(root.path()), &what);
        match outcome {
            Ok(()) => assert!(happened, "{what}"),
            Err(crate::Error::Unfinished { .. }) => assert!(happened, "{what}"),
            Err(_) => assert!(!happened, "{what}"),
        }
        *if happened { &mut new } else { &mut old } += 1;
    }
    assert!(old > 5 && new > 5, "{old} times old, {new} times new");
}

#[test]
fn a_recovery_killed_after_any_step_is_completed_by_the_next() {
    for steps in (0..=all_steps()).step_by(2) {
        for again in 0..30 {
            let root = plant(&before());
            // Whether it got to its commit is all the same here.
            let _ = change(Witness::new(root.path(), steps));
            let _ = recovery::recover(Witness::new(root.path(), again).as_ref(), Duration::ZERO);
            recovery::recover(&Gate::open(root.path()).unwrap(), Duration::ZERO).unwrap();
            check(&tree(root.path()), &format!("killed after {steps}, recovery after {again}"));
        }
    }
}

#[test]
fn many_recoveries_at_once_complete_each_change_once() {
    for steps in [0, 4, 8, 12, 16, 20, 24] {
        let root = plant(&before());
        let outcome = change(Witness::new(root.path(), steps));
        let committed = matches!(outcome, Ok(()) | Err(crate::Error::Unfinished { .. }));
        let start = std::sync::Barrier::new(6);
        let applied: usize = std::thread::scope(|scope| {
            let recover = || {
                let gate = Gate::open(root.path()).unwrap();
                start.wait();
                let report = recovery::recover(&gate, Duration::from_secs(10)).unwrap();
                assert_eq!(report.problems, Vec::<String>::new());
                assert_eq!(report.pending, Vec::<String>::new());
                report.applied
            };
            let threads: Vec<_> = (0..6).map(|_| scope.spawn(recover)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert!(applied <= 1, "applied {applied} times");
        assert_eq!(check(&tree(root.path()), "at once"), committed);
    }
}

/// One tree that the disk may hold when the power is cut after these steps. `kept` decides for each step that
/// was not made durable.
fn after_power_cut(steps: &[Step], mut kept: impl FnMut() -> bool) -> TempDir {
    let root = plant(&before());
    let gate = Gate::open(root.path()).unwrap();
    // A folder whose own removal is durable is as good as synced.
    let synced_after = |from: usize, folder: Option<RelPath>| {
        let synced = |from: usize, folder: &Option<RelPath>| {
            steps.iter().skip(from).any(|step| matches!(step, Step::Sync(path) if path == folder))
        };
        let removed = steps.iter().enumerate().skip(from).any(|(at, step)| {
            matches!(step, Step::RemoveFolder(path) if folder.as_ref() == Some(path) && synced(at, &path.parent()))
        });
        removed || synced(from, &folder)
    };
    // Content is fsynced by `fill` itself, so it is there wherever a name leads to the file.
    let mut contents: BTreeMap<RelPath, Vec<u8>> = BTreeMap::new();
    for (at, step) in steps.iter().enumerate() {
        let folders = match step {
            Step::Rename(from, to) => vec![from.parent(), to.parent()],
            Step::Make(path, _) | Step::Remove(path) | Step::RemoveFolder(path) => vec![path.parent()],
            Step::Fill(path, content) => {
                contents.insert(path.clone(), content.clone());
                if gate.exists(path).unwrap() {
                    std::fs::write(root.path().join(path.as_str()), content).unwrap();
                }
                continue;
            }
            Step::Sync(_) => continue,
        };
        if folders.into_iter().all(|folder| synced_after(at, folder)) || kept() {
            // A step that builds on a lost one is lost too.
            let _ = match step {
                Step::Make(path, content) => gate.write_new(path, content),
                Step::Rename(from, to) => gate.rename(from, to),
                Step::Remove(path) => gate.remove(path),
                Step::RemoveFolder(path) => gate.remove_folder(path),
                Step::Fill(..) | Step::Sync(_) => Ok(()),
            };
        }
    }
    // A name whose making was lost, but whose renaming was made durable, leads to the file all the same.
    for (at, step) in steps.iter().enumerate() {
        if let Step::Rename(from, to) = step
            && let Some(content) = contents.get(from)
            && !gate.exists(to).unwrap()
            && [from.parent(), to.parent()].into_iter().all(|folder| synced_after(at, folder))
            && !steps.iter().skip(at).any(|later| matches!(later, Step::Remove(path) if path == to))
        {
            gate.write_new(to, content).unwrap();
        }
    }
    root
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_power_cut_at_any_step_leaves_the_whole_change_or_nothing(
        steps in 0usize..48,
        kept in proptest::collection::vec(any::<bool>(), 48),
    ) {
        let live = plant(&before());
        let witness = Witness::new(live.path(), steps);
        let outcome = change(witness.clone());
        let log = witness.log.lock().unwrap().clone();
        let mut kept = kept.into_iter();
        let root = after_power_cut(&log, || kept.next().unwrap_or(true));
        recovery::recover(&Gate::open(root.path()).unwrap(), Duration::ZERO).unwrap();
        let happened = check(&tree(root.path()), &format!("power cut after step {steps}: {log:#?}"));
        if outcome.is_ok() {
            prop_assert!(happened, "reported as done, and lost: {log:#?}");
        }
    }
}

#[test]
fn a_hostile_record_is_put_aside_and_touches_nothing() {
    let name = || uuid::Uuid::new_v4();
    let rename = |from: &str, to: &str| {
        format!(r#"{{"schema_version":1,"renames":[{{"from":"{from}","to":"{to}"}}],"removals":[]}}"#)
    };
    let remove = |path: &str| format!(r#"{{"schema_version":1,"renames":[],"removals":["{path}"]}}"#);
    let records = [
        "".into(),
        "{".into(),
        "[]".into(),
        r#"{"schema_version":0,"renames":[],"removals":[]}"#.into(),
        remove("../outside"),
        remove("/etc/passwd"),
        remove("vm/disk-0/../../../x"),
        remove(".sendense/repository.json"),
        remove(".sendense/a/b"),
        remove("vm/disk-0"),
        remove("a\\u0000/b/c"),
        rename("vm/disk-0/b.qcow2.partial", "../x"),
        rename("../x.partial", "vm/disk-0/b.qcow2"),
        rename("vm/disk-0/a.qcow2", "vm/disk-0/b.qcow2"),
        rename("vm/disk-0/b.qcow2.partial", "vm/disk-0/c.partial"),
        rename(".sendense/repository.json.partial", "vm/disk-0/b.json"),
        rename(&format!(".sendense/txn-{}.0.partial", name()), "vm/disk-0/b.json"),
    ];
    let root = plant(&before());
    for record in &records {
        std::fs::write(root.path().join(format!(".sendense/txn-{}.json", name())), record).unwrap();
    }
    let gate = Gate::open(root.path()).unwrap();
    let report = recovery::recover(&gate, Duration::ZERO).unwrap();
    assert_eq!(report.problems.len(), records.len(), "{report:#?}");
    assert_eq!((report.applied, report.pending.len()), (0, 0), "{report:#?}");
    let mut found = tree(root.path());
    found.retain(|name, _| !name.starts_with(".sendense/"));
    assert_eq!(found, before());
}

#[test]
fn a_record_of_a_newer_version_stays_and_is_told() {
    let root = plant(&before());
    let file = root.path().join(format!(".sendense/txn-{}.json", uuid::Uuid::new_v4()));
    std::fs::write(&file, r#"{"schema_version":2,"moves":[]}"#).unwrap();
    let report = recovery::recover(&Gate::open(root.path()).unwrap(), Duration::ZERO).unwrap();
    assert!(report.pending[0].contains("schema version 2"), "{report:?}");
    assert!(file.exists());
}

#[test]
fn a_record_does_not_follow_links_out_of_the_root() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::create_dir(outside.path().join("disk-0")).unwrap();
    std::fs::write(outside.path().join("disk-0/precious"), "p").unwrap();
    let root = plant(&before());
    std::os::unix::fs::symlink(outside.path(), root.path().join("evil")).unwrap();
    let record = r#"{"schema_version":1,"removals":["evil/disk-0/precious"],
        "renames":[{"from":"vm/disk-0/b.qcow2.partial","to":"evil/disk-0/new"}]}"#;
    std::fs::write(root.path().join(format!(".sendense/txn-{}.json", uuid::Uuid::new_v4())), record).unwrap();
    let report = recovery::recover(&Gate::open(root.path()).unwrap(), Duration::ZERO).unwrap();
    assert!(report.pending[0].contains("symbolic link"), "{report:?}");
    assert_eq!(std::fs::read_dir(outside.path().join("disk-0")).unwrap().count(), 1);
}

#[test]
fn a_change_whose_folder_is_gone_ends_and_a_stuck_one_holds_up_only_its_own_vm() {
    let root = plant(&before());
    let gate = Arc::new(Gate::open(root.path()).unwrap());
    let witness = Witness::new(root.path(), 6);
    let mut transaction = Transaction::begin(witness).unwrap();
    transaction.put(&path("vm/disk-2/a.json"), b"new").unwrap();
    assert!(matches!(transaction.commit(), Err(crate::Error::Unfinished { .. })));
    let awaited = |vm: &str| recovery::awaited(gate.as_ref(), Some(&vm.parse().unwrap())).unwrap();
    assert!(awaited("vm").is_some());
    assert_eq!(awaited("other"), None);
    std::fs::remove_dir_all(root.path().join("vm/disk-2")).unwrap();
    let report = recovery::recover(gate.as_ref(), Duration::ZERO).unwrap();
    assert_eq!((report.applied, report.pending.len()), (1, 0), "{report:?}");
    assert!(report.problems[0].contains("its folder is gone"), "{report:?}");
    assert_eq!(awaited("vm"), None);
    let left: Vec<String> = tree(root.path()).into_keys().filter(|name| name.contains(".sendense")).collect();
    assert_eq!(left, [".sendense/"]);
}

#[test]
fn a_live_transaction_is_left_alone() {
    let root = plant(&before());
    let gate = Arc::new(Gate::open(root.path()).unwrap());
    let mut transaction = Transaction::begin(gate.clone()).unwrap();
    transaction.put(&path("vm/disk-0/b.json"), b"new").unwrap();
    let report = recovery::recover(gate.as_ref(), Duration::ZERO).unwrap();
    assert_eq!((report.live, report.discarded), (1, 0), "{report:?}");
    transaction.commit().unwrap();
    assert_eq!(tree(root.path())["vm/disk-0/b.json"], "new");

    let mut dropped = Transaction::begin(gate.clone()).unwrap();
    dropped.put(&path("vm/disk-0/b.json"), b"newer").unwrap();
    drop(dropped);
    assert!(!tree(root.path()).keys().any(|name| name.starts_with(".sendense/txn")));
    assert_eq!(tree(root.path())["vm/disk-0/b.json"], "new");
}

#[test]
fn a_committed_change_that_another_holds_is_left_to_it() {
    let root = plant(&before());
    let file = root.path().join(format!(".sendense/txn-{}.json", uuid::Uuid::new_v4()));
    std::fs::write(&file, Record::default().encode(&path("x")).unwrap()).unwrap();
    let held = File::open(&file).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let gate = Gate::open(root.path()).unwrap();
    let report = recovery::recover(&gate, Duration::from_millis(20)).unwrap();
    assert_eq!((report.live, report.applied), (1, 0), "{report:?}");
    drop(held);
    let report = recovery::recover(&gate, Duration::ZERO).unwrap();
    assert_eq!((report.live, report.applied), (0, 1), "{report:?}");
    assert!(!file.exists());
}
