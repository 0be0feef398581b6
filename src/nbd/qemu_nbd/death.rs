//! Tying a child's life to the thread that starts it.
//!
//! The only place of this crate that needs `unsafe`: the kernel takes the wish for a death signal only from
//! the child itself, between fork and exec.
#![allow(unsafe_code)]

use rustix::io::Errno;
use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Has the kernel kill the child when the thread that spawns it ends, be it with the whole process.
pub(super) fn die_with_this_thread(command: &mut Command) {
    let parent = getpid();
    let wish = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // Where the parent died before the wish was heard, nobody would ever send the signal.
        if getppid() == Some(parent) { Ok(()) } else { Err(Errno::SRCH.into()) }
    };
    // SAFETY: between fork and exec only what is async-signal-safe may be done. `wish` makes two system calls
    // directly, allocates nothing, takes no lock and touches no memory but its own copy of `parent`.
    unsafe {
        command.pre_exec(wish);
    }
}
