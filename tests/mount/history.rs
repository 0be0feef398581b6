//! All points of a VM as folders of their times.

use super::{PATIENCE, Unmounts, can_mount, guest, mounts, sh};
use crate::harness::{Site, eventually};
use std::fs;
use std::path::Path;

/// The folders of a mount of all points, oldest first, without the link.
fn folders(mnt: &Path) -> Vec<String> {
    let names = fs::read_dir(mnt).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name != "latest").collect();
    names.sort();
    names
}

#[test]
fn every_point_is_a_folder_of_its_time_opened_when_entered_and_closed_when_unused() {
    if !can_mount(&["debugfs"]) {
        return;
    }
    let site = Site::new();
    let disk = guest(&site, "web", &[("version", "0\n"), ("etc/hostname", "web\n")]);
    let mut points = vec![site.backup(&format!("--vm web --source {}", disk.display()))];
    let publish = |version: usize| {
        fs::write(site.path("version"), format!("{version}\n")).unwrap();
        sh(&format!(
            "debugfs -w -R 'rm version' '{disk}' 2>/dev/null; debugfs -w -R 'write {file} version' '{disk}' >/dev/null 2>&1",
            file = site.path("version").display(),
            disk = disk.display()
        ));
        site.backup("--vm web")
    };
    points.extend((1..4).map(publish));
    let _unmounts = Unmounts(&site);
    let mnt = site.path("history");
    let mounted = site.json("backup mount --all --vm web {}/history --idle 2s");
    assert_eq!(mounted["backup_id"], serde_json::Value::Null);
    let leases = || site.sql("SELECT count(*) FROM leases WHERE operation = 'mount'");
    let names = folders(&mnt);
    assert_eq!(names.len(), 4);
    for name in &names {
        assert!(name.len() >= 20 && name[10..11] == *"T" && name[..4].parse::<u32>().is_ok(), "{name}");
    }
    sh(&format!("ls -l '{}' >/dev/null", mnt.display()));
    assert_eq!(leases(), "0", "looking at the list opens none");
    assert_eq!(fs::read_link(mnt.join("latest")).unwrap().to_str(), Some(names[3].as_str()));
    for (version, name) in names.iter().enumerate() {
        assert_eq!(fs::read_to_string(mnt.join(name).join("version")).unwrap(), format!("{version}\n"));
    }
    assert_eq!(fs::read_to_string(mnt.join("latest/version")).unwrap(), "3\n");
    assert_eq!(sh(&format!("cat '{}'/*/etc/hostname", mnt.display())), "web\n".repeat(5));

    // A point with an open file stays open and can't be deleted; the others are closed, and one of them can.
    let mut file = fs::File::open(mnt.join(&names[3]).join("version")).unwrap();
    eventually("all but the one in use are closed", PATIENCE, || leases() == "1");
    let refused = site.run(&format!("backup delete {} --yes", points[3]));
    refused.failed_with(5, &[&points[3], mnt.to_str().unwrap(), "restore unmount"]);
    site.ok(&format!("backup delete {} --merge --yes", points[1]));
    eventually("what is deleted disappears", PATIENCE, || folders(&mnt).len() == 3);
    assert!(!mnt.join(&names[1]).exists());
    let mut text = String::new();
    std::io::Read::read_to_string(&mut file, &mut text).unwrap();
    assert_eq!(text, "3\n");
    drop(file);
    // Opened again, unchanged.
    assert_eq!(fs::read_to_string(mnt.join(&names[0]).join("version")).unwrap(), "0\n");

    points.push(publish(4));
    eventually("a new point appears", PATIENCE, || folders(&mnt).len() == 4);
    eventually("it is the latest", PATIENCE, || {
        fs::read_to_string(mnt.join("latest/version")).is_ok_and(|text| text == "4\n")
    });
    assert_eq!(mounts(&site).len(), 1);
    site.ok("restore unmount {}/history");
    site.assert_nothing_left_over();
}
