//! Two backups compared: against what the kernel shows of both disks, and by what was read for it.

use crate::harness::{MIB, Run, Site};
use crate::volume::{Seen, Volume, can_mount};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;

/// The JSON lines of a run.
fn lines(run: &Run) -> Vec<Value> {
    run.stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect()
}

/// The differences by path, and the summary.
fn diff(site: &Site, words: &str) -> (BTreeMap<String, (String, Vec<String>)>, Value) {
    let run = site.ok(&format!("backup diff {words} --json"));
    let mut changes = BTreeMap::new();
    let mut summary = Value::Null;
    for line in lines(&run) {
        match line["message_type"].as_str().unwrap() {
            "change" => {
                let parts =
                    line["parts"].as_array().unwrap().iter().map(|part| part.as_str().unwrap().to_owned());
                let path = line["path"].as_str().unwrap().to_owned();
                let told = (line["change"].as_str().unwrap().to_owned(), parts.collect());
                assert!(changes.insert(path, told).is_none(), "told twice: {line}");
            }
            "summary" => summary = line,
            other => panic!("{other}: {line}"),
        }
    }
    (changes, summary)
}

/// What should be told of two states that the kernel shows.
fn expected(
    before: &BTreeMap<Vec<u8>, Seen>,
    after: &BTreeMap<Vec<u8>, Seen>,
    metadata: bool,
) -> BTreeMap<String, String> {
    let mut changes = BTreeMap::new();
    let mut tell = |path: &[u8], word: &str| {
        changes.insert(String::from_utf8_lossy(path).into_owned(), word.to_owned());
    };
    for (path, was) in before {
        match after.get(path) {
            None => tell(path, "removed"),
            Some(is) if is.kind != was.kind => tell(path, "type_changed"),
            Some(is) if is.content != was.content => tell(path, "changed"),
            Some(is) if metadata && (is.meta, is.modified) != (was.meta, was.modified) => {
                tell(path, "metadata")
            }
            Some(_) => {}
        }
    }
    after.keys().filter(|path| !before.contains_key(*path)).for_each(|path| tell(path, "added"));
    changes
}

const FILL: &str = "
    mkdir -p etc/deep/er var/www gone/sub many
    for n in $(seq 1 300); do echo \"file $n\" > many/f$n; done
    head -c 3000000 /dev/urandom > large
    head -c 200000 /dev/urandom > var/www/image
    echo same > etc/same; echo old > etc/changed; echo 12345 > etc/grown
    echo secret1 > etc/quiet; touch -d '2024-01-02 03:04:05' etc/quiet
    echo a > gone/sub/a; echo b > gone/b; echo file > kind; echo moved > etc/old-name
    truncate -s 40M sparse; echo tail | dd of=sparse bs=1M seek=30 conv=notrunc status=none
    echo linked > linked; echo meta > meta; echo touched > touched; : > empty";

const CHANGE: &str = "
    echo new > etc/changed; echo 1234567 > etc/grown; rm -r gone; rm kind; mkdir kind; echo in > kind/inside
    mkdir -p fresh/one; echo 1 > fresh/one/file; mv etc/old-name etc/new-name
    echo secret2 > etc/quiet; touch -d '2024-01-02 03:04:05' etc/quiet
    echo hole | dd of=sparse bs=1M seek=7 conv=notrunc status=none
    printf X | dd of=large bs=1 seek=1500000 conv=notrunc status=none
    ln linked linked-too; touch -d '2020-02-02 02:02:02' touched; echo tmp > many/f301; rm many/f7";

/// The same where owners, modes and links are kept.
const CHANGE_UNIX: &str = "
    chmod 600 meta; chown 7:8 many/f8; setfattr -n user.note -v hello etc/same; ln -sf elsewhere link
    rm fifo; ln -s somewhere fifo";

