//! Files found across backups: in which of them, in which versions, and what was read for it.

use crate::harness::{MIB, Run, Running, Site, eventually};
use crate::volume::{Volume, can_mount};
use serde_json::Value;
use std::fs;
use std::process::Stdio;
use std::time::Duration;

/// What a search found, and its summary.
fn find(site: &Site, words: &str) -> (Vec<Value>, Value) {
    let run = site.run(&format!("backup find {words} --json"));
    assert!(run.code == 0 || run.code == 4, "{run:#?}");
    found(&run)
}

fn found(run: &Run) -> (Vec<Value>, Value) {
    let mut files = Vec::new();
    let mut summary = Value::Null;
    for line in run.stdout.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        match line["message_type"].as_str().unwrap() {
            "match" => files.push(line),
            "summary" => summary = line,
            _ => {}
        }
    }
    assert!(!summary.is_null(), "{run:#?}");
    (files, summary)
}

fn paths(files: &[Value]) -> Vec<&str> {
    files.iter().map(|file| file["path"].as_str().unwrap()).collect()
}

/// The versions of a path, newest first: hash, and the points that have it.
fn versions(file: &Value) -> Vec<(String, Vec<String>)> {
    let texts =
        |ids: &Value| ids.as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect();
    let version = |version: &Value| {
        let hash = version["content_hash"].as_str().unwrap_or_default().to_owned();
        (hash, texts(&version["backup_ids"]))
    };
    file["versions"].as_array().unwrap().iter().map(version).collect()
}

fn hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

#[test]
fn versions_are_told_across_a_chain_and_what_is_merged_of_it() {
    for kind in ["ext4", "btrfs"] {
        if !can_mount(&[Volume::maker(kind)]) {
            continue;
        }
        let site = Site::new();
        let volume = Volume::new(&site, kind);
        let mut points = Vec::new();
        let quiet = "touch -d '2024-01-02 03:04:05'";
        volume.change(&format!(
            "mkdir -p var/www many; for n in $(seq 1 400); do echo $n > many/$n; done; head -c 20M /dev/urandom > big
             echo one > var/www/index.php; {quiet} var/www/index.php; ln var/www/index.php var/www/linked.php"
        ));
        points.push(site.backup(&format!("--vm v --compress --source {}", volume.disk.display())));
        for step in [
            // Unchanged; other content of the same size and time; as it was in the beginning, in another place; gone;
            // renamed.
            "echo x > many/x".to_owned(),
            format!("echo two > var/www/index.php; {quiet} var/www/index.php"),
            format!("echo one > new; mv new var/www/index.php; {quiet} var/www/index.php"),
            "rm var/www/index.php".to_owned(),
            "mv var/www/linked.php var/www/index.php".to_owned(),
        ] {
            volume.change(&step);
            points.push(site.backup("--vm v --compress"));
        }
        let ids = |numbers: &[usize]| numbers.iter().map(|n| points[*n].clone()).collect::<Vec<_>>();
        let (files, summary) = find(&site, "index.php --vm v --volume disk0");
        assert_eq!(paths(&files), ["/var/www/index.php"], "{kind}");
        let (one, two) = (hash(b"one\n"), hash(b"two\n"));
        let wanted = [(two.clone(), ids(&[5, 2])), (one.clone(), ids(&[3, 1, 0]))];
        assert_eq!(versions(&files[0]), wanted, "{kind}");
        assert_eq!(summary["points_searched"], 6);
        assert!(summary["bytes_read"].as_u64() < Some(30 * MIB), "{summary}");

        // A large file that never changed is hashed once, not six times.
        let (files, summary) = find(&site, "/big --vm v --volume disk0");
        assert_eq!(versions(&files[0])[0].1, ids(&[5, 4, 3, 2, 1, 0]), "{kind}");
        let read = summary["content_bytes"].as_u64().unwrap();
        assert!((20 * MIB..21 * MIB).contains(&read), "{kind}: {summary}");

        // Without hashes only size and time are left.
        let (files, _) = find(&site, "index.php --vm v --volume disk0 --no-content-hash");
        assert_eq!(versions(&files[0]).len(), 1, "{kind}: a change that kept both is not seen then");

        // Points that are merged away are gone, and nothing else.
        site.ok(&format!("backup delete {} --merge --yes", points[2]));
        site.ok(&format!("backup delete {} --merge --yes", points[0]));
        let (files, _) = find(&site, "index.php --vm v --volume disk0");
        assert_eq!(versions(&files[0]), [(two, ids(&[5])), (one, ids(&[3, 1]))], "{kind}");
        site.assert_nothing_left_over();
    }
}

