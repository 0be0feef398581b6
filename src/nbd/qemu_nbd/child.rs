//! A child process that is watched by a thread of its own.
//!
//! The thread starts the child (so that the child dies with the thread, not with the caller's), reads its
//! standard error to the end, keeping the last of it, and reaps it. Dropping the [`Child`] kills the process
//! and waits for the thread; neither a zombie nor a pipe remains.

use super::death::die_with_this_thread;
use crate::wire::printable;
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{ChildStderr, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

/// Bytes kept of what it says.
const KEPT: usize = 4096;

/// A running child.
pub(super) struct Child {
    shared: Arc<Shared>,
    watcher: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    process: Option<std::process::Child>,
    said: Vec<u8>,
    ended: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Child {
    /// Starts `program`.
    pub(super) fn spawn(program: &str, arguments: &[OsString]) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.args(arguments).env("LC_ALL", "C").process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        die_with_this_thread(&mut command);
        let shared = Arc::new(Shared::default());
        let (started, starting) = mpsc::channel();
        let watcher = std::thread::Builder::new().name("qemu-nbd".into()).spawn({
            let shared = shared.clone();
            move || match command.spawn() {
                Err(error) => {
                    // The receiver waits for exactly this one message.
                    let _ = started.send(Err(error));
                }
                Ok(mut process) => {
                    let stderr = process.stderr.take();
                    shared.lock().process = Some(process);
                    let _ = started.send(Ok(()));
                    watch(&shared, stderr);
                }
            }
        })?;
        let gone = || io::Error::other("the thread that starts it ended");
        starting.recv().unwrap_or_else(|_| Err(gone()))?;
        Ok(Child { shared, watcher: Some(watcher) })
    }

    /// What it said last, if it has ended.
    pub(super) fn last_words(&self) -> Option<String> {
        self.last_words_within(Duration::ZERO)
    }

    /// What it said last, if it has ended or does so within `patience`.
    pub(super) fn last_words_within(&self, patience: Duration) -> Option<String> {
        let state = self.shared.lock();
        let (state, _) = self
            .shared
            .ended
            .wait_timeout_while(state, patience, |state| !state.ended)
            .unwrap_or_else(PoisonError::into_inner);
        state.ended.then(|| {
            // The program's name before each line is no news.
            let text = String::from_utf8_lossy(&state.said);
            let lines: Vec<&str> = text
                .lines()
                .map(|line| line.trim().trim_start_matches("qemu-nbd: "))
                .filter(|l| !l.is_empty())
                .collect();
            printable(lines.join("; ").as_bytes())
        })
    }
}

/// Reads what the child says until it ends, and reaps it.
fn watch(shared: &Shared, stderr: Option<ChildStderr>) {
    if let Some(mut stderr) = stderr {
        let mut piece = [0; 512];
        loop {
            match stderr.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => {
                    let mut state = shared.lock();
                    state.said.extend_from_slice(piece.get(..read).unwrap_or_default());
                    let excess = state.said.len().saturating_sub(KEPT);
                    state.said.drain(..excess);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
    }
    let mut state = shared.lock();
    if let Some(mut process) = state.process.take() {
        // Its standard error is closed, so it has ended or is past caring.
        let _ = process.kill();
        let _ = process.wait();
    }
    state.ended = true;
    shared.ended.notify_all();
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Some(process) = self.shared.lock().process.as_mut() {
            // Fails only where it has ended by itself.
            let _ = process.kill();
        }
        if let Some(watcher) = self.watcher.take() {
            // A panic in the watcher has nothing left to undo here.
            let _ = watcher.join();
        }
    }
}
