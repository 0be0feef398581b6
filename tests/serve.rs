//! Backups served over NBD: read, copied, written to and booted by the programs of others; and how that ends.

use crate::harness::{MIB, Random, Running, Site, eventually, have, same_bytes};
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Output, Stdio};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);

/// A running `backup serve --json`, which has said that it is ready.
struct Serving {
    running: Running,
    stdout: BufReader<ChildStdout>,
    said: serde_json::Value,
}

impl Serving {
    fn start(site: &Site, line: &str) -> Serving {
        let folder = site.path("");
        let line = format!("backup serve {line} --json")
            .replace("{}", folder.to_str().unwrap().trim_end_matches('/'));
        let mut command = site.command(line.split(' ').filter(|word| !word.is_empty()));
        let mut running = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
        let mut stdout = BufReader::new(running.0.stdout.take().unwrap());
        let mut first = String::new();
        stdout.read_line(&mut first).unwrap();
        let said = serde_json::from_str(&first).unwrap_or_else(|error| {
            let mut stderr = String::new();
            running.0.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
            panic!("{error}: {first:?} {stderr}")
        });
        Serving { running, stdout, said }
    }

    /// Where a disk is, counted among those that are served.
    fn uri(&self, disk: usize) -> String {
        self.said["export"]["disks"][disk]["nbd_uri"].as_str().unwrap().to_owned()
    }

    fn socket(&self) -> PathBuf {
        PathBuf::from(self.uri(0).split("socket=").nth(1).unwrap())
    }

    /// Ends it by a signal; what it said at its end.
    fn end(mut self, signal: &str) -> serde_json::Value {
        self.running.signal(signal);
        self.ended()
    }

    /// Waits for its end, which must be a good one.
    fn ended(&mut self) -> serde_json::Value {
        let mut last = String::new();
        self.stdout.read_to_string(&mut last).unwrap();
        let status = self.running.0.wait().unwrap();
        let mut stderr = String::new();
        self.running.0.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert_eq!(status.code(), Some(0), "{last} {stderr}");
        serde_json::from_str(last.trim()).unwrap_or_else(|error| panic!("{error}: {last:?}"))
    }
}

fn tool(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn tool_ok(program: &str, arguments: &[&str]) -> String {
    let output = tool(program, arguments);
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    said.into_owned()
}

fn qemu_io(uri: &str, commands: &[&str]) -> String {
    let mut arguments = vec!["-f", "raw"];
    commands.iter().for_each(|command| arguments.extend(["-c", command]));
    arguments.push(uri);
    let output = tool("qemu-io", &arguments);
    (String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr)).into_owned()
}

/// Every file of the repository, with its content's hash.
fn hashes(site: &Site) -> String {
    tool_ok(
        "sh",
        &["-c", &format!("cd {} && find . -type f | sort | xargs sha256sum", site.repository().display())],
    )
}

fn nothing_is_served(site: &Site) {
    let folder = site.state().join("exports");
    let left: Vec<_> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    assert!(left.is_empty(), "left over: {left:?}");
    site.assert_nothing_left_over();
}

#[test]
fn a_compressed_chain_is_served_as_it_was() {
    if !have(&["nbdcopy", "nbdinfo", "qemu-img", "qemu-io"]) {
        return;
    }
    let site = Site::new();
    let disk = site.disk("a.raw", 48 * MIB, 12, 1);
    let first = site.backup("--vm a --source {}/a.raw --compress");
    let before = site.path("before.raw");
    fs::copy(&disk, &before).unwrap();
    fs::OpenOptions::new()
        .write(true)
        .open(&disk)
        .unwrap()
        .write_all_at(&Random(9).bytes(700_000), 5_000_000)
        .unwrap();
    let second = site.backup("--vm a --compress");
    let unchanged = hashes(&site);
    for (point, raw) in [(&second, &disk), (&first, &before)] {
        let serving = Serving::start(&site, point);
        let uri = serving.uri(0);
        assert_eq!(serving.said["export"]["nbd_uri"], uri.as_str());
        assert_eq!(serving.said["message_type"], "status");
        assert_eq!(serving.said["export"]["disks"][0]["size_bytes"], 48 * MIB);
        let copy = site.path("copy.raw");
        tool_ok("nbdcopy", &["--connections=4", "--requests=16", &uri, copy.to_str().unwrap()]);
        assert!(same_bytes(&copy, raw), "{point}");
        tool_ok("qemu-img", &["compare", "-f", "raw", "-F", "raw", &uri, raw.to_str().unwrap()]);
        let map = tool_ok("nbdinfo", &["--map", &uri]);
        assert!(map.contains("hole,zero") && map.contains("data"), "{map}");
        assert!(tool_ok("nbdinfo", &[&uri]).contains("is_read_only: true"));
        assert!(qemu_io(&uri, &["write 0 512"]).contains("Permission denied"));
        let socket = serving.socket();
        let summary = serving.end(if point == &first { "TERM" } else { "INT" });
        assert_eq!(summary["status"], "closed");
        assert!(
            summary["bytes_read"].as_u64().unwrap() > 0 && summary["connections_total"].as_u64().unwrap() > 4
        );
        assert!(!socket.exists());
    }
    assert_eq!(hashes(&site), unchanged);
    nothing_is_served(&site);
}