#[test]
fn what_is_looked_for_is_found_and_nothing_else() {
    if !can_mount(&["mke2fs"]) {
        return;
    }
    let site = Site::new();
    let volume = Volume::new(&site, "ext4");
    volume.change(
        "mkdir -p etc/nginx/conf.d srv; echo a > etc/nginx/nginx.conf; echo b > etc/nginx/conf.d/a.conf
         head -c 300000 /dev/urandom > srv/LARGE.Log; echo small > srv/small.log; ln -s nginx.conf etc/nginx/link.conf
         touch -d 2020-01-01 srv/small.log; printf 'x' > $'srv/odd \\xff.log'",
    );
    site.backup(&format!("--vm v --source {}", volume.disk.display()));
    let found = |words: &str| -> Vec<String> {
        let (files, _) = find(&site, &format!("{words} --vm v --volume disk0"));
        let mut all: Vec<String> = paths(&files).into_iter().map(str::to_owned).collect();
        all.sort();
        all
    };
    assert_eq!(
        found("*.conf"),
        ["/etc/nginx/conf.d/a.conf", "/etc/nginx/link.conf", "/etc/nginx/nginx.conf"]
    );
    assert_eq!(found("/etc/nginx/*.conf --type f"), ["/etc/nginx/nginx.conf"]);
    assert_eq!(found("nginx/**/*.conf --type f"), ["/etc/nginx/conf.d/a.conf", "/etc/nginx/nginx.conf"]);
    assert_eq!(found("*.conf --type l"), ["/etc/nginx/link.conf"]);
    assert_eq!(found("*.LOG"), Vec::<String>::new());
    assert_eq!(found("*.LOG -i --size +100k"), ["/srv/LARGE.Log"]);
    assert_eq!(found("*.log --size -10 --older 2021-01-01"), ["/srv/small.log"]);
    assert_eq!(found("*.log --mtime -1"), ["/srv/odd \u{fffd}.log"]);
    assert_eq!(found("* --path /srv"), ["/srv/LARGE.Log", "/srv/odd \u{fffd}.log", "/srv/small.log"]);
    assert_eq!(found("--regex (?-u)^/srv/.*[Ll]og$ --size +0"), found("* --path /srv"));
    assert_eq!(found("nginx --type d"), ["/etc/nginx"]);

    let run = site.ok("backup find nginx.conf --vm v --volume disk0");
    assert!(run.stdout.contains("/etc/nginx/nginx.conf") && run.stdout.starts_with("VM"), "{run:#?}");
    assert!(run.stderr.contains("backup extract --backup-id"), "how to have it back: {run:#?}");
    // Without --vm, the newest of each VM.
    volume.change("rm srv/small.log; echo n > srv/new.log");
    let newest = site.backup("--vm v");
    let (files, summary) = find(&site, "*.log --volume disk0");
    assert_eq!((files.len(), summary["points_searched"].as_u64()), (2, Some(1)), "{files:?}");
    assert_eq!(files[0]["versions"][0]["backup_ids"][0].as_str(), Some(newest.as_str()));
    assert_eq!(find(&site, "small.log --all --volume disk0").0.len(), 1);
    assert_eq!(find(&site, &format!("small.log --backup {newest} --volume disk0")).0.len(), 0);
    site.run("backup find nothing.at.all --vm v --volume disk0").failed_nothing();
    site.run("backup find x --vm nosuch").failed_with(4, &["nosuch"]);
    site.run("backup find ( --regex --vm v").failed_with(2, &["regular expression"]);
    site.run("backup find x --vm v --size big").failed_with(2, &["+10M"]);
    site.run("backup find x --vm v --newer yesterday").failed_with(2, &["yesterday"]);
}

impl Run {
    /// Nothing was found, which is said and is no error.
    fn failed_nothing(&self) {
        assert_eq!(self.code, 4, "{self:#?}");
        assert!(self.stderr.contains("nothing matches nothing.at.all in 2 backups"), "{self:#?}");
        assert_eq!(self.stdout, "");
    }
}

#[test]
fn a_point_that_can_not_be_opened_is_named_and_the_others_are_searched() {
    if !can_mount(&["mke2fs"]) {
        return;
    }
    let site = Site::new();
    let volume = Volume::new(&site, "ext4");
    volume.change("echo 1 > wanted");
    site.backup(&format!("--vm v --type full --source {}", volume.disk.display()));
    volume.change("echo 2 > wanted");
    let broken = site.backup("--vm v --type full");
    fs::OpenOptions::new().write(true).open(site.top_of(&broken, 0)).unwrap().set_len(100).unwrap();
    let run = site.run("backup find wanted --vm v --volume disk0 --json");
    assert_eq!(run.code, 3, "{run:#?}");
    let (files, summary) = found(&run);
    assert_eq!((files.len(), summary["failed"].as_u64()), (1, Some(1)));
    assert!(run.stdout.lines().any(|l| l.contains("\"error\"") && l.contains(&broken)), "{run:#?}");
    let run = site.run("backup find wanted --vm v --volume disk0");
    assert!(run.code == 3 && run.stderr.contains(&broken), "{run:#?}");
    site.assert_nothing_left_over();
}

#[test]
fn ctrl_c_ends_a_search_and_leaves_nothing() {
    if !can_mount(&["mke2fs"]) {
        return;
    }
    let site = Site::new();
    let volume = Volume::new(&site, "ext4");
    // Holes are hashed as the zeros they read as: this takes longer than the test waits.
    volume.change("truncate -s 60G hole; echo x | dd of=hole bs=1M seek=50000 conv=notrunc status=none");
    site.backup(&format!("--vm v --source {}", volume.disk.display()));
    let mut command =
        site.command(["backup", "find", "hole", "--vm", "v", "--volume", "disk0", "--content-hash"]);
    let running = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    eventually("it holds its lease", Duration::from_secs(60), || {
        site.sql("SELECT count(*) FROM leases") == "1"
    });
    running.signal("INT");
    let run = running.wait(Duration::from_secs(60));
    assert_eq!(run.code, 130, "{run:#?}");
    // A hub elsewhere hears of it from the connection's end, and the work from its next piece.
    eventually("the lease is given back", Duration::from_secs(2), || {
        site.sql("SELECT count(*) FROM leases") == "0"
    });
    site.assert_nothing_left_over();
}
