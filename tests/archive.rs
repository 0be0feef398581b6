//! Archives out of backups: to files and pipes, unpacked by the programs of others; what a broken-off one leaves; and
//! how far an extraction is.

use crate::harness::{MIB, Random, Running, Site, eventually, have};
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn sh(script: &str) -> String {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let done = Command::new("bash").args(["-ec", script]).env("PATH", path).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{script}\n{said}");
    String::from_utf8_lossy(&done.stdout).into_owned()
}

const UUID: &str = "6d0e2d5c-3f0a-4b9e-9d0f-2f1f3c5a7b11";

/// A disk with one file system of what is in `root`.
fn disk(site: &Site, root: &Path) -> PathBuf {
    // What makes it a system, whose root stands at /.
    ["etc", "usr"].iter().for_each(|name| fs::create_dir_all(root.join(name)).unwrap());
    fs::write(root.join("etc/fstab"), format!("UUID={UUID} / ext4 defaults 0 1\n")).unwrap();
    fs::write(root.join("etc/os-release"), "ID=testix\n").unwrap();
    let disk = site.path("guest.raw");
    sh(&format!("mke2fs -q -t ext4 -U {UUID} -d '{}' '{}' 64M", root.display(), disk.display()));
    disk
}

/// A guest with something of everything, backed up as `web`.
fn guest(site: &Site) -> PathBuf {
    let root = site.path("root");
    for folder in ["etc", "srv/www/img", "home/me"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    fs::write(root.join("etc/hostname"), "guest\n").unwrap();
    fs::write(root.join("etc/passwd"), "root:x:0:0\n").unwrap();
    fs::set_permissions(root.join("etc/passwd"), fs::Permissions::from_mode(0o4640)).unwrap();
    for number in 0..300 {
        fs::write(root.join(format!("srv/www/img/{number}.jpg")), vec![number as u8; number * 50]).unwrap();
    }
    fs::hard_link(root.join("srv/www/img/7.jpg"), root.join("srv/www/img/same.jpg")).unwrap();
    symlink("../../etc/hostname", root.join("srv/www/host")).unwrap();
    symlink("/etc/shadow", root.join("srv/www/absolute")).unwrap();
    fs::write(root.join("home/me/data.zip"), "no archive at all").unwrap();
    let sparse = fs::File::create(root.join("home/me/sparse")).unwrap();
    sparse.set_len(30 * MIB).unwrap();
    sparse.write_all_at(b"end", 20 * MIB).unwrap();
    sh(&format!("touch -d '1965-03-04 05:06:07 UTC' '{}'", root.join("etc/hostname").display()));
    site.backup(&format!("--vm web --source {}", disk(site, &root).display()));
    root
}

fn same_tree(a: &Path, b: &Path) {
    let done = Command::new("diff").args(["-r", "--no-dereference"]).args([a, b]).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
}

/// Everything but what is in `names`, in the site's folder, so that nothing is left over unseen.
fn partials(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).into_iter().flatten().flatten();
    names
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.contains("partial"))
        .collect()
}

