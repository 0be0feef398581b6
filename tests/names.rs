//! Names of VMs: what could leave its folder, or fool a terminal, is refused; whatever else people call their
//! machines goes through everything.

use crate::harness::{MIB, Run, Site, have, same_bytes, scribble};
use std::fs;

/// Runs the program and expects it to end well.
fn ok(site: &Site, arguments: &[&str]) -> Run {
    let run = site.run_args(arguments);
    assert_eq!(run.code, 0, "{run:#?}");
    run
}

#[test]
fn what_is_printed_to_be_typed_survives_a_shell_and_latest_is_no_name() {
    let site = Site::new();
    let disk = site.disk("disk.raw", MIB, 1, 1);
    let name = "web server; $(rm -rf x) 'it'";
    let source = disk.to_str().unwrap();
    let start = |vm: &str| site.run_args(["backup", "start", "--vm", vm, "--source", source]);
    assert_eq!(start(name).code, 0);
    let id = site.points()[0]["id"].as_str().unwrap().to_owned();
    site.run_args(["backup", "protect", &id]);
    let refused = site.run_args(["backup", "delete", &id, "--yes"]);
    let typed = refused.stderr.split('`').nth(1).unwrap().replacen("sendense-ctl", "printf '%s|'", 1);
    let words = std::process::Command::new("sh").arg("-c").arg(typed).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&words.stdout), format!("backup|unprotect|{id}|"), "{refused:#?}");

    start("latest").failed_with(2, &["latest"]);
    assert_eq!(site.json("vm list")["total"], 1);
}

#[test]
fn names_that_could_leave_their_folder_are_refused() {
    let site = Site::embedded();
    let disk = site.disk("disk.raw", MIB, 1, 1);
    let disk = disk.to_str().unwrap();
    let long = "x".repeat(300);
    let refused = [
        ("a/b", "'/'"),
        ("/etc", "'/'"),
        ("../up", "dot"),
        ("..", "dot"),
        (".", "dot"),
        (".hidden", "dot"),
        ("a/../../b", "'/'"),
        ("a\\b", "'\\\\'"),
        (long.as_str(), "300 bytes"),
        ("a\nb", "'\\n'"),
        ("a\tb", "'\\t'"),
        ("a\u{1b}[31mb", "'\\u{1b}'"),
        ("a\u{7f}b", "'\\u{7f}'"),
        ("a\u{9b}b", "'\\u{9b}'"),
        ("", "empty"),
        (" ", "white space"),
        (" a", "white space"),
        ("a ", "white space"),
        ("-rf", "dash"),
        ("a@b", "'@'"),
        ("a~1", "'~'"),
        ("a\u{202e}b", "'\\u{202e}'"),
    ];
    for (name, why) in refused {
        let named = format!("--vm={name}");
        for arguments in [
            &["backup", "start", &named, "--source", disk][..],
            &["vm", "add", "--disk", disk, "--", name],
            &["backup", "list", &named],
            &["backup", "chain", &named],
        ] {
            let run = site.run_args(arguments);
            run.failed_with(2, &[why]);
            assert!(run.stderr.lines().count() <= 3, "{run:#?}");
            assert!(!run.stderr.contains(|c: char| c.is_control() && c != '\n'), "raw controls: {run:#?}");
            assert!(run.stdout.is_empty());
        }
    }
    assert!(!site.state().exists(), "a refused name makes nothing");
    assert_eq!(fs::read_dir(site.path("")).unwrap().count(), 1);
}

#[test]
fn names_as_people_give_them_go_through_everything() {
    cycle(&["web server 1", "😀 vm 🚀", "Größe-äöüß", "データベース"]);
}

#[test]
fn names_that_a_shell_or_a_url_would_read_go_through_everything() {
    cycle(&["it's \"quoted\" $HOME", "a..b", "50%,#1?", &"n".repeat(128)]);
}