#[test]
fn several_disks_have_a_name_each_and_the_commands_shown_work() {
    if !have(&["nbdcopy", "nbdinfo"]) {
        return;
    }
    let site = Site::new();
    let disks = [site.disk("a.raw", 8 * MIB, 2, 1), site.disk("b c.raw", 12 * MIB, 2, 2)];
    let added = site.run_args([
        "vm",
        "add",
        "two",
        "--disk",
        disks[0].to_str().unwrap(),
        "--disk",
        disks[1].to_str().unwrap(),
    ]);
    assert_eq!(added.code, 0, "{added:?}");
    site.backup("--vm two");

    let mut command = site.command(["backup", "serve", "two@latest"]);
    let mut running = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let mut stdout = BufReader::new(running.0.stdout.take().unwrap());
    let mut lines = Vec::new();
    while !lines.last().is_some_and(|line: &String| line.starts_with("qemu-system")) {
        let mut line = String::new();
        assert!(stdout.read_line(&mut line).unwrap() > 0, "{lines:?}");
        lines.push(line.trim_end().to_owned());
    }
    let copies = site.path("copies");
    fs::create_dir(&copies).unwrap();
    for line in lines.iter().filter(|line| line.starts_with("nbd")) {
        let done = Command::new("sh").args(["-c", line]).current_dir(&copies).output().unwrap();
        assert!(done.status.success(), "{line}: {}", String::from_utf8_lossy(&done.stderr));
    }
    for (number, disk) in disks.iter().enumerate() {
        assert!(same_bytes(&copies.join(format!("disk{number}.raw")), disk), "{lines:?}");
    }
    running.signal("INT");
    let run = running.wait(SOON);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(
        run.stderr.contains("is served until Ctrl-C") && run.stderr.contains("not served any more"),
        "{run:?}"
    );

    // One of several is the default export.
    let serving = Serving::start(&site, "two@latest --disk 1 --socket {}/one.sock");
    assert_eq!(serving.socket(), site.path("one.sock"));
    let size =
        tool_ok("nbdinfo", &["--size", &format!("nbd+unix:///?socket={}", site.path("one.sock").display())]);
    assert_eq!(size.trim(), (12 * MIB).to_string());
    // The place is taken.
    site.run("backup serve two@latest --socket {}/one.sock").failed_with(5, &["one.sock", "end that one"]);
    serving.end("INT");
    assert!(!site.path("one.sock").exists());
    nothing_is_served(&site);
}