#[test]
fn every_format_unpacks_to_what_the_guest_had() {
    if !have(&["mke2fs", "tar", "unzip", "zstd"]) {
        return;
    }
    let site = Site::new();
    let root = guest(&site);
    for (name, unpack) in [
        ("all.tar", "tar -xpf"),
        ("all.tar.gz", "tar -xpzf"),
        ("all.tar.zst", "tar --zstd -xpf"),
        ("all.tgz", "tar -xpzf"),
        ("all.zip", "unzip -q"),
    ] {
        let run = site.ok(&format!("backup extract web@latest /etc /srv /home --output {{}}/{name}"));
        assert!(run.stderr.contains("307 files") && run.stderr.contains(name), "{run:#?}");
        let out = site.path("out");
        fs::remove_dir_all(&out).ok();
        fs::create_dir(&out).unwrap();
        sh(&format!("cd '{}' && {unpack} '{}'", out.display(), site.path(name).display()));
        for folder in ["etc", "srv", "home"] {
            same_tree(&root.join(folder), &out.join(folder));
        }
        let stat = |name: &str| fs::symlink_metadata(out.join(name)).unwrap();
        assert_eq!(stat("etc/passwd").mode() & 0o7777, 0o640, "{name}: setuid only with --special");
        if name != "all.zip" {
            assert_eq!(stat("srv/www/img/7.jpg").ino(), stat("srv/www/img/same.jpg").ino());
            assert_eq!(
                stat("etc/hostname").mtime(),
                fs::metadata(root.join("etc/hostname")).unwrap().mtime()
            );
            assert!(stat("home/me/sparse").blocks() * 512 < MIB, "holes stay holes");
        }
        assert_eq!(fs::metadata(site.path(name)).unwrap().mode() & 0o777, 0o600, "it holds what was private");
    }
    let kept = site.ok("backup extract latest /etc/passwd --archive tar --special --output -").stdout;
    assert!(kept.contains("0004640"), "with --special the bits are kept");
    site.assert_nothing_left_over();
}

#[test]
fn an_archive_goes_through_a_pipe_and_only_what_was_meant_is_packed() {
    if !have(&["mke2fs", "tar"]) {
        return;
    }
    let site = Site::new();
    guest(&site);
    let program = env!("CARGO_BIN_EXE_sendense-ctl");
    let listed = sh(&format!(
        "set -o pipefail; SENDENSE_HOME='{}' {program} backup extract latest '/srv/www/img/1?.jpg' /etc --archive tar.gz \
         --output - | tar -tzf -",
        site.state().display()
    ));
    let names: Vec<_> = listed.lines().collect();
    assert!(names.contains(&"10.jpg") && names.contains(&"etc/hostname") && names.len() == 15, "{listed}");
    // A reader that has seen enough is no failure.
    sh(&format!(
        "SENDENSE_HOME='{}' {program} backup extract latest / --archive tar --output - | head -c 1000 >/dev/null; \
         test ${{PIPESTATUS[0]}} = 0",
        site.state().display()
    ));
    // One file is that file, whatever it is called.
    site.ok("backup extract latest /home/me/data.zip --output {}/data.zip");
    assert_eq!(fs::read_to_string(site.path("data.zip")).unwrap(), "no archive at all");
    site.ok("backup extract latest /home/me/data.zip --archive zip --output {}/packed.zip");
    assert!(fs::read(site.path("packed.zip")).unwrap().starts_with(b"PK"));
    let run = site.ok("backup extract latest /etc --archive zip --output {}/etc.zip --json");
    let lines: Vec<serde_json::Value> =
        run.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let summary = lines.last().unwrap();
    assert_eq!((&summary["message_type"], &summary["files"]), (&"summary".into(), &4.into()), "{run:#?}");
    site.assert_nothing_left_over();
}

