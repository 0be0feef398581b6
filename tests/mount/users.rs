//! Mounts of ordinary users: what they see of their own, who else gets in, how they end.

use super::{PATIENCE, can_mount, guest, is_mounted, is_root, sh};
use crate::harness::{Run, Site, eventually};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Users of no name and no rights.
const MINE: u32 = 1000;
const ANOTHER: u32 = 1001;

/// A site that is an ordinary user's, with a point of one VM.
struct Own {
    site: Site,
    program: PathBuf,
}

/// A process that is ended with the test.
struct Held(Child);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A program run as that user.
fn by(user: u32, program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.arg(format!("--reuid={user}")).arg(format!("--regid={user}")).arg("--clear-groups").arg(program);
    command.stdin(Stdio::null());
    command
}

impl Own {
    /// `None` where there can't be one.
    fn new() -> Option<Own> {
        if !can_mount(&["setpriv", "mkfs.ext4"]) || !is_root() {
            return None;
        }
        if sh("stat -c %a /dev/fuse").trim() != "666" {
            // As every distribution has it; here it is only for root.
            sh("chmod 0666 /dev/fuse");
        }
        let site = Site::new();
        let disk = guest(&site, "mine", &[("etc/shadow", "root:secret\n"), ("etc/hostname", "mine\n")]);
        sh(&format!(
            "debugfs -w -R 'set_inode_field etc/shadow mode 0100600' '{}' 2>/dev/null; chmod 0755 '{folder}'; chown -R {MINE}:{MINE} '{folder}'",
            disk.display(),
            folder = site.path("").display()
        ));
        // Where it was built, nobody else may get to.
        let program = site.path("sendense-ctl");
        fs::copy(env!("CARGO_BIN_EXE_sendense-ctl"), &program).unwrap();
        let own = Own { site, program };
        own.ok(&format!("backup start --vm mine --source {}", disk.display()));
        Some(own)
    }

    /// What the user's command says; `{}` is the site's folder.
    fn run(&self, line: &str) -> Run {
        let folder = self.site.path("");
        let line = line.replace("{}", folder.to_str().unwrap().trim_end_matches('/'));
        let mut command = by(MINE, &self.program);
        command.args(line.split(' ')).env("SENDENSE_HOME", self.site.state()).env("HOME", &folder);
        command.env("XDG_CONFIG_HOME", self.site.path("config")).current_dir(folder);
        Run::finished(command)
    }

    fn ok(&self, line: &str) -> Run {
        let run = self.run(line);
        assert_eq!(run.code, 0, "{run:#?}");
        run
    }

    /// What `cat` of a user shows of the mount, or nothing where it is not let in.
    fn cat(&self, user: u32, path: &str) -> Option<String> {
        let shown = by(user, Path::new("cat")).arg(self.site.path("mnt").join(path)).output().unwrap();
        shown.status.success().then(|| String::from_utf8(shown.stdout).unwrap())
    }