#[test]
fn what_is_written_to_an_overlay_is_thrown_away() {
    if !have(&["qemu-io", "nbdcopy"]) {
        return;
    }
    let site = Site::new();
    let disk = site.disk("a.raw", 32 * MIB, 8, 1);
    let point = site.backup("--vm a --source {}/a.raw --compress");
    let unchanged = hashes(&site);
    let folder = site.path("overlays");
    fs::create_dir(&folder).unwrap();
    let serving = Serving::start(&site, &format!("{point} --writable-overlay --overlay-dir {{}}/overlays"));
    let uri = serving.uri(0);
    let said = qemu_io(
        &uri,
        &["write -P 7 1000 70000", "write -z 3M 1M", "write -f -P 9 20M 2M", "discard 8M 64k", "flush"],
    );
    assert!(said.matches("wrote").count() == 3 && said.contains("discard 65536"), "{said}");
    let said = qemu_io(&uri, &["read -P 7 1000 70000", "read -P 0 3M 1M", "read -P 9 20M 2M"]);
    assert!(said.matches("read ").count() == 3 && !said.contains("failed"), "{said}");
    // All of a disk, over several connections.
    let other = site.disk("other.raw", 32 * MIB, 20, 77);
    tool_ok("nbdcopy", &["--connections=4", other.to_str().unwrap(), &uri]);
    tool_ok("qemu-img", &["compare", "-f", "raw", "-F", "raw", &uri, other.to_str().unwrap()]);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "the overlay has a name");
    let summary = serving.end("INT");
    assert!(summary["bytes_written"].as_u64().unwrap() >= 15 * MIB, "{summary}");
    assert_eq!(hashes(&site), unchanged, "the point was changed");

    let serving = Serving::start(&site, &format!("{point} --writable-overlay"));
    tool_ok("qemu-img", &["compare", "-f", "raw", "-F", "raw", &serving.uri(0), disk.to_str().unwrap()]);
    serving.end("TERM");
    nothing_is_served(&site);
}

#[test]
fn a_full_disk_is_an_error_of_the_client_that_writes() {
    if !have(&["qemu-io", "mount"]) || !rustix::process::geteuid().is_root() {
        return;
    }
    let site = Site::new();
    let disk = site.disk("a.raw", 64 * MIB, 8, 1);
    site.backup("--vm a --source {}/a.raw");
    let small = site.path("small");
    fs::create_dir(&small).unwrap();
    tool_ok("mount", &["-t", "tmpfs", "-o", "size=16m", "tmpfs", small.to_str().unwrap()]);
    let _unmounted = Unmount(small.clone());
    let serving = Serving::start(&site, "latest --writable-overlay --overlay-dir {}/small");
    let uri = serving.uri(0);
    let said = qemu_io(&uri, &["write -P 5 1M 4M", "write -P 6 8M 40M"]);
    assert!(said.contains("No space left on device"), "{said}");
    let said = qemu_io(&uri, &["read -P 5 1M 4M", "write -z 1M 4M", "write -P 7 50M 1M", "read -P 7 50M 1M"]);
    assert!(!said.contains("failed") && !said.contains("rror"), "room was given back: {said}");
    serving.end("INT");
    let after = site.path("restored.raw");
    site.ok("restore disk latest --to {}/restored.raw");
    assert!(same_bytes(&after, &disk));
}

struct Unmount(PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(&self.0).status().ok();
    }
}

/// Says over the serial port with what letter sector 1 begins, after it has put the next one there, and ends.
///
/// ```text
///     cli; xor ax,ax; mov ds,ax; mov es,ax; mov ss,ax; mov sp,0x7c00; sti
///     mov si,text; print: lodsb; test al,al; jz change; call put; jmp print
/// change:
///     mov ax,0x0201; call sector          ; read sector 1
///     inc byte [0x8000]
///     mov ax,0x0301; call sector          ; write it
///     mov byte [0x8000],'?'
///     mov ax,0x0201; call sector          ; read it again
///     mov al,[0x8000]; call put; mov al,10; call put
///     mov dx,0xf4; mov al,0x10; out dx,al ; QEMU ends with (0x10 << 1) | 1
/// stop: hlt; jmp stop
/// sector: mov cx,2; mov dh,0; mov bx,0x8000; int 0x13; ret
/// put: push dx; mov ah,al; mov dx,0x3fd; wait: in al,dx; test al,0x20; jz wait
///     mov dx,0x3f8; mov al,ah; out dx,al; pop dx; ret
/// ```
const BOOT: &[u8] =
    b"\xfa\x31\xc0\x8e\xd8\x8e\xc0\x8e\xd0\xbc\x00\x7c\xfb\xbe\x67\x7c\xac\x84\xc0\x74\x05\xe8\x3c\x00\
\xeb\xf6\xb8\x01\x02\xe8\x29\x00\xfe\x06\x00\x80\xb8\x01\x03\xe8\x1f\x00\xc6\x06\x00\x80\x3f\xb8\
\x01\x02\xe8\x14\x00\xa0\x00\x80\xe8\x19\x00\xb0\x0a\xe8\x14\x00\xba\xf4\x00\xb0\x10\xee\xf4\xeb\
\xfd\xb9\x02\x00\xb6\x00\xbb\x00\x80\xcd\x13\xc3\x52\x88\xc4\xba\xfd\x03\xec\xa8\x20\x74\xfb\xba\
\xf8\x03\x88\xe0\xee\x5a\xc3booted, sector 1 begins with \0";

