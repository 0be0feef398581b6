//! Pages of what a hub lists and finds: one listing, whoever asks between, and no page costs the work of all.

use super::{Answer, curl, socket};
use crate::harness::{Serving, Site, have};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Command;

/// A site with a VM whose disk holds a tree below `/srv`, and what is in that tree, in the order of a listing.
fn tree(folders: usize, files: usize) -> (Site, Vec<String>) {
    let site = Site::new();
    let root = site.path("root");
    for folder in 0..folders {
        let path = root.join(format!("srv/{folder:02}/inner"));
        fs::create_dir_all(&path).unwrap();
        for file in 0..files {
            fs::write(path.join(format!("file-{file:03}")), format!("{folder} {file}\n").repeat(500))
                .unwrap();
        }
    }
    let disk = site.path("disk.raw");
    let mut make = Command::new("mke2fs");
    make.args(["-q", "-t", "ext4", "-N", "20000", "-d"]).arg(&root).arg(&disk).arg("96M");
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    assert!(make.env("PATH", path).status().unwrap().success());
    site.bare_ok(&format!("backup start --vm web --source {}", disk.display()));
    let mut listed = Vec::new();
    list(&root.join("srv"), "/srv", &mut listed);
    (site, listed)
}

fn list(folder: &Path, shown: &str, into: &mut Vec<String>) {
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()).collect();
    names.sort_by_key(|entry| entry.file_name());
    for entry in names {
        let path = format!("{shown}/{}", entry.file_name().to_str().unwrap());
        into.push(path.clone());
        if entry.path().is_dir() {
            list(&entry.path(), &path, into);
        }
    }
}

fn get(site: &Site, path: &str) -> Value {
    let answer = curl(&["--unix-socket", &socket(site)], &format!("http://localhost/api/v1{path}"));
    assert_eq!(answer.status, 200, "{path}: {}", answer.json());
    answer.json()
}

fn post(site: &Site, path: &str, body: &Value) -> Answer {
    let (own, body) = (socket(site), body.to_string());
    let arguments = ["--unix-socket", &own, "-H", "Content-Type: application/json", "-d", &body];
    curl(&arguments, &format!("http://localhost/api/v1{path}"))
}

