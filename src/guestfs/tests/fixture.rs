//! Images that mkfs makes and a real mount fills.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs a shell script with `set -eu`, and gives what it printed.
///
/// # Panics
/// Where it fails, with all that it said.
#[track_caller]
pub fn sh(script: &str) -> String {
    run(script).unwrap_or_else(|error| panic!("{error}"))
}

fn run(script: &str) -> Result<String, String> {
    let out = Command::new("bash")
        .args(["-c", &format!("set -eu\nexport PATH=$PATH:/usr/sbin:/sbin\n{script}")])
        .output()
        .expect("bash runs");
    let (stdout, stderr) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    match out.status.success() {
        true => Ok(stdout.into_owned()),
        false => Err(format!("{script}\n{stdout}\n{stderr}")),
    }
}

/// Whether this test can run: `programs` are there, and this user may mount (root). Otherwise says so loudly, and fails
/// where nothing may be skipped.
pub fn can_mount(programs: &[&str]) -> bool {
    if !programs.iter().all(|program| testkit::require(program)) {
        return false;
    }
    if rustix::process::geteuid().is_root() {
        return true;
    }
    assert!(
        std::env::var("SENDENSE_REQUIRE_ALL").is_err(),
        "mounting needs root, and nothing may be skipped"
    );
    eprintln!("SKIPPED: mounting needs root");
    false
}

/// A mount that is taken down when it is dropped.
pub struct Mounted(pub PathBuf);

impl Mounted {
    /// Mounts `image` at a new folder beside it, through a loop device of its own (or as `options` say).
    #[track_caller]
    pub fn new(image: &Path, options: &str) -> Self {
        Mounted::attempt(image, options).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The same; `None`, said aloud, where the kernel refuses to.
    pub fn if_possible(image: &Path, options: &str) -> Option<Self> {
        Mounted::attempt(image, options).inspect_err(|error| eprintln!("the kernel refuses: {error}")).ok()
    }

    fn attempt(image: &Path, options: &str) -> Result<Self, String> {
        let at = image.with_extension(format!("mnt{}", image.with_extension("").display().to_string().len()));
        fs::create_dir_all(&at).unwrap();
        run(&format!("mount -o loop,{options} '{}' '{}'", image.display(), at.display()))?;
        Ok(Mounted(at))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}
