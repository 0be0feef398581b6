//! Verify: every kind of damage is found, named, and blamed on the right points.

use crate::harness::{MIB, Run, Site, scribble};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

struct Chain {
    site: Site,
    ids: Vec<String>,
    files: Vec<PathBuf>,
}

fn chain(options: &str) -> Chain {
    let site = Site::new();
    let disk = site.disk("disk.raw", 24 * MIB, 10, 5);
    let mut ids = Vec::new();
    for round in 0..3 {
        scribble(&disk, 2, 70 + round);
        let source = if round == 0 { format!("--source {}", disk.display()) } else { String::new() };
        ids.push(site.backup(&format!("--vm pg {source} {options}")));
    }
    let files = ids.iter().map(|id| site.top_of(id, 0)).collect();
    Chain { site, ids, files }
}

impl Chain {
    fn verify(&self, options: &str) -> Run {
        self.site.run(&format!("backup verify --all {options}"))
    }

    /// Fails unless damage is reported, exactly these points are hit, and `list` remembers it.
    fn assert_hit(&self, hit: &[usize], word: &str) {
        let run = self.verify("");
        assert_eq!(run.code, 6, "{run:#?}");
        let text = format!("{}{}", run.stdout, run.stderr);
        assert!(text.contains(word), "no {word:?} in {run:#?}");
        for point in self.site.points() {
            let n = self.ids.iter().position(|id| point["id"] == id.as_str()).unwrap();
            assert_eq!(point["verification"]["ok"], !hit.contains(&n), "point {n}: {point:#}");
        }
    }
}

fn flip(path: &Path, offset: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], offset).unwrap();
}

#[test]
fn a_sound_chain_verifies_whole_and_in_parts() {
    let chain = chain("");
    for options in ["", "--read-data-subset 10%", "--read-data-subset 1/7", "--read-data-subset 1M"] {
        let run = chain.verify(options);
        assert_eq!(run.code, 0, "{options}: {run:#?}");
    }
    chain.site.run("backup verify --all --read-data-subset 8/7").failed_with(2, &["8/7"]);
}

#[test]
fn one_flipped_bit_in_the_data_is_found_and_the_later_points_are_hit_too() {
    for (options, n) in [("", 0), ("", 1), ("--compress", 1)] {
        let chain = chain(options);
        // The data lies before the tables; the middle of the file is data in these small files.
        let middle = chain.files[n].metadata().unwrap().len() / 2;
        flip(&chain.files[n], middle);
        chain.assert_hit(&(n..3).collect::<Vec<_>>(), &chain.ids[n]);
        let target = chain.site.path("out.raw");
        let run = chain.site.run(&format!("restore disk {} --to {}", chain.ids[n], target.display()));
        assert_eq!(run.code, 6, "a restore notices too: {run:#?}");
        assert!(!target.exists(), "and leaves nothing");
    }
}

#[test]
fn all_parts_of_a_subset_together_find_what_the_whole_finds() {
    let chain = chain("");
    flip(&chain.files[1], chain.files[1].metadata().unwrap().len() / 2);
    let found = (1..=4).filter(|n| chain.verify(&format!("--read-data-subset {n}/4")).code == 6).count();
    assert_eq!(found, 1);
}

#[test]
fn missing_and_truncated_files_are_found() {
    let lost = chain("");
    fs::remove_file(&lost.files[1]).unwrap();
    lost.assert_hit(&[1, 2], "missing");

    let cut = chain("");
    let file = fs::OpenOptions::new().write(true).open(&cut.files[0]).unwrap();
    file.set_len(file.metadata().unwrap().len() - 70_000).unwrap();
    cut.assert_hit(&[0, 1, 2], &cut.ids[0]);
}

#[test]
fn damaged_tables_and_sidecars_are_found() {
    let header = chain("");
    flip(&header.files[2], 3);
    header.assert_hit(&[2], &header.ids[2]);

    let hashes = chain("");
    let manifest = hashes.files[2].with_extension("b3");
    flip(&manifest, manifest.metadata().unwrap().len() / 2);
    hashes.assert_hit(&[2], &hashes.ids[2]);

    let record = chain("");
    let sidecar = record.files[2].with_extension("json");
    let text = fs::read_to_string(&sidecar).unwrap();
    assert!(text.contains("\"incremental\""));
    fs::write(&sidecar, text.replace("\"incremental\"", "\"differential\"")).unwrap();
    record.assert_hit(&[2], &record.ids[2]);

    let gone = chain("");
    fs::remove_file(gone.files[1].with_extension("json")).unwrap();
    // The data is all there, so what is built on it is not hit.
    gone.assert_hit(&[1], &gone.ids[1]);
}

#[test]
fn where_there_is_nothing_to_verify_it_is_said() {
    let site = Site::new();
    assert!(site.ok("backup verify --all").stdout.contains("no backups"));
    let line: serde_json::Value =
        serde_json::from_str(&site.ok("backup verify --all --json").stdout).unwrap();
    assert_eq!((&line["message_type"], &line["checked"]), (&"summary".into(), &serde_json::json!([])));
    assert_eq!(site.ok("backup verify --all --quiet").stdout, "");
    site.run("backup verify --vm pg").failed_with(4, &["pg"]);
}