    /// A process of a user that stands in a folder of the mount.
    fn standing(&self, user: u32, path: &str) -> Held {
        let script =
            format!("cd '{}' && echo in && exec sleep 600", self.site.path("mnt").join(path).display());
        let mut command = by(user, Path::new("bash"));
        let mut child = command.args(["-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = [0; 3];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut said).unwrap();
        Held(child)
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let _ = self.run("restore unmount --all --force");
    }
}

#[test]
fn an_ordinary_user_mounts_and_reads_what_is_roots_and_nobody_else_gets_in() {
    let Some(own) = Own::new() else { return };
    own.ok("backup mount mine@latest {}/mnt --idle 5m");
    let mnt = own.site.path("mnt");
    assert!(is_mounted(&mnt));
    assert_eq!(own.cat(MINE, "etc/shadow").as_deref(), Some("root:secret\n"));
    assert_eq!(own.cat(ANOTHER, "etc/hostname"), None);
    // Not even root, which the kernel keeps out of what an ordinary user serves.
    assert!(fs::read(mnt.join("etc/hostname")).is_err());
    assert!(own.ok("restore mounts").stdout.contains("fuse"));
    own.ok("restore unmount {}/mnt");
    eventually("it is unmounted", PATIENCE, || !is_mounted(&mnt));
    // What is killed leaves a dead mount; the next command of the same user removes it.
    let said = own.ok("backup mount mine@latest {}/mnt --json").stdout;
    let mounted: serde_json::Value = serde_json::from_str(&said).unwrap();
    sh(&format!("kill -9 {}", mounted["pid"]));
    own.ok("backup list");
    eventually("it is cleaned up", PATIENCE, || !is_mounted(&mnt));
    own.run("backup mount mine@latest {}/kernel --kernel").failed_with(12, &[]);
}

#[test]
fn an_ordinary_users_busy_mount_names_its_process_and_goes_lazily_or_by_force() {
    let Some(own) = Own::new() else { return };
    let mnt = own.site.path("mnt");
    for how in ["--lazy", "--force"] {
        own.ok("backup mount mine@latest {}/mnt");
        let held = own.standing(MINE, "etc");
        let pid = held.0.id().to_string();
        let path = mnt.to_str().unwrap();
        own.run("restore unmount mnt").failed_with(5, &[path, "sleep", &pid, "--lazy"]);
        assert!(is_mounted(&mnt), "a refusal leaves it");
        own.ok(&format!("restore unmount {{}}/mnt {how}"));
        assert!(!is_mounted(&mnt), "{how}");
        drop(held);
        eventually("nothing is left of it", PATIENCE, || {
            own.site.sql("SELECT count(*) FROM restore_mounts") == "0"
                && own.site.sql("SELECT count(*) FROM leases") == "0"
                && !mnt.exists()
        });
    }
}

/// What `/etc/fuse.conf` says until it is dropped: another file stands there, and that one is never written to.
struct FuseConf;

impl FuseConf {
    fn with(site: &Site, line: &str) -> FuseConf {
        let file = site.path("fuse.conf");
        fs::write(&file, format!("{line}\n")).unwrap();
        sh(&format!(
            "[ -e /etc/fuse.conf ] || touch /etc/fuse.conf; mount --bind '{}' /etc/fuse.conf",
            file.display()
        ));
        FuseConf
    }
}

impl Drop for FuseConf {
    fn drop(&mut self) {
        sh("umount /etc/fuse.conf");
    }
}

#[test]
fn others_are_let_in_where_the_machine_allows_it_and_the_refusal_says_what_it_takes() {
    let Some(own) = Own::new() else { return };
    let mnt = own.site.path("mnt");
    let denied = FuseConf::with(&own.site, "#user_allow_other");
    let run = own.run("backup mount mine@latest {}/mnt --allow-other");
    run.failed_with(12, &["user_allow_other", "/etc/fuse.conf", "without --allow-other"]);
    assert!(!mnt.exists() && !is_mounted(&mnt));
    drop(denied);

    let _allowed = FuseConf::with(&own.site, "user_allow_other");
    own.ok("backup mount mine@latest {}/mnt --allow-other");
    // As far as the guest's permissions let them.
    assert_eq!(own.cat(ANOTHER, "etc/hostname").as_deref(), Some("mine\n"));
    assert_eq!(own.cat(ANOTHER, "etc/shadow"), None);
    assert_eq!(own.cat(0, "etc/shadow").as_deref(), Some("root:secret\n"));
    // A process that this user can't look at holds it, and that is said.
    let held = own.standing(ANOTHER, "etc");
    own.run("restore unmount {}/mnt").failed_with(5, &["can't be seen", "sudo fuser", "--lazy"]);
    drop(held);
    eventually("it is unmounted", PATIENCE, || own.run("restore unmount {}/mnt").code == 0);
    assert!(!is_mounted(&mnt));
}
