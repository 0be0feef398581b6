//! The input is a file of a repository, after one byte that says which: 0 a sidecar, 1 a hash manifest, 2 the
//! record of a transaction.
//!
//! What must hold: a sidecar that is taken is written back as the same record; a manifest's runs ascend and
//! stay inside the disk, and one that verifies holds what it counts; a transaction touches nothing outside of
//! the repository and not its marker, and only one of a newer version stays.

#![no_main]

use block::{Baseline, Granule};
use repository::{Bottom, ChainBaseline, Identity, LocalRepository, Manifest, RelPath, sidecar};
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::PathBuf;
use std::sync::OnceLock;

const SIDECAR: &str = "vm/disk-0/full-20251006-120000.json";
const RECORD: &str = ".sendense/txn-67e55044-10b1-426f-9247-bb680e5fe0c8.json";

struct Place {
    outside: PathBuf,
    root: PathBuf,
    repository: LocalRepository,
    manifest: File,
}

fn place() -> &'static Place {
    static PLACE: OnceLock<Place> = OnceLock::new();
    PLACE.get_or_init(|| {
        let top = if PathBuf::from("/dev/shm").is_dir() { "/dev/shm".into() } else { std::env::temp_dir() };
        let outside = top.join(format!("sendense-fuzz-{}", std::process::id()));
        let root = outside.join("root");
        fs::create_dir_all(&outside).expect("a folder to work in");
        let identity = Identity {
            id: "repo".parse().expect("an id"),
            name: "repo".parse().expect("a name"),
            created_at: "2025-10-06T12:00:00Z".parse().expect("a time"),
        };
        let repository = LocalRepository::create(&root, identity).expect("a repository");
        let manifest = File::options().read(true).write(true).create_new(true).open(outside.join("manifest"));
        Place { outside, root, repository, manifest: manifest.expect("a file") }
    })
}

fn record(json: &[u8]) {
    let path = RelPath::new(SIDECAR).expect("a path");
    let Ok(backup) = sidecar::decode(&path, json) else { return };
    let written = sidecar::encode(&backup).expect("what was taken can be written");
    assert!(sidecar::decode(&path, &written).expect("what was written can be read") == backup);
}

fn manifest(bytes: &[u8]) {
    let mut file = &place().manifest;
    file.set_len(0).expect("truncate");
    file.seek(SeekFrom::Start(0)).expect("seek");
    file.write_all(bytes).expect("write");
    let Ok(manifest) = Manifest::open(file.try_clone().expect("clone"), "manifest") else { return };
    let total = manifest.virtual_size().div_ceil(block::GRANULE);
    let mut end = 0;
    for run in manifest.runs().map_while(Result::ok) {
        assert!(run.count >= 1 && run.first >= end && run.end() <= total);
        end = run.end();
    }
    for view in [manifest.virtual_size(), 1 << 20, (1 << 20) + 1] {
        let layers = vec![manifest.clone(), manifest.clone()];
        let mut chain = ChainBaseline::new(layers, Bottom::Full, view);
        let mut out = [Granule::Unknown; 24];
        for first in
            [0, 24, 100, total / 2, total.saturating_sub(3), total + 7].into_iter().scan(0, |low, at| {
                let first = at.max(*low);
                *low = first + 24;
                Some(first)
            })
        {
            if chain.next(first, &mut out).is_err() {
                break;
            }
            let behind = (first..).zip(&out).filter(|(granule, _)| *granule >= view.div_ceil(block::GRANULE));
            assert!(behind.into_iter().all(|(_, granule)| *granule == Granule::Zero));
        }
    }
    if let Ok(summary) = manifest.verify() {
        assert!(summary.granules == manifest.data_granules());
        assert!(summary.file_bytes == bytes.len() as u64);
    }
}

fn transaction(json: &[u8]) {
    let place = place();
    fs::create_dir_all(place.root.join("vm/disk-0")).expect("folders");
    fs::write(place.root.join("vm/disk-0/a.qcow2.partial"), "a").expect("a partial file");
    fs::write(place.root.join("vm/disk-0/b.qcow2"), "b").expect("a file");
    fs::write(place.outside.join("canary"), "alive").expect("a canary");
    fs::write(place.root.join(RECORD), json).expect("a record");
    let report = place.repository.recover().expect("a look through the folder");
    assert!(place.outside.join("canary").exists());
    assert!(place.root.join(".sendense/repository.json").exists());
    let stays = place.root.join(RECORD).exists();
    assert!(stays == !report.pending.is_empty(), "{report:?}");
    for entry in fs::read_dir(place.root.join(".sendense")).expect("the folder") {
        let path = entry.expect("an entry").path();
        if !path.ends_with("repository.json") {
            fs::remove_file(path).expect("removing what the last input left");
        }
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    match bytes.split_first() {
        Some((0, json)) => record(json),
        Some((1, bytes)) => manifest(bytes),
        Some((2, json)) => transaction(json),
        _ => {}
    }
});
