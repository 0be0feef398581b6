//! Twenty mounts and fifty readers or downloads at once, while a second VM is backed up and a point of a third deleted.

use super::{PATIENCE, Unmounts, can_mount, guest, mounts};
use crate::harness::{MIB, Random, Running, Site};
use std::fs;
use std::process::{Command, Stdio};

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

/// A download that takes its time, so that all of them run at once: curl, to a file.
fn download(site: &Site, session: &str, path: &str, to: &str) -> Running {
    let address = format!("http://localhost/api/v1/restore/{session}/download?path={path}");
    let mut curl = Command::new("curl");
    curl.args(["-s", "-S", "--fail-with-body", "--limit-rate", "400k", "--max-time", "120", "--unix-socket"]);
    curl.arg(site.state().join("hub.sock")).arg("-o").arg(site.path(to)).arg(address);
    Running::start(curl.stdout(Stdio::piped()).stderr(Stdio::piped()))
}

/// Unmounts all of a hub's mounts when the test ends, whatever happened.
struct UnmountsOfHub<'a>(&'a Site);

impl Drop for UnmountsOfHub<'_> {
    fn drop(&mut self) {
        let _ = self.0.bare_run("restore unmount --all --force");
    }
}

#[test]
fn a_hub_with_twenty_mounts_and_fifty_downloads_backs_up_and_deletes_meanwhile() {
    if !can_mount(&["curl"]) {
        return;
    }
    let site = Site::new();
    let text: Vec<String> = (0..4).map(|n| Random(n).next().to_string().repeat(60_000)).collect();
    let names = ["a/0", "a/1", "b/2", "b/3"];
    let files: Vec<(&str, &str)> =
        names.iter().zip(&text).map(|(name, text)| (*name, text.as_str())).collect();
    let disk = guest(&site, "web", &files);
    let other = site.disk("other.raw", 64 * MIB, 40, 5);
    let third = site.disk("third.raw", 16 * MIB, 8, 6);
    for line in [
        format!("web --source {}", disk.display()),
        "web --compress".to_owned(),
        format!("other --source {}", other.display()),
        format!("third --source {}", third.display()),
    ] {
        site.bare_ok(&format!("backup start --vm {line}"));
    }
    let all = site.bare_json("backup list")["backups"].as_array().unwrap().clone();
    let points: Vec<&str> = all
        .iter()
        .filter(|point| point["vm_name"] == "web")
        .map(|point| point["id"].as_str().unwrap())
        .collect();
    let hub = site.serve(&["--no-listen"]);
    let _unmounts = UnmountsOfHub(&site);
    let spawn = |line: String| {
        let mut command = site.bare_command(line.split(' '));
        Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()))
    };
    let ended = |running: Running| {
        let run = running.wait(PATIENCE * 2);
        assert_eq!(run.code, 0, "{run:#?}");
        run.stdout
    };
    let mounting: Vec<Running> = (0..20)
        .map(|n| {
            let mnt = site.path(&format!("mnt{n}"));
            spawn(format!("backup mount {} {} --json", points[n % 2], mnt.display()))
        })
        .collect();
    let sessions: Vec<String> = mounting
        .into_iter()
        .map(|running| {
            let mount: serde_json::Value = serde_json::from_str(&ended(running)).unwrap();
            mount["mount_id"].as_str().unwrap().to_owned()
        })
        .collect();

    // Sixty, of which ten are killed in the middle: their work ends with them.
    let mut downloads: Vec<Running> = (0..60)
        .map(|n| download(&site, &sessions[n % 20], &format!("/{}", names[n % 4]), &format!("got{n}")))
        .collect();
    let backup = spawn("backup start --vm other --type full --bandwidth 16M".to_owned());
    let delete = spawn("backup delete third@latest --yes".to_owned());
    for mut killed in downloads.split_off(50) {
        assert!(killed.0.try_wait().unwrap().is_none(), "a download was over before it was killed");
    }
    std::thread::scope(|scope| {
        for mount in 0..20usize {
            let (site, text) = (&site, &text);
            scope.spawn(move || {
                for file in [mount % 4, (mount + 1) % 4] {
                    let path = site.path(&format!("mnt{mount}")).join(names[file]);
                    assert!(fs::read_to_string(&path).unwrap() == text[file], "{}", path.display());
                }
            });
        }
    });
    for (n, running) in downloads.into_iter().enumerate() {
        ended(running);
        let got = fs::read_to_string(site.path(&format!("got{n}"))).unwrap();
        assert!(got == text[n % 4], "download {n} brought {} bytes", got.len());
    }
    ended(backup);
    ended(delete);
    site.bare_ok("backup verify --all");
    site.bare_ok("restore unmount --all");
    let open = site.bare_json("restore resources");
    assert_eq!(open["resources"]["active_mounts"], 0, "{open}");
    assert_eq!(site.sql("SELECT count(*) FROM restore_mounts"), "0");
    site.assert_nothing_left_over();
    let folders = (0..20).filter(|n| site.path(&format!("mnt{n}")).exists()).count();
    assert_eq!(folders, 0, "folders that were made for mounts are left");
    hub.running.signal("TERM");
    assert_eq!(hub.running.wait(PATIENCE).code, 0);
}
