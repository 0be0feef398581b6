//! Twenty mounts and fifty readers at once, while a second VM is backed up and a point of a third deleted.

use super::{PATIENCE, Unmounts, can_mount, guest, mounts};
use crate::harness::{MIB, Random, Running, Site};
use std::fs;
use std::process::Stdio;

#[test]
fn twenty_mounts_are_read_by_fifty_while_others_are_backed_up_and_deleted() {
    if !can_mount(&["qemu-img"]) {
        return;
    }
    let site = Site::new();
    let text: Vec<String> = (0..4).map(|n| Random(n).next().to_string().repeat(20_000)).collect();
    let names = ["a/0", "a/1", "b/2", "b/3"];
    let files: Vec<(&str, &str)> =
        names.iter().zip(&text).map(|(name, text)| (*name, text.as_str())).collect();
    let disk = guest(&site, "web", &files);
    let points: Vec<String> =
        (0..4).map(|_| site.backup(&format!("--vm web --source {}", disk.display()))).collect();
    let other = site.disk("other.raw", 48 * MIB, 24, 5);
    site.backup(&format!("--vm other --source {}", other.display()));
    let third = site.disk("third.raw", 16 * MIB, 8, 6);
    let victim = site.backup(&format!("--vm third --source {}", third.display()));
    let _unmounts = Unmounts(&site);
    let spawn =
        |line: Vec<String>| Running::start(site.command(line).stdout(Stdio::piped()).stderr(Stdio::piped()));
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let mounting: Vec<Running> = (0..20)
        .map(|n| {
            let mnt = site.path(&format!("mnt{n}"));
            spawn(words(&format!("backup mount {} {}", points[n % 4], mnt.display())))
        })
        .collect();
    for running in mounting {
        let run = running.wait(PATIENCE * 2);
        assert_eq!(run.code, 0, "{run:#?}");
    }
    assert_eq!(mounts(&site).len(), 20);

    let backup = spawn(words("backup start --vm other --type full"));
    let delete = spawn(words(&format!("backup delete {victim} --yes")));
    std::thread::scope(|scope| {
        for reader in 0..50usize {
            let (site, text) = (&site, &text);
            scope.spawn(move || {
                let mut random = Random(reader as u64);
                for _ in 0..4 {
                    let (mount, file) = (random.below(20), random.below(4) as usize);
                    let path = site.path(&format!("mnt{mount}")).join(names[file]);
                    assert!(fs::read_to_string(&path).unwrap() == text[file], "{}", path.display());
                }
            });
        }
    });
    for running in [backup, delete] {
        let run = running.wait(PATIENCE * 2);
        assert_eq!(run.code, 0, "{run:#?}");
    }
    site.ok("restore unmount --all");
    assert!(mounts(&site).is_empty());
    site.ok("backup verify --all");
    site.assert_nothing_left_over();
}