#[test]
fn a_machine_boots_from_a_backup_and_what_it_writes_is_gone_afterwards() {
    if !have(&["qemu-system-x86_64"]) {
        return;
    }
    let site = Site::new();
    let disk = site.path("boot.raw");
    let mut content = vec![0; 2 << 20];
    content[..BOOT.len()].copy_from_slice(BOOT);
    content[510..513].copy_from_slice(b"\x55\xaaA");
    fs::write(&disk, &content).unwrap();
    let point = site.backup("--vm boot --source {}/boot.raw --compress");
    let unchanged = hashes(&site);
    for _ in 0..2 {
        let serving = Serving::start(&site, &format!("{point} --writable-overlay"));
        // The second start finds what the first has written; the next export does not.
        for letter in ["B", "C"] {
            let said = boot(&serving.uri(0));
            assert!(said.contains(&format!("booted, sector 1 begins with {letter}")), "{said}");
        }
        serving.end("INT");
    }
    assert_eq!(hashes(&site), unchanged);
    nothing_is_served(&site);
}

fn boot(uri: &str) -> String {
    let drive = format!("file={uri},format=raw,if=ide");
    let output = Command::new("timeout")
        .args(["90", "qemu-system-x86_64", "-accel", "kvm", "-accel", "tcg", "-m", "32", "-nodefaults"])
        .args(["-display", "none", "-serial", "stdio", "-no-reboot", "-drive", &drive])
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0x21), "{said}");
    said.into_owned()
}

#[test]
fn a_point_that_is_served_stays_and_a_killed_server_leaves_nothing_for_long() {
    if !have(&["nbdinfo"]) {
        return;
    }
    let site = Site::embedded();
    site.disk("a.raw", 8 * MIB, 2, 1);
    let point = site.backup("--vm a --source {}/a.raw");
    let serving = Serving::start(&site, &format!("{point} --writable-overlay"));
    let refused = site.run(&format!("backup delete {point} --yes"));
    assert!(matches!(refused.code, 5 | 11), "{refused:?}");
    let socket = serving.socket();
    serving.running.signal("KILL");
    eventually("the killed server is gone", SOON, || {
        tool("nbdinfo", &[&serving.uri(0)]).status.code() != Some(0)
    });
    drop(serving);
    assert!(socket.exists(), "a killed process removes nothing");
    site.ok("backup list");
    assert!(!socket.exists());
    nothing_is_served(&site);
    site.ok(&format!("backup delete {point} --yes"));
}

#[test]
fn in_the_background_it_is_seen_and_ended_from_another_process() {
    if !have(&["nbdinfo"]) {
        return;
    }
    let site = Site::new();
    site.disk("a.raw", 4 * MIB, 1, 1);
    let point = site.backup("--vm a --source {}/a.raw");
    let told = site.ok("backup serve latest --detach --json");
    let told: serde_json::Value = serde_json::from_str(told.stdout.trim()).unwrap();
    let uri = told["export"]["nbd_uri"].as_str().unwrap();
    assert!(told["export"]["expires_at"].is_string(), "it would stay for ever");
    assert!(tool_ok("nbdinfo", &["--size", uri]).contains("4194304"));
    let listed = site.json("restore mounts");
    let mounts = listed["mounts"].as_array().unwrap();
    assert_eq!((mounts.len(), &mounts[0]["kind"], &mounts[0]["nbd_uri"]), (1, &"export".into(), &uri.into()));
    assert_eq!(mounts[0]["backup_id"], point.as_str());
    let id = told["export"]["export_id"].as_str().unwrap();
    site.ok(&format!("restore unmount {id}"));
    assert!(!tool("nbdinfo", &["--size", uri]).status.success());
    nothing_is_served(&site);
    // What can't be served is told by the command, not by the background.
    site.run("backup serve latest --detach --disk 7").failed_with(4, &["7"]);
}

