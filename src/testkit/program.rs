//! Programs that others wrote, and waiting for them.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// True where `program` is on the search path. Where it is not, the test is to return: this has then said
/// so on stderr, or has failed the test, where `SENDENSE_REQUIRE_ALL=1` demands every program (as in CI).
///
/// # Panics
/// With `SENDENSE_REQUIRE_ALL=1`, where the program is missing.
pub fn require(program: &str) -> bool {
    if find(program).is_some() {
        return true;
    }
    assert!(
        std::env::var_os("SENDENSE_REQUIRE_ALL").is_none_or(|value| value != "1"),
        "{program} is not installed, and SENDENSE_REQUIRE_ALL=1 demands it"
    );
    eprintln!("SKIPPED: {program} is not installed");
    false
}

/// Runs a program to its end and gives back its standard output.
///
/// # Panics
/// Where it can't be started or fails; the message holds the command and what it said on stderr.
pub fn run<I, S>(program: &str, args: I) -> String
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null());
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => panic!("{command:?}: {error}"),
    };
    assert!(
        output.status.success(),
        "{command:?} ended with {}: {}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Looks at `condition` until it holds; false where it does not within `limit`.
pub fn wait_until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Where `program` is, if anywhere on the search path or in the system folders that users' paths leave out.
fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")])
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_by_name() {
        assert!(require("sh"));
    }

    #[test]
    fn waiting_ends_at_the_deadline() {
        let started = Instant::now();
        assert!(!wait_until(Duration::from_millis(20), || false));
        assert!(started.elapsed() >= Duration::from_millis(20));
        assert!(wait_until(Duration::ZERO, || true));
    }

    #[test]
    fn output_is_given_back() {
        assert_eq!(run("sh", ["-c", "echo yes"]), "yes\n");
    }
}