#[test]
fn an_archive_is_whole_or_not_there() {
    if !have(&["mke2fs", "unzip"]) {
        return;
    }
    let site = Site::new();
    let root = site.path("root");
    fs::create_dir_all(root.join("srv")).unwrap();
    fs::write(root.join("srv/first"), "first").unwrap();
    // Takes minutes to pack, and nothing to store.
    fs::File::create(root.join("srv/huge")).unwrap().set_len(1 << 40).unwrap();
    let id = site.backup(&format!("--vm web --source {}", disk(&site, &root).display()));
    let folder = site.path("target");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("old.zip"), "old").unwrap();
    for (signal, code, name) in [("INT", 130, "new.zip"), ("TERM", 143, "old.zip")] {
        let path = folder.join(name);
        let mut command =
            site.command(["backup", "extract", "latest", "/srv", "--overwrite", "always", "--output"]);
        let running = Running::start(command.arg(&path).stdout(Stdio::null()).stderr(Stdio::piped()));
        eventually("the archive is begun", Duration::from_secs(20), || !partials(&folder).is_empty());
        running.signal(signal);
        let run = running.wait(Duration::from_secs(20));
        assert_eq!(run.code, code, "{run:#?}");
        assert!(run.stderr.lines().count() <= 3 && run.stderr.contains("stopped"), "{run:#?}");
        assert_eq!(partials(&folder), Vec::<String>::new());
    }
    assert!(!folder.join("new.zip").exists());
    assert_eq!(fs::read_to_string(folder.join("old.zip")).unwrap(), "old", "what was there is there");
    // What exists is not replaced unasked, and that is said before any work.
    site.run("backup extract latest /srv --output {}/target/old.zip")
        .failed_with(5, &["old.zip", "--overwrite"]);
    site.run("backup extract latest /srv --archive zip --output {}/target")
        .failed_with(2, &["folder", "zip"]);
    site.run("backup extract latest /srv --archive rar --output {}/x").failed_with(2, &["rar", "tar.gz"]);
    site.run("backup extract latest /srv /nothing --archive tar --output {}/x.tar")
        .failed_with(4, &["/nothing"]);
    site.run("backup extract latest /srv --no-owner --output {}/x.tar").failed_with(2, &["--no-same-owner"]);
    assert!(!site.path("x").exists() && !site.path("x.tar").exists());
    site.ok(&format!("backup delete {id} --yes"));
    site.assert_nothing_left_over();
}

#[test]
fn what_is_damaged_is_left_out_and_told() {
    if !have(&["mke2fs", "tar", "debugfs"]) {
        return;
    }
    let site = Site::new();
    let root = site.path("root");
    fs::create_dir_all(root.join("srv")).unwrap();
    for name in ["a", "b", "c"] {
        fs::write(root.join("srv").join(name), name.repeat(9000)).unwrap();
    }
    let disk = disk(&site, &root);
    // An inode whose checksum is wrong.
    sh(&format!("debugfs -w -R 'set_inode_field /srv/b checksum 0x1234' '{}' 2>/dev/null", disk.display()));
    site.backup(&format!("--vm web --source {}", disk.display()));
    let run = site.run("backup extract latest /srv --output {}/srv.tar");
    assert_eq!(run.code, 3, "{run:#?}");
    assert!(run.stderr.contains("/srv/b") && run.stderr.contains("1 could not be extracted"), "{run:#?}");
    let report = sh(&format!("tar -xOf '{}' SENDENSE-REPORT.txt", site.path("srv.tar").display()));
    assert!(report.contains("/srv/b") && !report.contains("/srv/a"), "{report}");
    let listed = sh(&format!("tar -tf '{}'", site.path("srv.tar").display()));
    assert!(listed.contains("srv/a") && listed.contains("srv/c") && !listed.contains("srv/b"), "{listed}");
    let run = site.run("backup extract latest /srv --output {}/out");
    assert_eq!(run.code, 3, "{run:#?}");
    assert_eq!(fs::read_dir(site.path("out/srv")).unwrap().count(), 2);
}