fn paths(page: &Value) -> Vec<String> {
    let files = page["files"].as_array().unwrap().iter();
    files.map(|file| file["path"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn pages_of_a_tree_and_of_a_pattern_are_one_listing_each_whoever_asks_between() {
    if !have(&["mke2fs", "curl"]) {
        return;
    }
    let (site, listed) = tree(12, 100);
    let _hub = site.serve(&["--no-listen"]);
    let id = site.points()[0]["id"].as_str().unwrap().to_owned();
    let mount = post(&site, "/restore/mount", &json!({ "backup_id": id, "volume": "disk0" })).json();
    let session = mount["mount_id"].as_str().unwrap();
    let routes =
        ["files?path=/srv&recursive=true", "glob?path=/srv/**", "files?path=/srv&recursive=true&count=false"];
    let mut found = [const { Vec::<String>::new() }; 3];
    let mut offset = 0;
    loop {
        let mut more = false;
        for (route, found) in routes.iter().zip(&mut found) {
            let page = get(&site, &format!("/restore/{session}/{route}&limit=83&offset={offset}"));
            let these = paths(&page);
            found.extend(these);
            more = page["more"] == true;
            assert_eq!(more, found.len() < listed.len(), "{route} at {offset}");
            let all = if route.ends_with("count=false") { found.len() } else { listed.len() };
            assert_eq!(page["total_count"], all, "{route} at {offset}");
        }
        offset += 83;
        if !more {
            break;
        }
    }
    for (route, found) in routes.iter().zip(&found) {
        assert_eq!(*found, listed, "{route}");
    }
    // A page that nobody comes to in order.
    let page = get(&site, &format!("/restore/{session}/{}&limit=5&offset=700", routes[0]));
    assert_eq!(paths(&page), listed[700..705]);
    let page = get(&site, &format!("/restore/{session}/{}&limit=5&offset=100000", routes[1]));
    assert_eq!((paths(&page).len(), &page["more"]), (0, &false.into()));
    // The command asks for pages of a thousand.
    let shown = site.bare_ok("backup ls -R web@latest /srv --volume disk0").stdout;
    let shown: Vec<&str> = shown.lines().map(|line| line.trim_end_matches('/')).collect();
    assert_eq!(shown, listed);
}

/// Bytes that a process has read, whatever from.
fn read_by(hub: &Serving) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/io", hub.running.0.id())).unwrap();
    text.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

#[test]
fn the_next_page_of_a_search_or_comparison_is_of_what_was_found_and_reads_nothing() {
    if !have(&["mke2fs", "curl", "debugfs"]) {
        return;
    }
    let (site, listed) = tree(4, 100);
    let disk = site.path("disk.raw");
    for file in ["00/inner/file-007", "01/inner/file-001", "03/inner/file-099"] {
        let mut remove = Command::new("/usr/sbin/debugfs");
        remove.args(["-w", "-R", &format!("rm /srv/{file}")]).arg(&disk);
        assert!(remove.output().unwrap().status.success());
    }
    site.bare_ok("backup start --vm web");
    let hub = site.serve(&["--no-listen"]);
    let points: Vec<String> =
        site.points().iter().map(|point| point["id"].as_str().unwrap().to_owned()).collect();
    let question = "/search/files?vm_name=web&pattern=file-*&path=/srv&volume=disk0";
    let begun = read_by(&hub);
    let first = get(&site, &format!("{question}&limit=150"));
    let searched = read_by(&hub) - begun;
    assert_eq!((&first["total"], paths(&first).len()), (&400.into(), 150));
    let cursor = first["cursor"].as_str().unwrap();
    let (mut found, mut read) = (paths(&first), 0);
    for offset in [150, 300] {
        let begun = read_by(&hub);
        let page = get(&site, &format!("{question}&limit=150&offset={offset}&cursor={cursor}"));
        read += read_by(&hub) - begun;
        assert_eq!((&page["total"], &page["statistics"]), (&400.into(), &first["statistics"]));
        found.extend(paths(&page));
    }
    let files: Vec<String> = listed.iter().filter(|path| path.contains("file-")).cloned().collect();
    assert_eq!(found, files);
    assert!(searched > 1 << 20, "{searched} bytes of the disk were looked at");
    assert!(read < 64 << 10, "two more pages read {read} bytes, and the first {searched}");
    // Of another question, and without a cursor, it is the work once more.
    for other in [
        format!("/search/files?vm_name=web&pattern=file-00*&path=/srv&volume=disk0&limit=3&cursor={cursor}"),
        format!("{question}&limit=3&offset=3"),
    ] {
        let begun = read_by(&hub);
        let page = get(&site, &other);
        assert_eq!(paths(&page).len(), 3);
        assert!(read_by(&hub) - begun > 256 << 10, "{other}");
    }

    let question = format!("/backups/{}/diff/{}?volume=disk0&path=/", points[1], points[0]);
    let first = get(&site, &format!("{question}&limit=1"));
    let cursor = first["cursor"].as_str().unwrap();
    let total = first["total"].as_u64().unwrap();
    let path = |page: &Value| page["changes"][0]["path"].as_str().unwrap().to_owned();
    let mut changed = vec![path(&first)];
    for offset in 1..total {
        let begun = read_by(&hub);
        let page = get(&site, &format!("{question}&limit=1&offset={offset}&cursor={cursor}"));
        assert!(read_by(&hub) - begun < 32 << 10);
        changed.push(path(&page));
    }
    assert_eq!(changed, ["/srv/00/inner/file-007", "/srv/01/inner/file-001", "/srv/03/inner/file-099"]);
    site.assert_nothing_left_over();
}
