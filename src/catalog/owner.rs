//! Who holds a lease, and whether that process still lives.
//!
//! A pid alone names nobody: it is used again, it means another process in another pid namespace, and
//! nothing on another host. So an owner is (host, machine, boot, pid namespace, pid, start time), and it is
//! called dead only where that is certain: the machine has booted since, or no process of that pid and start
//! time is left in a namespace that we see. Where nothing can be seen, a heartbeat that is older than
//! [`HEARTBEAT_LIMIT`] decides.
//!
//! Not here: leases (`leases`), and what is done about the dead (`hub`).

use jiff::{SignedDuration, Timestamp};
use rustix::io::Errno;
use rustix::process::Pid;
use std::fs;
use std::io;

/// How old the heartbeat of an owner that can't be seen must be to call it dead.
pub const HEARTBEAT_LIMIT: SignedDuration = SignedDuration::from_mins(5);

/// A process, named so that no other is ever taken for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The host's name, for messages.
    pub host: String,
    /// `/etc/machine-id`; empty where there is none.
    pub machine_id: String,
    /// `/proc/sys/kernel/random/boot_id`: names one run of one kernel.
    pub boot_id: String,
    /// Its id within its pid namespace.
    pub pid: u32,
    /// When it started, in clock ticks since boot (field 22 of `/proc/PID/stat`).
    pub pid_start_ticks: u64,
    /// `/proc/PID/ns/pid`.
    pub pid_namespace: String,
}

/// What is known of an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnerState {
    /// It runs.
    Alive,
    /// It is gone for certain, or was not heard of for too long.
    Dead,
    /// It can't be seen from here, and its last sign of life is fresh.
    Unknown,
}

/// What the kernel says of a pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Process {
    Gone,
    Running {
        start_ticks: u64,
    },
    /// It exists, but may not be looked at (`hidepid`).
    Hidden,
}

impl Owner {
    /// This process.
    ///
    /// # Errors
    /// Where `/proc` can't be read.
    pub fn current() -> io::Result<Owner> {
        let pid = std::process::id();
        let Process::Running { start_ticks } = look_at(pid)? else {
            return Err(io::Error::other("/proc does not show this process"));
        };
        let here = Here::look()?;
        Ok(Owner {
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            machine_id: here.machine_id,
            boot_id: here.boot_id,
            pid,
            pid_start_ticks: start_ticks,
            pid_namespace: here.pid_namespace,
        })
    }
}

/// Whether `owner` still lives, seen from this process; `heartbeat_at` is its last sign of life.
pub fn owner_state(owner: &Owner, heartbeat_at: Timestamp, now: Timestamp) -> OwnerState {
    match (Here::look(), look_at(owner.pid)) {
        (Ok(here), Ok(process)) => judge(owner, &here, process, heartbeat_at, now),
        _ => by_heartbeat(heartbeat_at, now),
    }
}

/// Where this process runs.
struct Here {
    machine_id: String,
    boot_id: String,
    pid_namespace: String,
}

impl Here {
    fn look() -> io::Result<Here> {
        let line = |path: &str| fs::read_to_string(path).map(|text| text.trim().to_owned());
        Ok(Here {
            // Containers often have none; it is only needed to tell a reboot from another machine.
            machine_id: line("/etc/machine-id").unwrap_or_default(),
            boot_id: line("/proc/sys/kernel/random/boot_id")?,
            pid_namespace: fs::read_link("/proc/self/ns/pid")?.to_string_lossy().into_owned(),
        })
    }
}

fn judge(
    owner: &Owner,
    here: &Here,
    process: Process,
    heartbeat_at: Timestamp,
    now: Timestamp,
) -> OwnerState {
    if owner.boot_id != here.boot_id {
        let rebooted = !owner.machine_id.is_empty() && owner.machine_id == here.machine_id;
        return if rebooted { OwnerState::Dead } else { by_heartbeat(heartbeat_at, now) };
    }
    if owner.pid_namespace != here.pid_namespace {
        return by_heartbeat(heartbeat_at, now);
    }
    match process {
        Process::Gone => OwnerState::Dead,
        Process::Running { start_ticks } if start_ticks != owner.pid_start_ticks => OwnerState::Dead,
        Process::Running { .. } => OwnerState::Alive,
        Process::Hidden => by_heartbeat(heartbeat_at, now),
    }
}

fn by_heartbeat(heartbeat_at: Timestamp, now: Timestamp) -> OwnerState {
    if now.duration_since(heartbeat_at) > HEARTBEAT_LIMIT { OwnerState::Dead } else { OwnerState::Unknown }
}

/// A process that has ended but was not yet waited for (a zombie) runs nothing any more: it is gone.
fn look_at(pid: u32) -> io::Result<Process> {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => parse_stat(&stat).ok_or_else(|| io::Error::other("/proc/PID/stat can't be read")),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
            Ok(ask_for(pid))
        }
        // The process ended while its entry was read.
        Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => Ok(Process::Gone),
        Err(error) => Err(error),
    }
}