/// Every command that names a VM or a point, with each of these names.
fn cycle(names: &[&str]) {
    if !have(&["qemu-img", "sqlite3"]) {
        return;
    }
    let site = Site::embedded();
    for (n, &name) in names.iter().enumerate() {
        let disk = site.disk(&format!("{n}.raw"), 4 * MIB, 2, n as u64);
        let uri = disk.to_str().unwrap().to_owned();
        let started = ok(&site, &["backup", "start", "--vm", name, "--source", &uri]);
        assert!(started.stdout.contains(name), "{started:#?}");
        scribble(&disk, 1, 9);
        ok(&site, &["backup", "start", "--vm", name, "--type", "incremental"]);

        let listed = ok(&site, &["backup", "list", "--vm", name, "--json"]);
        let listed: serde_json::Value = serde_json::from_str(&listed.stdout).unwrap();
        let points = listed["backups"].as_array().unwrap();
        assert_eq!(points.len(), 2, "{name}");
        assert!(points.iter().all(|point| point["vm_name"] == name));
        let id = points[0]["id"].as_str().unwrap();
        assert!(site.repository().join(name).join("disk-0").is_dir());
        site.assert_point_equals(id, 0, &disk);

        let newest = format!("{name}@latest");
        for arguments in [
            &["backup", "list", "--vm", name][..],
            &["backup", "chain", "--vm", name],
            &["backup", "show", &newest],
            &["backup", "show", id],
            &["backup", "tag", &newest, "--set", "looked=yes"],
            &["vm", "show", name],
        ] {
            let run = ok(&site, arguments);
            let said = format!("{}{}", run.stdout, run.stderr);
            assert!(said.contains(name) || name.len() > 40, "{name}: {run:#?}");
        }
        ok(&site, &["backup", "verify", &newest]);
        let target = site.path(&format!("restored {name}").chars().take(60).collect::<String>());
        ok(&site, &["restore", "disk", &newest, "--to", target.to_str().unwrap()]);
        assert!(same_bytes(&target, &disk), "{name}");
    }

    // The catalog is found again in the files, whatever they are called.
    let before = site.points();
    for ending in ["", "-wal", "-shm"] {
        fs::remove_file(site.state().join(format!("catalog.db{ending}"))).ok();
    }
    site.ok("repo scan default");
    assert_eq!(site.points().len(), before.len());
    for name in names {
        for address in [format!("{name}@latest~1"), format!("{name}@latest")] {
            ok(&site, &["backup", "delete", &address, "--cascade", "--yes"]);
            if !site.repository().join(name).exists() {
                break;
            }
        }
    }
    assert!(site.points().is_empty());
    assert!(site.files_ending(".qcow2").is_empty());
    site.assert_nothing_left_over();
}

/// What the shell is offered after these words; the last is the one under the cursor.
fn offered(site: &Site, words: &[&str]) -> Vec<String> {
    let mut command = site.command(["--", "sendense-ctl"]);
    command.args(words).env("COMPLETE", "bash").env("_CLAP_IFS", "\n");
    let output = command.env("_CLAP_COMPLETE_INDEX", words.len().to_string()).output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn names_are_completed_whole() {
    let site = Site::new();
    let disk = site.disk("disk.raw", MIB, 1, 1);
    let disk = disk.to_str().unwrap();
    for name in ["web server 1", "😀 vm", "Größe"] {
        ok(&site, &["backup", "start", "--vm", name, "--source", disk]);
    }
    // An answer that takes too long is none at all, and this machine may be busy: ask until there is one.
    for (words, whole) in [
        (&["backup", "list", "--vm", "we"][..], "web server 1"),
        (&["backup", "list", "--vm", "😀"], "😀 vm"),
        (&["backup", "chain", "--vm", "Grö"], "Größe"),
        (&["backup", "show", "Größe@"], "Größe@latest"),
        (&["backup", "verify", "web server 1@l"], "web server 1@latest"),
    ] {
        crate::harness::eventually(whole, std::time::Duration::from_secs(10), || {
            offered(&site, words).iter().any(|word| word == whole)
        });
    }
    let ids = site.points();
    let id = ids[0]["id"].as_str().unwrap();
    crate::harness::eventually(id, std::time::Duration::from_secs(10), || {
        offered(&site, &["backup", "show", &id[..id.len() - 4]]).iter().any(|word| word == id)
    });
}

#[test]
fn repositories_and_tags_have_names_too() {
    let site = Site::new();
    let disk = site.disk("disk.raw", MIB, 1, 1);
    let disk = disk.to_str().unwrap();
    let folder = site.path("repo with spaces 📦");
    ok(&site, &["repo", "create", "Büro 📦", "--path", folder.to_str().unwrap()]);
    ok(
        &site,
        &["backup", "start", "--vm", "pg", "--source", disk, "--repo", "Büro 📦", "--tag", "wer=Jürgen 😀"],
    );
    let shown = site.json("backup show latest");
    assert_eq!(shown["backup"]["tags"]["wer"], "Jürgen 😀");
    assert!(folder.join("pg").is_dir());
    ok(&site, &["repo", "scan", "Büro 📦"]);
    for name in ["a/b", "..", "a\u{1b}b"] {
        let elsewhere = site.path("elsewhere");
        let run = site.run_args(["repo", "create", "--path", elsewhere.to_str().unwrap(), "--", name]);
        run.failed_with(2, &[]);
        assert!(!elsewhere.exists());
    }
}

#[test]
fn what_is_to_be_typed_next_is_quoted() {
    let site = Site::new();
    let disk = site.disk("disk.raw", MIB, 1, 1);
    ok(&site, &["vm", "add", "it's my vm", "--disk", disk.to_str().unwrap()]);
    fs::remove_file(&disk).unwrap();
    let run = site.run_args(["backup", "start", "--vm", "it's my vm"]);
    run.failed_with(13, &["vm show 'it'\\''s my vm';", "backup retry 'backup-it'\\''s my vm-"]);
    // The proof of it: a shell takes the line apart as it was meant.
    let retry = run.stderr.split("then: sendense-ctl ").nth(1).unwrap().trim();
    site.disk("disk.raw", MIB, 1, 1);
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &format!("exec {} {retry}", env!("CARGO_BIN_EXE_sendense-ctl"))]);
    assert!(command.env("SENDENSE_HOME", site.state()).output().unwrap().status.success(), "{retry}");
    assert_eq!(site.points().len(), 1);
}