#[test]
fn clients_that_are_killed_or_stuck_are_no_business_of_the_others() {
    if !have(&["nbdcopy", "qemu-img"]) {
        return;
    }
    let site = Site::new();
    let disk = site.disk("a.raw", 64 * MIB, 40, 1);
    site.backup("--vm a --source {}/a.raw --compress");
    let serving = Serving::start(&site, "latest");
    let uri = serving.uri(0);
    let mut stuck = Vec::new();
    for number in 0..6 {
        let mut command = Command::new("nbdcopy");
        // A reader of its pipe that never reads.
        command.args([uri.as_str(), "-"]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut client = Running::start(&mut command);
        client.0.stdout.as_mut().unwrap().read_exact(&mut [0; 1]).unwrap();
        if number % 2 == 0 {
            client.signal("KILL");
        }
        stuck.push(client);
    }
    tool_ok("qemu-img", &["compare", "-f", "raw", "-F", "raw", &uri, disk.to_str().unwrap()]);
    serving.end("INT");
    nothing_is_served(&site);
}

#[test]
fn an_export_that_nobody_uses_ends_by_itself() {
    if !have(&["nbdinfo"]) {
        return;
    }
    let site = Site::new();
    site.disk("a.raw", 4 * MIB, 1, 1);
    site.backup("--vm a --source {}/a.raw");
    let mut serving = Serving::start(&site, "latest --idle 2s");
    assert!(serving.said["export"]["expires_at"].is_string());
    assert!(tool_ok("nbdinfo", &["--size", &serving.uri(0)]).contains("4194304"));
    assert_eq!(serving.ended()["status"], "closed");
    nothing_is_served(&site);
}

#[test]
fn over_tcp_it_is_this_machine_or_tls() {
    if !have(&["nbdinfo", "openssl"]) {
        return;
    }
    let site = Site::new();
    site.disk("a.raw", 4 * MIB, 1, 1);
    site.backup("--vm a --source {}/a.raw");
    site.run("backup serve latest --listen 0.0.0.0:0").failed_with(2, &["without TLS"]);
    site.run("backup serve latest --listen localhost:1").failed_with(2, &["127.0.0.1:10809"]);
    site.run("backup serve latest --tls-certificates {}/none").failed_with(2, &["server-cert.pem"]);
    site.run("backup serve latest --disk 3").failed_with(4, &["3"]);
    site.run("backup serve other@latest").failed_with(4, &["other"]);
    site.run("backup serve latest --read-only --writable-overlay").failed_with(2, &["--read-only"]);
    site.run("backup serve latest --writable-overlay --overlay-dir {}/none").failed_with(2, &["none"]);

    let serving = Serving::start(&site, "latest --listen 127.0.0.1:0");
    assert!(serving.uri(0).starts_with("nbd://127.0.0.1:"), "{}", serving.said);
    assert!(tool_ok("nbdinfo", &["--size", &serving.uri(0)]).contains("4194304"));
    serving.end("INT");

    certificates(&site.path("pki"));
    let serving = Serving::start(&site, "latest --listen 127.0.0.1:0 --tls-certificates {}/pki");
    let uri = serving.uri(0);
    assert!(uri.starts_with("nbds://127.0.0.1:"), "{uri}");
    let trusted = format!("{uri}?tls-certificates={}", site.path("pki").display());
    assert!(tool_ok("nbdinfo", &["--size", &trusted]).contains("4194304"));
    assert!(!tool("nbdinfo", &["--size", &uri.replacen("nbds", "nbd", 1)]).status.success());
    serving.end("INT");
    nothing_is_served(&site);
}

/// A folder with an authority, and a server certificate for this machine.
fn certificates(folder: &Path) {
    let script = r#"
        mkdir -p "$1" && cd "$1"
        printf '[req]\ndistinguished_name = dn\n[dn]\n' > openssl.cnf
        new() { openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -config openssl.cnf "$@"; }
        new -subj '/CN=test authority' -keyout ca-key.pem -out ca-cert.pem \
            -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
        new -subj /CN=localhost -keyout server-key.pem -out server-cert.pem -CA ca-cert.pem -CAkey ca-key.pem \
            -addext basicConstraints=critical,CA:FALSE -addext subjectAltName=DNS:localhost,IP:127.0.0.1 \
            -addext extendedKeyUsage=serverAuth
    "#;
    tool_ok("sh", &["-ec", script, "sh", folder.to_str().unwrap()]);
}

/// Changes the file at `path` by one bit in the middle of what begins with `marker`.
fn rot(path: &Path, marker: &[u8]) {
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.windows(marker.len()).rposition(|window| window == marker).unwrap();
    bytes[at + marker.len() / 2] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_rotten_bit_is_an_error_of_its_own_64_kib_and_never_wrong_bytes() {
    if !have(&["nbdcopy", "qemu-img", "qemu-io", "sqlite3"]) {
        return;
    }
    const GRANULE: u64 = 64 << 10;
    let site = Site::new();
    let disk = site.disk("a.raw", 8 * MIB, 0, 1);
    let file = fs::OpenOptions::new().write(true).open(&disk).unwrap();
    file.write_all_at(&Random(7).bytes(8 << 20), 0).unwrap();
    let first = site.backup("--vm a --source {}/a.raw");
    file.write_all_at(&Random(8).bytes(300_000), 5 * MIB).unwrap();
    let second = site.backup("--vm a");
    // One bit in the middle of a granule that the newer point has of the older, and one in its own.
    let content = fs::read(&disk).unwrap();
    let at = |offset: u64| &content[offset as usize..offset as usize + 64];
    let (old, new) = (2 * MIB + 3 * GRANULE, 5 * MIB + GRANULE);
    rot(&site.top_of(&first, 0), at(old + 30_000));
    rot(&site.top_of(&second, 0), at(new + 100));
    let unchanged = hashes(&site);

    let serving = Serving::start(&site, &second);
    let uri = serving.uri(0);
    let copy = site.path("copy.raw").display().to_string();
    for (program, arguments) in
        [("nbdcopy", vec![&uri[..], &copy]), ("qemu-img", vec!["convert", "-O", "raw", &uri, &copy])]
    {
        let output = tool(program, &arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{program} took damage for data");
        assert!(said.contains("nput/output error"), "{program}: {said}");
    }
    // Who reads around the errors gets everything else, and of these granules nothing at all.
    tool("qemu-img", &["convert", "--salvage", "-q", "-O", "raw", &uri, &copy]);
    let copied = fs::read(&copy).unwrap();
    assert_eq!(copied.len(), content.len());
    for granule in 0..8 * MIB / GRANULE {
        let range = (granule * GRANULE) as usize..((granule + 1) * GRANULE) as usize;
        if granule * GRANULE == old || granule * GRANULE == new {
            assert!(copied[range].iter().all(|byte| *byte == 0), "bytes of a damaged granule were given out");
        } else {
            assert!(copied[range.clone()] == content[range], "granule {granule}");
        }
    }
    // A client that met an error is served on.
    let (within, behind) = (format!("read {old} 512"), format!("read {} 64k", old + GRANULE));
    let output = tool("qemu-io", &["-r", "-f", "raw", "-c", &within, "-c", &behind, &uri]);
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("nput/output error") && said.contains("read 65536/65536"), "{said}");
    serving.end("INT");

    // What is written over damage is read again; what is left of the damage is not.
    let serving = Serving::start(&site, &format!("{second} --writable-overlay"));
    let said = qemu_io(
        &serving.uri(0),
        &[
            &format!("write -P 7 {new} 4k"),
            &format!("read -P 7 {new} 4k"),
            &format!("read {} 4k", new + 4096),
            &format!("write -P 8 {} 512", new + 8192),
        ],
    );
    assert_eq!(said.matches("nput/output error").count(), 2, "{said}");
    assert!(said.contains("wrote 4096/4096") && said.contains("read 4096/4096"), "{said}");
    assert!(!said.contains("erification failed"), "{said}");
    serving.end("INT");
    assert_eq!(hashes(&site), unchanged);
    nothing_is_served(&site);
}
