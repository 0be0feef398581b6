//! The scripts that administrators have: `tests/scripts/`, written as the contract reads, run against a hub over TLS and
//! over loopback, and judged by themselves (fields, statuses) and by what they have done.

use crate::harness::{MIB, Run, Serving, Site, have, same_bytes};
use std::fs;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

const PASSWORD: &str = "correct horse battery";
const PROGRAMS: [&str; 7] = ["bash", "curl", "jq", "qemu-img", "mke2fs", "debugfs", "unzip"];

/// A hub with a VM `web`, whose disk is a guest's.
struct Hub {
    // Ended before its folder goes.
    serving: Serving,
    site: Site,
    disk: PathBuf,
    root: PathBuf,
    scheme: &'static str,
}

impl Hub {
    fn new(scheme: &'static str) -> Hub {
        let site = Site::new();
        let root = guest(&site);
        let disk = site.path("web.raw");
        run("mke2fs", &["-q", "-t", "ext4", "-d", root.to_str().unwrap(), disk.to_str().unwrap(), "32M"]);
        let serving = site.serve(&["--listen", &format!("{scheme}://127.0.0.1:0")]);
        let mut init = site.bare_command(["hub", "init"]);
        init.env("SENDENSE_PASSWORD", PASSWORD);
        let init = Run::finished(init);
        assert_eq!(init.code, 0, "{init:#?}");
        site.bare_ok(&format!("vm add web --disk {}", disk.display()));
        Hub { serving, site, disk, root, scheme }
    }

    fn command(&self, line: &str) -> Command {
        let mut words = line.split(' ');
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
        let mut command = Command::new("bash");
        command.arg(folder.join(words.next().unwrap())).args(words);
        command.env("HUB_URL", self.serving.address(&format!("{}:", self.scheme)));
        command.env("HUB_USER", "admin").env("HUB_PASSWORD", PASSWORD);
        command.env("CURL_CA_BUNDLE", self.site.state().join("tls/cert.pem"));
        command.env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap()));
        command
    }

    /// What a script printed.
    fn script(&self, line: &str) -> String {
        let done = Run::finished(self.command(line));
        assert_eq!(done.code, 0, "{done:#?}");
        done.stdout.trim().to_owned()
    }

    /// A backup by a script: its id and its file.
    fn backup(&self, line: &str) -> (String, PathBuf) {
        let printed = self.script(line);
        let (id, file) = printed.split_once(' ').unwrap();
        (id.to_owned(), PathBuf::from(file))
    }

    /// The guest writes a file.
    fn write(&self, name: &str, content: &str) {
        let file = self.site.path("written");
        fs::write(&file, content).unwrap();
        let request = format!("write {} {name}", file.display());
        run("debugfs", &["-w", "-R", &request, self.disk.to_str().unwrap()]);
    }
}