#[test]
fn differences_are_those_that_the_kernel_shows() {
    for kind in ["ext4", "xfs", "btrfs", "ntfs"] {
        if !can_mount(&[Volume::maker(kind), "setfattr"]) {
            continue;
        }
        let site = Site::new();
        let volume = Volume::new(&site, kind);
        let unix = kind != "ntfs";
        volume.change(FILL);
        if unix {
            volume.change("ln -s here link; mkfifo fifo");
        }
        let before = volume.seen(&site);
        site.backup(&format!("--vm v --compress --source {}", volume.disk.display()));
        volume.change(CHANGE);
        let after = if unix {
            // Captured while it is in use: the journal is not empty.
            let mounted = volume.mount();
            crate::volume::sh(&format!("cd '{}'\n{CHANGE_UNIX}\nsync -f .", mounted.0.display()));
            let after = volume.seen(&site);
            site.backup("--vm v --compress");
            after
        } else {
            let after = volume.seen(&site);
            site.backup("--vm v --compress");
            after
        };
        let options = if unix { "" } else { " --content" };
        let (found, summary) = diff(&site, &format!("v@latest~1 v@latest --volume disk0{options}"));
        let mut wanted = expected(&before, &after, unix);
        if unix {
            assert_eq!(found["/etc/same"].1, ["xattrs"], "{kind}");
            wanted.insert("/etc/same".to_owned(), "metadata".to_owned());
            assert_eq!(found["/meta"].1, ["mode"], "{kind}");
            assert_eq!(found["/many/f8"].1, ["owner"], "{kind}");
            assert_eq!(found["/touched"].1, ["modified"], "{kind}");
            assert_eq!(found["/link"].1[0], "target", "{kind}");
        }
        // Same size, same time: only its bytes tell.
        assert_eq!(found["/etc/quiet"].1, ["content"], "{kind}");
        let told: BTreeMap<String, String> = found.into_iter().map(|(path, told)| (path, told.0)).collect();
        assert_eq!(told, wanted, "{kind}");
        assert_eq!(summary["failed"], 0, "{summary}");
        // The other way round, and below a folder.
        let (back, _) = diff(&site, &format!("v@latest v@latest~1 --volume disk0{options} etc"));
        let back: Vec<_> =
            back.into_iter().filter(|(_, told)| told.0 == "added").map(|told| told.0).collect();
        assert_eq!(back, ["/etc/old-name"], "{kind}");
        site.assert_nothing_left_over();
    }
}

#[test]
fn what_did_not_change_is_not_read() {
    if !can_mount(&["mke2fs"]) {
        return;
    }
    let site = Site::new();
    let volume = Volume::new(&site, "ext4");
    volume.change(
        "mkdir data; for n in $(seq 1 40); do head -c 1M /dev/urandom > data/$n; done; head -c 20M /dev/urandom > db",
    );
    let first = site.backup(&format!("--vm v --compress --source {}", volume.disk.display()));
    volume.change("printf Y | dd of=db bs=1 seek=7000000 conv=notrunc status=none; echo x > data/7");
    let second = site.backup("--vm v --compress");
    volume.change("rm data/9; cp data/10 data/copy");
    site.backup("--vm v --compress");
    let number = |summary: &Value, name: &str| summary[name].as_u64().unwrap();

    let (changes, summary) = diff(&site, &format!("{first} {second} --volume disk0 --content"));
    assert_eq!(changes.keys().collect::<Vec<_>>(), ["/data/7", "/db"]);
    assert!(number(&summary, "content_bytes") < MIB, "of 60 MiB on each side: {summary}");
    assert!(number(&summary, "bytes_read") < 8 * MIB, "{summary}");
    assert!(number(&summary, "proven") >= 39, "{summary}");

    // A point and itself.
    let (changes, summary) = diff(&site, &format!("{second} {second} --volume disk0"));
    assert_eq!((changes.len(), number(&summary, "volumes_unchanged")), (0, 1), "{summary}");

    // A full in another repository shares no file with the chain: hashes tell.
    let other = site.path("other");
    site.ok(&format!("repo create other --path {}", other.display()));
    let full = site.backup("--vm v --type full --repo other");
    let (changes, summary) = diff(&site, &format!("v@latest~1 {full} --volume disk0"));
    assert!(changes.is_empty(), "{changes:?}");
    assert_eq!(number(&summary, "content_bytes"), 0, "{summary}");
    let (changes, summary) = diff(&site, &format!("{first} {full} --volume disk0 --content"));
    assert_eq!(changes.keys().collect::<Vec<_>>(), ["/data/7", "/data/9", "/data/copy", "/db"]);
    assert!(number(&summary, "content_bytes") < MIB, "{summary}");

    // Merged, the chain tells the same.
    site.ok(&format!("backup delete {second} --merge --yes"));
    let (changes, summary) = diff(&site, &format!("{first} {full} --volume disk0 --content"));
    assert_eq!(changes.len(), 4, "{changes:?}");
    assert!(number(&summary, "content_bytes") < MIB, "{summary}");
}