#[test]
fn devices_come_out_as_root_with_special_only() {
    if !have(&["mke2fs", "tar"]) || !rustix::process::geteuid().is_root() {
        return;
    }
    let site = Site::new();
    let root = site.path("root");
    fs::create_dir_all(root.join("dev")).unwrap();
    sh(&format!(
        "cd '{}/dev' && mknod null c 1 3 && mknod loop0 b 7 0 && mkfifo pipe && touch suid && chmod 6755 suid",
        root.display()
    ));
    site.backup(&format!("--vm web --source {}", disk(&site, &root).display()));
    let run = site.ok("backup extract latest /dev --output {}/plain");
    assert!(run.stderr.contains("3 device nodes"), "{run:#?}");
    assert_eq!(fs::read_dir(site.path("plain/dev")).unwrap().count(), 1);
    assert_eq!(fs::metadata(site.path("plain/dev/suid")).unwrap().mode() & 0o7777, 0o755);
    let listed = sh_tar(&site, "backup extract latest /dev --archive tar --output {}/plain.tar", "plain.tar");
    assert!(!listed.contains("null") && !listed.contains("rws"), "{listed}");
    let listed =
        sh_tar(&site, "backup extract latest /dev --archive tar --special --output {}/all.tar", "all.tar");
    assert!(listed.lines().any(|line| line.starts_with("crw") && line.contains("1,3")), "{listed}");
    assert!(listed.lines().any(|line| line.starts_with("brw") && line.contains("7,0")), "{listed}");
    assert!(listed.contains("rwsr-sr-x") && listed.contains("dev/pipe"), "{listed}");
    site.ok("backup extract latest /dev --special --output {}/all");
    assert_eq!(fs::read_dir(site.path("all/dev")).unwrap().count(), 4);
    assert_eq!(fs::metadata(site.path("all/dev/suid")).unwrap().mode() & 0o7777, 0o6755);
    assert_eq!(fs::symlink_metadata(site.path("all/dev/null")).unwrap().rdev(), 0x103);
}

fn sh_tar(site: &Site, line: &str, name: &str) -> String {
    site.ok(line);
    sh(&format!("tar --numeric-owner -tvf '{}'", site.path(name).display()))
}

