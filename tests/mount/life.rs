//! How mounts begin, are used, and end: by command, by themselves, by signals, by being killed.

use super::{Ground, PATIENCE, Standing, gone, is_mounted, mounts};
use crate::harness::{Running, eventually};
use std::fs;
use std::process::Stdio;

#[test]
fn a_mount_is_there_when_the_command_returns_is_listed_and_leaves_nothing() {
    let Some(site) = Ground::new() else { return };
    let point = site.point.clone();
    let (new, old) = (site.path("new"), site.path("old"));
    fs::create_dir(&old).unwrap();
    let run = site.ok(&format!("backup mount --backup-id {point} --path {{}}/new"));
    let id = run.stdout.trim();
    assert!(id.starts_with("mount-") && run.stderr.contains("restore unmount"), "{run:#?}");
    assert_eq!(fs::read_to_string(new.join("etc/hostname")).unwrap(), "web\n");
    site.ok("backup mount web@latest old --idle 2h");
    assert_eq!(fs::read_to_string(old.join("var/www/index.php")).unwrap(), "<?php\n");

    let listed = mounts(&site);
    assert_eq!(listed.len(), 2);
    assert_eq!(
        (&listed[0]["backup_id"], &listed[0]["mount_path"]),
        (&point.clone().into(), &new.to_str().unwrap().into())
    );
    assert_eq!((&listed[1]["idle_seconds"], &listed[1]["vm_name"]), (&7200.into(), &"web".into()));
    let table = site.ok("restore mounts").stdout;
    assert!(table.contains(id) && table.contains(&point) && table.contains("mounted"), "{table}");
    let resources = site.json("restore resources");
    assert_eq!(resources["resources"]["active_mounts"], 2);
    assert!(resources["resources"]["memory_bytes"].as_u64().unwrap() > 1 << 20);
    assert_eq!(resources["cleanup"]["dead_mounts"], 0);

    // By a folder as it is typed, and by the beginning of an id.
    site.ok("restore unmount ./old/");
    assert!(old.is_dir() && fs::read_dir(&old).unwrap().next().is_none());
    site.ok(&format!("restore unmount {}", &id[..12]));
    assert!(!new.exists());
    assert!(mounts(&site).is_empty());
    gone(&site, &new);
}

#[test]
fn a_mounted_point_can_not_be_deleted_or_merged_away_and_the_mount_is_named() {
    let Some(site) = Ground::new() else { return };
    let full = site.point.clone();
    let newer = site.backup("--vm web");
    site.ok(&format!("backup mount {full} {{}}/mnt"));
    let mnt = &site.mnt;
    for how in ["--cascade", "--merge"] {
        let run = site.run(&format!("backup delete {full} {how} --yes"));
        run.failed_with(5, &[&full, mnt.to_str().unwrap(), "process", "restore unmount mount-"]);
    }
    // One that nobody looks at can be.
    site.ok(&format!("backup delete {newer} --yes"));
    site.ok("restore unmount --all");
    site.ok(&format!("backup delete {full} --yes"));
    site.assert_nothing_left_over();
}

#[test]
fn a_busy_mount_names_who_uses_it_and_goes_lazily_or_by_force() {
    let Some(site) = Ground::new() else { return };
    let mnt = &site.mnt;
    site.ok("backup mount latest {}/mnt");
    let standing = Standing::in_folder(&mnt.join("etc"));
    let pid = standing.0.id().to_string();
    site.run("restore unmount {}/mnt").failed_with(5, &["sleep", &pid, "--lazy"]);
    assert!(is_mounted(mnt));
    let inside = format!("/proc/{pid}/cwd/hostname");
    let run = site.ok("restore unmount {}/mnt --lazy");
    assert!(run.stdout.contains("out of sight"), "{run:#?}");
    assert!(!is_mounted(mnt));
    assert_eq!(fs::read_to_string(&inside).unwrap(), "web\n", "who was in it still is");
    drop(standing);
    gone(&site, mnt);
    assert!(!mnt.exists());

    site.ok("backup mount latest {}/mnt");
    let standing = Standing::in_folder(&mnt.join("etc"));
    site.ok("restore unmount {}/mnt --force");
    gone(&site, mnt);
    assert!(fs::read(format!("/proc/{}/cwd/hostname", standing.0.id())).is_err());
}

