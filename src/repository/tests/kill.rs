//! Processes killed for good (SIGKILL) in the middle of changing points, several at once.

use model::DiskIndex;
use repository::{Identity, LocalRepository, RelPath};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const ROOT: &str = "SENDENSE_TEST_KILL_ROOT";
const WORKER: &str = "SENDENSE_TEST_KILL_WORKER";

fn path(text: String) -> RelPath {
    RelPath::new(text).unwrap()
}

/// What a killed worker does over and over: a "point" of two disks is published, replaced and removed. Its
/// generation is the content of all its files.
fn work(root: &Path, worker: &str) -> ! {
    let repository = LocalRepository::open(root).unwrap();
    let vm = worker.parse().unwrap();
    let files = [0, 1].map(|disk| path(format!("{worker}/disk-{disk}/full.qcow2")));
    let sidecars = [0, 1].map(|disk| path(format!("{worker}/disk-{disk}/full.json")));
    println!("ready");
    for generation in 0u64.. {
        repository.remove_partials(&vm).unwrap();
        for (disk, file) in (0..).zip(&files) {
            repository.prepare(&vm, DiskIndex(disk)).unwrap();
            let mut partial = repository.create_partial(file).unwrap();
            std::io::Write::write_all(&mut partial, generation.to_string().as_bytes()).unwrap();
        }
        let mut transaction = repository.begin().unwrap();
        for (file, sidecar) in files.iter().zip(&sidecars) {
            transaction.publish(file).unwrap();
            transaction.put(sidecar, generation.to_string().as_bytes()).unwrap();
        }
        transaction.commit().unwrap();
        if generation % 3 == 2 {
            let mut transaction = repository.begin().unwrap();
            for path in files.iter().chain(&sidecars) {
                transaction.remove(path).unwrap();
            }
            transaction.commit().unwrap();
        }
    }
    unreachable!("it is killed")
}

fn start(root: &Path, worker: &str) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "changes_survive_processes_that_are_killed", "--nocapture"])
        .env(ROOT, root)
        .env(WORKER, worker)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().ends_with("ready")), "the worker ended");
    child
}

/// All four files of one generation, or none.
fn check(root: &Path, worker: &str) -> bool {
    let names = ["disk-0/full.qcow2", "disk-1/full.qcow2", "disk-0/full.json", "disk-1/full.json"];
    let found = names.map(|name| std::fs::read_to_string(root.join(worker).join(name)).ok());
    assert!(found.iter().all(|content| *content == found[0]), "{worker}: {found:?}");
    found[0].is_some()
}

#[test]
fn changes_survive_processes_that_are_killed() {
    if let (Ok(root), Ok(worker)) = (std::env::var(ROOT), std::env::var(WORKER)) {
        work(Path::new(&root), &worker);
    }
    let folder = tempfile::tempdir().unwrap();
    let identity = Identity {
        id: "repo-kill".parse().unwrap(),
        name: "kill".parse().unwrap(),
        created_at: "2025-10-06T12:00:00Z".parse().unwrap(),
    };
    let repository = LocalRepository::create(folder.path(), identity).unwrap();
    let rounds: u64 = std::env::var("SENDENSE_KILL_ROUNDS").ok().map_or(25, |rounds| rounds.parse().unwrap());
    let (mut there, mut replayed) = (0, 0);
    for round in 0..rounds {
        let mut children = ["a", "b", "c"].map(|worker| start(folder.path(), worker));
        // Not a wait for something: the moment of the kill, another one each round.
        std::thread::sleep(Duration::from_micros(500 + round * 7919 % 40_000));
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        // Every third time the next workers recover by themselves, while others start to write.
        if round % 3 != 0 {
            let report = repository.recover().unwrap();
            assert!(report.problems.is_empty() && report.pending.is_empty(), "{report:?}");
            replayed += report.applied;
            let left = std::fs::read_dir(folder.path().join(".sendense")).unwrap();
            let mut left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
            left.sort();
            assert_eq!(left, ["ballast", "repository.json"]);
            for worker in ["a", "b", "c"] {
                there += usize::from(check(folder.path(), worker));
                repository.remove_partials(&worker.parse().unwrap()).unwrap();
                assert_eq!(repository.partials(&worker.parse().unwrap()).unwrap(), []);
            }
        }
    }
    eprintln!("{rounds} rounds: {there} points found whole, {replayed} changes completed afterwards");
}