#[test]
fn paths_in_a_backup_are_completed_folder_by_folder() {
    if !have(&["mke2fs", "sqlite3"]) {
        return;
    }
    let site = Site::new();
    let root = site.path("root");
    fs::create_dir_all(root.join("srv/with blank")).unwrap();
    fs::create_dir_all(root.join("sys")).unwrap();
    fs::write(root.join("srv/with blank/it's"), "").unwrap();
    fs::write(root.join("srv/star*"), "").unwrap();
    let id = site.backup(&format!("--vm web --source {}", disk(&site, &root).display()));
    for (words, found) in [
        (vec!["backup", "ls", "web@latest", "/s"], vec!["/srv/", "/sys/"]),
        (vec!["backup", "cat", &id, "/srv/w"], vec!["/srv/with blank/"]),
        (vec!["backup", "stat", "latest", "/etc", "/srv/with blank/"], vec!["/srv/with blank/it's"]),
        (vec!["backup", "extract", "--backup-id", &id, "--file", "/srv/star*"], vec!["/srv/star*"]),
        (vec!["backup", "extract", "latest", "--output", "x", "/sr"], vec!["/srv/"]),
        (vec!["backup", "ls", "--backup-id", &id, "/sy"], vec!["/sys/"]),
        (vec!["backup", "find", "--vm", "web", "/sr"], vec!["/srv/"]),
        (vec!["backup", "find", "*", "--vm", "web", "--path", "/srv/w"], vec!["/srv/with blank/"]),
        (vec!["backup", "find", "*", "--backup-id", &id, "--path", "/sy"], vec!["/sys/"]),
        (vec!["backup", "find", "/srv/st"], vec!["/srv/star*"]),
        (vec!["backup", "diff", "web@latest", &id, "/s"], vec!["/srv/", "/sys/"]),
        (vec!["backup", "cat", &id, "--volume", "d"], vec!["disk0"]),
        (vec!["backup", "mount", &id, "roo"], vec!["root/"]),
        (vec!["backup", "mount", &id[..id.len() - 1]], vec![&id]),
        (vec!["backup", "mount", "--backup-id", &id, "--volume", "disk"], vec!["disk0"]),
    ] {
        // An answer that takes too long is none at all, and this machine may be busy.
        eventually(&format!("{words:?}"), Duration::from_secs(30), || offered(&site, &words) == found);
    }
    // Where there is nothing to offer, there is silence: no such backup, no such folder, a path of this machine.
    for words in [
        vec!["backup", "ls", "nosuch@latest", "/s"],
        vec!["backup", "ls", "latest", "/nothing/"],
        vec!["backup", "ls", "latest", "relative"],
        vec!["backup", "extract", "--file", "/s"],
        vec!["backup", "find", "srv"],
        vec!["backup", "find", "--vm", "nosuch", "/s"],
        vec!["backup", "diff", "latest", "nosuch@latest", "/s"],
        vec!["backup", "mount", "latest", "roo", "x"],
        vec!["backup", "cat", "nosuch", "--volume", "d"],
    ] {
        assert_eq!(offered(&site, &words), Vec::<String>::new(), "{words:?}");
    }
    // A hub elsewhere closes what was opened for an answer that came too late.
    eventually("nothing stays open", Duration::from_secs(60), || {
        site.sql("SELECT count(*) FROM leases") == "0"
    });
    site.assert_nothing_left_over();
    // The shells themselves, with the scripts that they get.
    let surroundings = format!(
        "export SENDENSE_HOME='{}' PATH='{}':\"$PATH\"",
        site.state().display(),
        Path::new(env!("CARGO_BIN_EXE_sendense-ctl")).parent().unwrap().display()
    );
    let bash = format!(
        "{surroundings}; set +e; source <(sendense-ctl completions bash); COMP_LINE='sendense-ctl backup ls latest /srv/w'
         COMP_POINT=${{#COMP_LINE}} COMP_WORDS=($COMP_LINE) COMP_CWORD=4 COMP_TYPE=9
         _sendense_ctl sendense-ctl /srv/w latest 2>/dev/null; echo \"${{COMPREPLY[0]:-}}\""
    );
    eventually("bash", Duration::from_secs(30), || sh(&bash) == "/srv/with\\ blank/\n");
    if have(&["fish"]) {
        let script = "source (sendense-ctl completions fish | psub); complete -C 'sendense-ctl backup ls latest /srv/with\\ '";
        let fish = format!("{surroundings}; exec fish --no-config -c \"{script}\"");
        eventually("fish", Duration::from_secs(30), || sh(&fish).starts_with("/srv/with blank/\tfolder"));
    }
    if have(&["zsh", "tmux"]) {
        zsh_completes(&site, &surroundings);
    }
}

/// In a terminal, with real keys.
fn zsh_completes(site: &Site, surroundings: &str) {
    let socket = site.path("tmux.sock");
    let tmux = |arguments: &[&str]| {
        let mut command = Command::new("tmux");
        command.args(["-u", "-f", "/dev/null", "-S"]).arg(&socket).args(arguments).env_remove("TMUX");
        command.output().unwrap()
    };
    let begin =
        "autoload -U compinit; compinit -u -D; source <(sendense-ctl completions zsh); PS1='> '; clear";
    tmux(&["new-session", "-d", "-x", "120", "-y", "20", &format!("{surroundings}; exec zsh -f -i")]);
    tmux(&["send-keys", "-l", begin]);
    tmux(&["send-keys", "Enter"]);
    tmux(&["send-keys", "-l", "sendense-ctl backup ls latest /srv/w"]);
    let mut pressed: Option<Instant> = None;
    eventually("zsh", Duration::from_secs(30), || {
        // An answer that takes too long is none at all: Tab once more.
        if pressed.is_none_or(|at| at.elapsed() > Duration::from_secs(1)) {
            tmux(&["send-keys", "Tab"]);
            pressed = Some(Instant::now());
        }
        String::from_utf8_lossy(&tmux(&["capture-pane", "-p"]).stdout).contains("/srv/with\\ blank/")
    });
    tmux(&["kill-server"]);
}

/// What bash is offered after these words; the last is the one under the cursor.
fn offered(site: &Site, words: &[&str]) -> Vec<String> {
    let mut command = site.command(["--", "sendense-ctl"]);
    command.args(words).env("COMPLETE", "bash").env("_CLAP_IFS", "\n");
    let output = command.env("_CLAP_COMPLETE_INDEX", words.len().to_string()).output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn what_a_killed_extraction_leaves_is_removed_by_the_next_and_nothing_else_is() {
    if !have(&["mke2fs", "sqlite3"]) {
        return;
    }
    let site = Site::new();
    let root = site.path("root");
    fs::create_dir_all(root.join("srv/inner")).unwrap();
    fs::write(root.join("srv/inner/large"), Random(3).bytes(40 << 20)).unwrap();
    fs::write(root.join("srv/small"), "small").unwrap();
    let disk = site.path("large.raw");
    sh(&format!("mke2fs -q -t ext4 -d '{}' '{}' 80M", root.display(), disk.display()));
    site.backup(&format!("--vm web --source {}", disk.display()));
    let out = site.path("out");
    fs::create_dir_all(out.join("srv/inner")).unwrap();
    let theirs = out.join("srv/inner/.sendense-1-a.partial");
    fs::write(&theirs, "mine").unwrap();
    // Each of them is killed once it has begun its file.
    for (line, folder) in [
        ("backup extract latest /srv --volume disk0 --output {}/out", out.join("srv/inner")),
        ("backup extract latest /srv --volume disk0 --output {}/out/all.tar", out.clone()),
    ] {
        let line = line.replace("{}", site.path("").to_str().unwrap().trim_end_matches('/'));
        let mut command = site.command(line.split(' '));
        let running = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
        eventually("it has begun its file", Duration::from_secs(60), || {
            partials(&folder).len() > usize::from(folder != out)
        });
        running.signal("KILL");
        running.wait(Duration::from_secs(10));
        assert_eq!(partials(&folder).len(), 1 + usize::from(folder != out), "{line}");
    }
    // No system mounts this disk: what stands in /@volumes is all that there is.
    site.ok("backup extract latest / --output {}/all");
    assert!(site.path("all/@volumes/disk0/srv/inner/large").is_file());
    let run = site.ok("backup extract latest /srv --volume disk0 --output {}/out");
    assert_eq!(run.stderr.matches("removed an unfinished file").count(), 2, "{run:#?}");
    assert!(
        fs::read(out.join("srv/inner/large")).unwrap() == fs::read(root.join("srv/inner/large")).unwrap()
    );
    assert!(partials(&out).is_empty());
    assert_eq!(fs::read_to_string(theirs).unwrap(), "mine");
    // A hub elsewhere keeps the session of a killed client until it is idle, or somebody ends it.
    site.ok("restore unmount --all");
    site.assert_nothing_left_over();
}

#[test]
fn folders_of_many_files_come_out_whole() {
    if !have(&["mke2fs"]) {
        return;
    }
    let site = Site::new();
    let root = site.path("root");
    fs::create_dir_all(root.join("many")).unwrap();
    // More than two pages of a listing, and than one batch of contents.
    for number in 0..2300 {
        fs::write(root.join(format!("many/{number}")), format!("{number}\n").repeat(number % 40)).unwrap();
    }
    site.backup(&format!("--vm web --source {}", disk(&site, &root).display()));
    let run = site.ok("backup extract latest /many --output {}/out");
    assert!(run.stderr.contains("2300 files"), "{run:#?}");
    same_tree(&root.join("many"), &site.path("out/many"));
    // What is there already is not asked for again.
    fs::remove_file(site.path("out/many/1")).unwrap();
    fs::write(site.path("out/many/2"), "mine").unwrap();
    let run = site.run("backup extract latest /many --output {}/out --json");
    assert_eq!(run.code, 3, "{run:#?}");
    let summary: serde_json::Value = serde_json::from_str(run.stdout.lines().last().unwrap()).unwrap();
    assert_eq!((&summary["files"], &summary["skipped"]), (&1.into(), &2299.into()));
    assert_eq!(fs::read_to_string(site.path("out/many/2")).unwrap(), "mine");
}