#[test]
fn a_disk_that_grew_and_one_that_is_gone_are_compared_as_they_are() {
    if !can_mount(&["mke2fs", "resize2fs"]) {
        return;
    }
    let site = Site::new();
    let volume = Volume::new(&site, "ext4");
    volume.change("head -c 5M /dev/urandom > kept");
    site.backup(&format!("--vm v --source {}", volume.disk.display()));
    let disk = volume.disk.display();
    fs::OpenOptions::new().write(true).open(&volume.disk).unwrap().set_len(400 * MIB + 4096).unwrap();
    crate::volume::sh(&format!("e2fsck -fp '{disk}' >/dev/null; resize2fs '{disk}' >/dev/null 2>&1"));
    volume.change("head -c 5M /dev/urandom > added");
    site.backup("--vm v");
    let (changes, _) = diff(&site, "v@latest~1 v@latest --volume disk0 --content");
    assert_eq!(changes.keys().collect::<Vec<_>>(), ["/added"]);
}

#[test]
fn other_machines_are_compared_and_mistakes_are_told() {
    if !can_mount(&["mke2fs"]) {
        return;
    }
    let site = Site::new();
    let one = Volume::new(&site, "ext4");
    one.change("mkdir etc; echo 1 > etc/a; echo 2 > etc/b; head -c 100000 /dev/zero > zeros");
    site.backup(&format!("--vm one --source {}", one.disk.display()));
    crate::volume::sh(&format!("mv '{}' '{}'", one.disk.display(), site.path("first.raw").display()));
    let other = Volume::new(&site, "ext4");
    other.change("mkdir etc; echo 1 > etc/a; echo 3 > etc/b; head -c 100000 /dev/zero > zeros");
    let point = site.backup(&format!("--vm two --source {}", other.disk.display()));
    let run = site.ok("backup diff one@latest two@latest --volume disk0 --content");
    assert_eq!(run.stdout, "M  /etc/b  (content, 2 B as before)\n", "{run:#?}");
    let run = site.ok("backup diff one@latest two@latest --volume disk0 --content --name-only");
    assert_eq!(run.stdout, "/etc/b\n");
    let run = site.ok("backup diff one@latest two@latest --volume disk0 --content --stat");
    assert!(run.stdout.contains("changed") && run.stdout.contains("in both"), "{run:#?}");
    site.run("backup diff one@latest two@latest /nothing --volume disk0").failed_with(4, &["/nothing"]);
    site.run("backup diff one@latest nosuch").failed_with(4, &["nosuch"]);
    site.run("backup diff one@latest two@latest --volume nonsense").failed_with(2, &["disk0"]);
    site.run("backup diff one@latest two@latest --disk 5").failed_with(4, &["5"]);
    // Damage below is named, and never a difference.
    let file = site.top_of(&point, 0);
    let length = fs::metadata(&file).unwrap().len();
    let file = fs::OpenOptions::new().write(true).open(&file).unwrap();
    file.write_all_at(&vec![0xff; (length - 65_536) as usize], 65_536).unwrap();
    let run = site.run("backup diff one@latest two@latest --volume disk0");
    assert!(run.code == 6 || run.code == 3, "{run:#?}");
    site.assert_nothing_left_over();
}