#[test]
fn a_mount_closes_itself_when_nobody_has_used_it_and_not_while_somebody_does() {
    let Some(site) = Ground::new() else { return };
    let mnt = &site.mnt;
    site.ok("backup mount latest {}/mnt --idle 1s");
    let first = mounts(&site)[0]["expires_at"].as_str().unwrap().to_owned();
    let file = fs::File::open(mnt.join("etc/hostname")).unwrap();
    // Longer than its idle time, which the times that it tells show.
    eventually("an open file counts as use, again and again", PATIENCE, || {
        let open = mounts(&site);
        assert_eq!(open.len(), 1, "closed although a file of it is open");
        open[0]["used_at"].as_str().unwrap() > first.as_str()
    });
    assert!(is_mounted(mnt));
    drop(file);
    gone(&site, mnt);
    assert!(!mnt.exists());
}

#[test]
fn what_is_killed_is_cleaned_up_by_the_next_start() {
    let Some(site) = Ground::embedded() else { return };
    let point = site.point.clone();
    let mnt = &site.mnt;
    let mounted = site.json("backup mount latest {}/mnt");
    super::sh(&format!("kill -9 {}", mounted["pid"]));
    eventually("the mount is dead", PATIENCE, || fs::read_dir(mnt).is_err());
    let run = site.ok("backup list");
    assert!(run.stderr.contains(mnt.to_str().unwrap()) && run.stderr.contains("unmounted"), "{run:#?}");
    gone(&site, mnt);
    assert!(!mnt.exists(), "its folder too");
    site.ok(&format!("backup delete {point} --yes"));
    site.assert_nothing_left_over();
}

#[test]
fn signals_and_umount_end_a_mount_cleanly() {
    let Some(site) = Ground::embedded() else { return };
    let mnt = &site.mnt;
    for signal in ["TERM", "HUP", "INT"] {
        let mounted = site.json("backup mount latest {}/mnt");
        super::sh(&format!("kill -{signal} {}", mounted["pid"]));
        gone(&site, mnt);
        eventually("its folder is removed", PATIENCE, || !mnt.exists());
    }
    site.ok("backup mount latest {}/mnt");
    super::sh(&format!("fusermount3 -u '{}'", mnt.display()));
    gone(&site, mnt);
    eventually("its folder is removed", PATIENCE, || !mnt.exists());

    let mut command =
        site.command(["backup", "mount", "latest", mnt.to_str().unwrap(), "--foreground", "--json"]);
    let running = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    eventually("it is mounted", PATIENCE, || mnt.join("etc/hostname").exists());
    let standing = Standing::in_folder(mnt);
    running.signal("INT");
    let run = running.wait(PATIENCE);
    assert_eq!(run.code, 0, "{run:#?}");
    assert!(run.stdout.contains("\"mount_id\":\"mount-"), "{run:#?}");
    drop(standing);
    gone(&site, mnt);
}

#[test]
fn unmount_completes_ids_and_folders() {
    let Some(site) = Ground::new() else { return };
    let mounted = site.json("backup mount latest {}/mnt");
    let complete = |word: &str| {
        let mut command = site.command(["--", "sendense-ctl", "restore", "unmount", word]);
        command.env("COMPLETE", "bash").env("_CLAP_IFS", "\n").env("_CLAP_COMPLETE_INDEX", "3");
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let id = mounted["mount_id"].as_str().unwrap();
    eventually("the id is completed", PATIENCE, || complete("mount-").contains(id));
    let path = mounted["mount_path"].as_str().unwrap();
    eventually("the folder is completed", PATIENCE, || complete(&path[..path.len() - 2]).contains(path));
}