fn run(program: &str, arguments: &[&str]) -> String {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
    let done = Command::new(program).args(arguments).env("PATH", path).output().unwrap();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{program} {arguments:?}: {said}");
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// What the guest holds.
fn guest(site: &Site) -> PathBuf {
    let root = site.path("root");
    for folder in ["etc", "data/deep/er"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    fs::write(root.join("etc/hostname"), "debian\n").unwrap();
    symlink("hostname", root.join("etc/link")).unwrap();
    fs::write(root.join("data/deep/er/ünïcode name.txt"), "text\n").unwrap();
    let large = fs::File::create(root.join("data/large.bin")).unwrap();
    for (number, offset) in (0..MIB).step_by(1000).enumerate() {
        large.write_all_at(format!("{number} at {offset}\n").as_bytes(), offset).unwrap();
    }
    root
}

/// The files behind a file of a chain, itself first, as QEMU sees them.
fn backing_chain(file: &Path) -> Vec<PathBuf> {
    let arguments = ["info", "-U", "--backing-chain", "--output=json", file.to_str().unwrap()];
    let told: serde_json::Value = serde_json::from_str(&run("qemu-img", &arguments)).unwrap();
    let files = told.as_array().unwrap().iter().map(|file| file["filename"].as_str().unwrap());
    files.map(|file| fs::canonicalize(file).unwrap()).collect()
}

fn holds(file: &Path, raw: &Path) {
    run(
        "qemu-img",
        &["compare", "-q", "-f", "qcow2", "-F", "raw", file.to_str().unwrap(), raw.to_str().unwrap()],
    );
}

fn the_older_routes(scheme: &'static str) {
    let hub = Hub::new(scheme);
    let (full, first) = hub.backup("older-backup.sh web full");
    holds(&first, &hub.disk);
    hub.write("etc/motd", "later\n");
    let (incremental, second) = hub.backup("older-backup.sh web incremental");
    holds(&second, &hub.disk);
    assert_eq!(backing_chain(&second), [&second, &first].map(|file| fs::canonicalize(file).unwrap()));
    assert_eq!(hub.script("older-chain.sh web"), format!("2\n{full}\n{incremental}"));
    hub.script(&format!("older-delete.sh {incremental}"));
    assert_eq!(hub.script("older-chain.sh web"), format!("1\n{full}"));
    assert!(!second.exists() && first.exists());
    hub.script(&format!("older-delete.sh {full}"));
    assert!(!first.exists());
}

fn the_routes_of_today(scheme: &'static str) {
    let hub = Hub::new(scheme);
    let (full, first) = hub.backup("backup.sh web full");
    hub.write("etc/motd", "later\n");
    let (second_id, second) = hub.backup("backup.sh web incremental");
    hub.write("etc/issue", "later still\n");
    let (_, third) = hub.backup("backup.sh web auto");
    holds(&third, &hub.disk);
    let files: Vec<PathBuf> = [&third, &second, &first].map(|file| fs::canonicalize(file).unwrap()).into();
    assert_eq!(backing_chain(&third), files);
    let listed = hub.script("chain.sh web");
    let told: Vec<PathBuf> = listed.lines().skip(1).map(|file| fs::canonicalize(file).unwrap()).collect();
    assert_eq!((listed.lines().next(), told), (Some("3"), files.into_iter().rev().collect()));
    hub.script(&format!("search.sh web {full} {second_id}"));
    hub.script(&format!("delete.sh {second_id}"));
    assert!(first.exists() && !second.exists() && !third.exists());
    let (last_id, last) = hub.backup("backup.sh web incremental");
    hub.script(&format!("manage.sh web {full}"));
    holds(&last, &hub.disk);
    assert_eq!(backing_chain(&last).len(), 1);
    hub.script(&format!("older-delete.sh {last_id}"));
    assert_eq!(hub.site.points().len(), 0);
    hub.site.assert_nothing_left_over();
}

fn files_are_restored(scheme: &'static str) {
    let hub = Hub::new(scheme);
    let (id, _) = hub.backup("backup.sh web full");
    let out = hub.site.path("out");
    hub.script(&format!("restore-files.sh {id} {}", out.display()));
    let names = fs::read_to_string(out.join("names")).unwrap();
    assert!(
        ["data", "etc", "lost+found"].iter().all(|name| names.lines().any(|line| line == *name)),
        "{names}"
    );
    assert!(same_bytes(&out.join("hostname"), &hub.root.join("etc/hostname")));
    assert!(same_bytes(&out.join("large.bin"), &hub.root.join("data/large.bin")));
    for unpacked in ["zip", "tar"] {
        let folder = out.join(unpacked).join("data");
        run("diff", &["-r", folder.to_str().unwrap(), hub.root.join("data").to_str().unwrap()]);
    }
    let target = hub.site.path("restored.raw");
    hub.script(&format!("restore-disk.sh {id} {}", target.display()));
    assert!(same_bytes(&target, &hub.disk));
}

fn the_hub_is_managed(scheme: &'static str) {
    let hub = Hub::new(scheme);
    let folder = hub.site.path("nas");
    hub.script(&format!("repositories.sh nas {}", folder.display()));
    assert!(folder.is_dir(), "the folder stays");
    hub.script("service.sh");
    hub.script("refusals.sh");
}

macro_rules! both_ways {
    ($($name:ident => $over_tls:ident, $over_loopback:ident;)+) => {$(
        #[test]
        fn $over_tls() {
            if have(&PROGRAMS) {
                $name("https");
            }
        }

        #[test]
        fn $over_loopback() {
            if have(&PROGRAMS) {
                $name("http");
            }
        }
    )+};
}

both_ways! {
    the_older_routes => scripts_of_the_older_routes_run_over_tls, scripts_of_the_older_routes_run_over_loopback;
    the_routes_of_today => scripts_of_todays_routes_run_over_tls, scripts_of_todays_routes_run_over_loopback;
    files_are_restored => restore_scripts_run_over_tls, restore_scripts_run_over_loopback;
    the_hub_is_managed => scripts_that_manage_the_hub_run_over_tls, scripts_that_manage_the_hub_run_over_loopback;
}

#[test]
fn a_script_ends_with_an_error_where_the_hub_says_no() {
    if !have(&PROGRAMS) {
        return;
    }
    let hub = Hub::new("https");
    for (line, said) in
        [("older-backup.sh none full", "vm_not_found"), ("older-delete.sh backup-x-1", "backup_not_found")]
    {
        let done = Run::finished(hub.command(line));
        assert!(done.code != 0 && format!("{}{}", done.stdout, done.stderr).contains(said), "{done:#?}");
    }
    let mut wrong = hub.command("service.sh");
    let done = Run::finished({
        wrong.env("HUB_PASSWORD", "wrong");
        wrong
    });
    assert!(done.code != 0, "{done:#?}");
    let mut other = hub.command("service.sh");
    other.env("CURL_CA_BUNDLE", "/etc/ssl/certs/ca-certificates.crt");
    let done = Run::finished(other);
    assert!(
        done.code != 0 && done.stderr.contains("certificate"),
        "an unknown certificate is not trusted: {done:#?}"
    );
}