/// `/proc` may hide the processes of others; signal 0 tells whether there is one all the same.
fn ask_for(pid: u32) -> Process {
    let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Process::Gone };
    match rustix::process::test_kill_process(pid) {
        Err(Errno::SRCH) => Process::Gone,
        _ => Process::Hidden,
    }
}

/// proc_pid_stat(5): the name in parentheses may itself hold parentheses and spaces, so fields are counted
/// from the last one: state is field 3, num_threads 20, starttime 22.
fn parse_stat(stat: &str) -> Option<Process> {
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace();
    let state = fields.next()?;
    let threads: u64 = fields.nth(16)?.parse().ok()?;
    let start_ticks = fields.nth(1)?.parse().ok()?;
    // A main thread that has ended while others go on shows as a zombie of several threads.
    let ended = matches!(state, "Z" | "X" | "x") && threads <= 1;
    Some(if ended { Process::Gone } else { Process::Running { start_ticks } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn owner() -> Owner {
        Owner {
            host: "h".into(),
            machine_id: "m".into(),
            boot_id: "b".into(),
            pid: 7,
            pid_start_ticks: 100,
            pid_namespace: "pid:[1]".into(),
        }
    }

    fn here(machine_id: &str, boot_id: &str, pid_namespace: &str) -> Here {
        Here { machine_id: machine_id.into(), boot_id: boot_id.into(), pid_namespace: pid_namespace.into() }
    }

    #[test]
    fn only_who_is_gone_for_certain_or_silent_for_long_is_dead() {
        use OwnerState::{Alive, Dead, Unknown};
        let now: Timestamp = "2025-10-06T12:00:00Z".parse().unwrap();
        let fresh = now - SignedDuration::from_secs(10);
        let old = now - SignedDuration::from_mins(6);
        let running = Process::Running { start_ticks: 100 };
        let reused = Process::Running { start_ticks: 101 };
        for (case, here, process, heartbeat, expected) in [
            ("it runs", here("m", "b", "pid:[1]"), running, fresh, Alive),
            ("it runs but is stopped", here("m", "b", "pid:[1]"), running, old, Alive),
            ("it ended", here("m", "b", "pid:[1]"), Process::Gone, fresh, Dead),
            ("its pid was used again", here("m", "b", "pid:[1]"), reused, fresh, Dead),
            ("it is hidden", here("m", "b", "pid:[1]"), Process::Hidden, fresh, Unknown),
            ("it is hidden and silent", here("m", "b", "pid:[1]"), Process::Hidden, old, Dead),
            ("the machine has booted since", here("m", "c", "pid:[1]"), running, fresh, Dead),
            ("another container", here("m", "b", "pid:[2]"), Process::Gone, fresh, Unknown),
            ("another container, silent", here("m", "b", "pid:[2]"), running, old, Dead),
            ("another machine", here("n", "c", "pid:[1]"), Process::Gone, fresh, Unknown),
            ("another machine, silent", here("n", "c", "pid:[1]"), running, old, Dead),
        ] {
            assert_eq!(judge(&owner(), &here, process, heartbeat, now), expected, "{case}");
        }
        let nameless = Owner { machine_id: String::new(), ..owner() };
        let here = here("", "c", "pid:[1]");
        assert_eq!(judge(&nameless, &here, Process::Gone, fresh, now), Unknown, "machines without an id");
        let future = now + SignedDuration::from_hours(1);
        assert_eq!(by_heartbeat(future, now), Unknown, "a clock that was set back");
    }

    #[test]
    fn this_process_is_alive_and_a_child_is_until_it_ends_waited_for_or_not() {
        let now = Timestamp::now();
        let me = Owner::current().unwrap();
        assert_eq!(owner_state(&me, now, now), OwnerState::Alive);

        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let Process::Running { start_ticks } = look_at(child.id()).unwrap() else { panic!("child not seen") };
        let owner = Owner { pid: child.id(), pid_start_ticks: start_ticks, ..me };
        assert_eq!(owner_state(&owner, now, now), OwnerState::Alive);
        child.kill().unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while owner_state(&owner, now, now) != OwnerState::Dead {
            assert!(std::time::Instant::now() < deadline, "a killed child still counts as alive");
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert_eq!(owner_state(&owner, now, now), OwnerState::Dead);
    }

    #[test]
    fn names_with_parentheses_and_damaged_lines_are_read_safely() {
        let tail = "1 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 0 0";
        let running = Some(Process::Running { start_ticks: 4242 });
        assert_eq!(parse_stat(&format!("7 (a) b) S {tail}")), running);
        assert_eq!(parse_stat(&format!("7 (a) Z {tail}")), Some(Process::Gone));
        let threads = tail.replace("20 0 1 0", "20 0 3 0");
        assert_eq!(parse_stat(&format!("7 (a) Z {threads}")), running);
        for damaged in ["", ")", "7 (a)", "7 (a) S 1 1", "7 (a) S x x x x x x x x x x x x x x x x x x x"] {
            assert_eq!(parse_stat(damaged), None, "{damaged}");
        }
    }
}
