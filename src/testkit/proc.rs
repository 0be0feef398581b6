//! NBD servers that others wrote, each on a private Unix socket, gone when dropped.
//!
//! The model: a [`Server`] is one child process in a temporary folder of its own, which holds the socket,
//! the pid file and what the child says. The child is ready when it has written its pid file: all three
//! programs do so after they listen. No probe connection is made, so a server that counts its clients (or
//! ends after the first) is seen fresh by the test.
//!
//! Dropping kills the child and waits for it.

use crate::program::wait_until;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// How long a server may take until it listens.
const READY: Duration = Duration::from_secs(20);

/// How long it may take to end by itself.
const END: Duration = Duration::from_secs(20);

/// A running NBD server.
pub struct Server {
    child: Child,
    folder: TempDir,
}

impl Server {
    /// `qemu-nbd` that serves any number of clients: `-t -e 0 -k SOCKET`, then `args`, such as
    /// `["-f", "raw", "-r", "disk.img"]`.
    ///
    /// # Panics
    /// Where it does not come up; so for all constructors.
    pub fn qemu_nbd<S: AsRef<str>>(args: &[S]) -> Server {
        Self::start("qemu-nbd", |folder, command| {
            command.args(["-t", "-e", "0", "-k"]).arg(folder.join(SOCKET));
            command.arg(format!("--pid-file={}", folder.join(PID).display()));
            command.args(args.iter().map(AsRef::as_ref));
        })
    }

    /// `nbdkit -f -U SOCKET`, then `args`, such as `["--filter=error", "file", "disk.img", "error-rate=1"]`.
    pub fn nbdkit<S: AsRef<str>>(args: &[S]) -> Server {
        Self::start("nbdkit", |folder, command| {
            command.args(["-f", "--exit-with-parent", "-U"]).arg(folder.join(SOCKET));
            command.arg("-P").arg(folder.join(PID));
            command.args(args.iter().map(AsRef::as_ref));
        })
    }

    /// `qemu-storage-daemon` with an NBD server on the socket; `args` add the block devices and exports,
    /// such as `["--blockdev", "…,node-name=d", "--export", "type=nbd,id=e,node-name=d,name=disk"]`.
    pub fn storage_daemon<S: AsRef<str>>(args: &[S]) -> Server {
        Self::start("qemu-storage-daemon", |folder, command| {
            let socket = folder.join(SOCKET);
            command
                .arg("--nbd-server")
                .arg(format!("addr.type=unix,addr.path={},max-connections=0", socket.display()));
            command.args(args.iter().map(AsRef::as_ref));
            command.arg("--pidfile").arg(folder.join(PID));
        })
    }

    /// Any server; `arguments` gets the private folder, in which the socket must be named `socket` and the
    /// pid file, written once the server listens, `pid`.
    pub fn start(program: &str, arguments: impl FnOnce(&Path, &mut Command)) -> Server {
        let folder = match tempfile::Builder::new().prefix("sendense-nbd-").tempdir() {
            Ok(folder) => folder,
            Err(error) => panic!("a folder for the socket of {program}: {error}"),
        };
        let said = folder.path().join(SAID);
        let (out, err) = match File::create(&said).and_then(|file| Ok((file.try_clone()?, file))) {
            Ok(files) => files,
            Err(error) => panic!("{}: {error}", said.display()),
        };
        let mut command = Command::new(program);
        arguments(folder.path(), &mut command);
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        let child = match command.spawn() {
            Ok(child) => child,
            Err(error) => panic!("{command:?}: {error}"),
        };
        let mut server = Server { child, folder };
        let mut ended = None;
        let ready = wait_until(READY, || {
            ended = server.ended();
            ended.is_some() || server.listens()
        });
        assert!(ready && ended.is_none(), "{command:?} did not come up ({ended:?}): {}", server.said());
        server
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join(SOCKET)
    }

    /// `nbd+unix:///EXPORT?socket=…`; the export's name is taken as it is.
    pub fn uri(&self, export: &str) -> String {
        format!("nbd+unix:///{export}?socket={}", self.socket().display())
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to stdout and stderr so far.
    pub fn said(&self) -> String {
        fs::read(self.folder.path().join(SAID))
            .map_or_else(|error| error.to_string(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Kills it as `kill -9` does, and waits until it is gone. Its socket file stays, as after a crash.
    pub fn kill(&mut self) {
        // An error means that it has ended already, and `wait` then gives its status.
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// Where it does not.
    pub fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until(END, || {
            status = self.ended();
            status.is_some()
        });
        match status {
            Some(status) => status,
            None => panic!("process {} does not end: {}", self.pid(), self.said()),
        }
    }

    fn listens(&self) -> bool {
        let pid = fs::read(self.folder.path().join(PID)).unwrap_or_default();
        pid.iter().any(u8::is_ascii_digit) && self.socket().exists()
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap_or_else(|error| panic!("process {}: {error}", self.child.id()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

const SOCKET: &str = "socket";
const PID: &str = "pid";
const SAID: &str = "said";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{require, run};

    #[test]
    fn each_server_comes_up_and_goes() {
        let folder = tempfile::tempdir().unwrap();
        let disk = folder.path().join("disk");
        File::create(&disk).unwrap().set_len(1 << 20).unwrap();
        let disk = disk.to_str().unwrap();
        let mut servers = Vec::new();
        if require("qemu-nbd") {
            servers.push((Server::qemu_nbd(&["-f", "raw", disk, "-r"]), ""));
        }
        if require("nbdkit") {
            servers.push((Server::nbdkit(&["-r", "file", disk]), ""));
        }
        if require("qemu-storage-daemon") {
            let blockdev = format!("driver=file,filename={disk},node-name=d,read-only=on");
            let export = "type=nbd,id=e,node-name=d,name=disk";
            let args = ["--blockdev", blockdev.as_str(), "--export", export];
            servers.push((Server::storage_daemon(&args), "disk"));
        }
        for (server, export) in servers {
            let (socket, pid) = (server.socket(), server.pid());
            if require("nbdinfo") {
                assert_eq!(run("nbdinfo", ["--size", &server.uri(export)]), "1048576\n");
            }
            drop(server);
            assert!(!socket.exists());
            assert!(!Path::new(&format!("/proc/{pid}")).exists());
        }
    }

    #[test]
    #[should_panic(expected = "did not come up")]
    fn a_server_that_fails_says_why() {
        Server::start("sh", |_, command| {
            command.args(["-c", "echo no such disk >&2; exit 1"]);
        });
    }
}
