//! What the program prints, and where: documents and lines for programs, words and bars for people, silence where it
//! was asked for, and help that is true.

use crate::harness::{MIB, Run, Running, Site, eventually, have};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const PROGRAM: &str = env!("CARGO_BIN_EXE_sendense-ctl");

/// A site with one VM, `pg`, of one disk.
fn site() -> Site {
    let site = Site::new();
    let disk = site.disk("disk.raw", 8 * MIB, 4, 1);
    site.ok(&format!("vm add pg --disk {}", disk.display()));
    site
}

fn lines(run: &Run) -> Vec<Value> {
    let parse =
        |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?} of {run:#?}"));
    run.stdout.lines().map(parse).collect()
}

// ---- for programs --------------------------------------------------------------------------------------------

#[test]
fn what_runs_long_writes_json_lines() {
    let site = site();
    let id = site.backup("--vm pg");
    for (line, job) in [
        ("backup start --vm pg --type full".to_owned(), "backup"),
        (format!("backup verify {id}"), "verify"),
        (format!("restore disk {id} --to {{}}/out.raw"), "restore"),
    ] {
        let run = site.ok(&format!("{line} --json"));
        assert!(run.stderr.is_empty(), "{run:#?}");
        let lines = lines(&run);
        let (summary, status) = lines.split_last().unwrap();
        assert!(!status.is_empty());
        for line in status {
            assert_eq!(line["message_type"], "status");
            for key in ["percent_done", "bytes_done", "total_bytes", "bytes_per_second"] {
                assert!(line[key].is_number(), "{key} of {line:#}");
            }
            assert!((0.0..=1.0).contains(&line["percent_done"].as_f64().unwrap()), "{line:#}");
            assert!(line.get("seconds_remaining").is_some() && line["disks"].is_array(), "{line:#}");
        }
        for line in &lines {
            assert_eq!(line["schema_version"], 1);
            assert_eq!(line["job_type"], job);
            assert_eq!(line["vm"], "pg");
            for key in ["status", "phase", "backup_id", "job_id"] {
                assert!(line[key].is_string(), "{key} of {line:#}");
            }
        }
        assert_eq!((&summary["message_type"], &summary["status"]), (&"summary".into(), &"completed".into()));
        assert!(summary["total_duration"].is_number(), "{summary:#}");
        let done: Vec<_> = lines.iter().map(|line| line["bytes_done"].as_u64().unwrap()).collect();
        assert!(done.is_sorted(), "{done:?}");
    }
}

#[test]
fn everything_else_writes_one_json_document() {
    let site = site();
    let id = site.backup("--vm pg --tag a=b");
    for (line, keys) in [
        ("backup list".to_owned(), &["backups", "total"][..]),
        (format!("backup show {id}"), &["backup"]),
        ("backup chain --vm pg".to_owned(), &["vm_name", "chain"]),
        (format!("backup tag {id} --set c=d"), &["backup"]),
        (format!("backup protect {id}"), &["backup"]),
        (format!("backup unprotect {id}"), &["backup"]),
        ("backup start --vm pg --dry-run".to_owned(), &["plan"]),
        (format!("backup delete {id} --dry-run"), &["deleted"]),
        ("vm list".to_owned(), &["vms"]),
        ("vm show pg".to_owned(), &["vm"]),
        ("repo list".to_owned(), &["repositories"]),
        ("repo show default".to_owned(), &["repository"]),
        ("repo storage default".to_owned(), &["storage"]),
        ("repo test default".to_owned(), &["checks"]),
        ("repo scan default".to_owned(), &["found", "added"]),
        ("doctor".to_owned(), &["findings"]),
        (format!("backup delete {id} --yes"), &["deleted", "freed_bytes"]),
        ("vm remove pg --yes".to_owned(), &[]),
    ] {
        let document = site.json(&line);
        assert_eq!(document["success"], true, "{line}: {document:#}");
        for key in keys {
            assert!(document.get(key).is_some(), "{line}: no {key} in {document:#}");
        }
    }
}

#[test]
fn an_error_is_one_json_object_with_the_same_exit_code() {
    let site = site();
    for (line, code) in [
        ("backup start --vm nobody", 4),
        ("backup show nothing-like-this", 4),
        ("backup start --vm pg --source {}/other.raw --vm two", 2),
        ("backup start --frobnicate", 2),
        ("backup delete latest", 4),
        ("repo show nowhere", 4),
        ("vm add pg --disk {}/disk.raw", 5),
        ("vm add new --disk {}/none.raw", 13),
    ] {
        let plain = site.run(line);
        plain.failed_with(code, &[]);
        assert!(plain.stdout.is_empty(), "{plain:#?}");
        let run = site.run(&format!("{line} --json"));
        assert_eq!(run.code, code, "{run:#?}");
        let said = lines(&run);
        let [error] = said.as_slice() else { panic!("one object: {run:#?}") };
        assert_eq!((&error["message_type"], &error["success"]), (&"error".into(), &false.into()));
        assert_eq!(error["exit_code"], code);
        assert_eq!(error["schema_version"], 1);
        assert!(error["code"].is_string() && error["error"].is_string(), "{error:#}");
    }
}

// ---- silence -------------------------------------------------------------------------------------------------

#[test]
fn quiet_says_nothing_unless_it_fails() {
    let site = site();
    for line in [
        "backup start --vm pg",
        "backup start --all",
        "backup verify --all",
        "restore disk latest --to {}/out.raw",
        "backup protect pg@latest",
        "backup unprotect pg@latest",
        "backup tag pg@latest --set a=b",
        "backup delete pg@latest --yes",
        "repo create side --path {}/side",
        "repo scan side",
        "repo delete side --yes",
    ] {
        let run = site.ok(&format!("{line} --quiet"));
        assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("", ""), "{run:#?}");
    }
    fs::remove_file(site.path("disk.raw")).unwrap();
    for (line, code, part) in [
        ("backup start --vm pg", 13, "disk.raw"),
        ("backup start --vm nobody", 4, "nobody"),
        ("backup delete latest", 2, "--yes"),
        ("restore disk latest --to {}/out.raw", 5, "out.raw"),
    ] {
        let run = site.run(&format!("{line} -q"));
        run.failed_with(code, &["error:", part]);
        assert!(run.stdout.is_empty() && run.stderr.lines().count() <= 3, "{run:#?}");
    }
}

#[test]
fn no_escapes_without_a_terminal() {
    let site = site();
    for line in [
        "backup start --vm pg",
        "backup list",
        "backup chain --vm pg",
        "backup show latest",
        "backup verify --all",
        "backup start --vm nobody",
        "backup bogus",
        "backup start --help",
        "doctor",
    ] {
        // CLICOLOR_FORCE and a terminal's name are no reason either.
        let mut command = site.command(line.split(' '));
        let output = command.env("TERM", "xterm-256color").env("COLORTERM", "truecolor").output().unwrap();
        for bytes in [&output.stdout, &output.stderr] {
            assert!(
                !bytes.contains(&0x1b) && !bytes.contains(&b'\r'),
                "{line}: {}",
                String::from_utf8_lossy(bytes)
            );
        }
    }
}

#[test]
fn a_broken_pipe_ends_silently() {
    let site = site();
    site.backup("--vm pg");
    for line in
        ["backup list", "backup list --json", "backup show latest --json", "--help", "completions bash"]
    {
        let mut command = site.command(line.split(' '));
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let running = Running::start(command.stdout(writer).stderr(Stdio::piped()));
        drop(command);
        let run = running.wait(Duration::from_secs(20));
        assert_eq!(run.stderr, "", "{line}");
        assert!([0, 128 + 13].contains(&run.code), "{line}: {}", run.code);
    }
    // A backup goes on: what its lines are read by is no reason to have no backup.
    let mut command = site.command(["backup", "start", "--vm", "pg", "--type", "full", "--json"]);
    let mut running = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let mut first = String::new();
    BufReader::with_capacity(1, running.0.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.contains("\"status\""), "{first}");
    let run = running.wait(Duration::from_secs(20));
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    assert_eq!(site.points().len(), 2);
    site.assert_nothing_left_over();
}

#[test]
fn wrong_usage_is_told_in_three_lines() {
    let site = Site::embedded();
    for line in [
        "",
        "backup",
        "bogus",
        "backup bogus",
        "backup start",
        "backup start --vm",
        "backup start --bogus",
        "backup start --vm a --type sometimes",
        "backup start --vm a --bandwidth fast",
        "backup start --vm a --timeout later",
        "backup start --vm a --all",
        "backup start --vm a --tag notag",
        "backup start --vm a --source gopher://x",
        "backup list --limit some",
        "backup list --since whenever",
        "backup show",
        "backup show a b",
        "backup verify --all --read-data-subset 0%",
        "backup verify --all --read-data-subset 8/7",
        "restore disk latest",
        "restore disk latest --to /tmp/x --format vhd",
        "restore disk latest --to /tmp/x --disk first",
        "repo create",
        "repo create x",
        "repo create x --path /tmp/y --reserve much",
        "completions tcsh",
        "--json --bogus",
    ] {
        let run = site.run(line);
        assert_eq!(run.code, 2, "{run:#?}");
        if !line.contains("--json") {
            run.failed_with(2, &["error:"]);
            assert!(run.stdout.is_empty(), "{run:#?}");
        }
    }
    assert!(!site.state().exists(), "wrong usage makes nothing");
}

#[test]
fn no_error_is_a_dump() {
    let site = site();
    fs::write(site.path("broken.qcow2"), b"QFI\xfb and then nothing of the kind").unwrap();
    fs::write(site.path("broken.vmdk"), b"KDMV and then nothing of the kind").unwrap();
    for line in [
        "backup start --vm a --source {}/broken.qcow2",
        "backup start --vm b --source {}/broken.vmdk",
        "backup start --vm c --source nbd://localhost:1/x",
        "backup show latest~99",
        "backup show pg@1999-01-01",
        "restore disk latest --to {}/no/such/folder/x.raw",
        "repo create x --path {}/disk.raw",
        "repo test nowhere",
    ] {
        for more in ["", "--verbose"] {
            let mut command = site.command(
                format!("{line} {more}")
                    .split_whitespace()
                    .map(|word| word.replace("{}", site.path("").to_str().unwrap().trim_end_matches('/'))),
            );
            let output = command.env("RUST_BACKTRACE", "full").output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!output.status.success(), "{line}");
            for word in ["backtrace", "panicked", "fault:", "RUST_BACKTRACE", "{ ", "Some(", "Error("] {
                assert!(!said.contains(word), "{word:?} in {line}: {said}");
            }
        }
    }
}

// ---- help ----------------------------------------------------------------------------------------------------

/// Every command, by its words, with its long help.
fn commands(site: &Site) -> BTreeMap<Vec<String>, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![Vec::new()];
    while let Some(words) = open.pop() {
        let arguments: Vec<String> = words.iter().cloned().chain(["--help".to_owned()]).collect();
        let run = site.run_args(&arguments);
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{run:#?}");
        let listed = run.stdout.lines().skip_while(|line| *line != "Commands:").skip(1);
        for line in listed.take_while(|line| !line.is_empty()) {
            // Deeper than two blanks is the rest of a description.
            let name = line.strip_prefix("  ").filter(|rest| !rest.starts_with(' '));
            if let Some(name) = name.and_then(|rest| rest.split(' ').next()) {
                open.push(words.iter().cloned().chain([name.to_owned()]).collect());
            }
        }
        found.insert(words, run.stdout);
    }
    found
}

#[test]
fn every_help_names_its_exit_codes_and_is_short_enough_for_a_terminal() {
    let site = Site::embedded();
    let commands = commands(&site);
    assert!(commands.len() > 25, "{:?}", commands.keys());
    for (words, help) in &commands {
        assert!(help.contains("Usage: sendense-ctl"), "{words:?}: {help}");
        if !help.contains("\nCommands:") || words.is_empty() {
            assert!(help.contains("\nExit codes:\n    0  done\n"), "{words:?}: {help}");
            assert!(help.contains("\n    2  "), "{words:?}: {help}");
            assert!(help.contains("\nExamples:\n"), "{words:?}: {help}");
        }
        for line in help.lines() {
            assert!(line.chars().count() <= 120, "{words:?}: {line}");
        }
        let short: Vec<String> = words.iter().cloned().chain(["-h".to_owned()]).collect();
        assert_eq!(site.run_args(&short).code, 0);
    }
    assert!(!site.state().exists(), "help makes nothing");
}

/// The calls of the program in a text: in code fences, tables and between backticks, without what a shell adds.
fn calls(text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for line in text.lines() {
        for (at, name) in line.match_indices("sendense-ctl ") {
            let rest = &line[at + name.len()..];
            let rest = rest.split(['`', ';', '|', '#', ')', '>']).next().unwrap_or_default();
            let words: Vec<_> = rest.split_whitespace().map(str::to_owned).collect();
            found.push(words);
        }
    }
    found
}

#[test]
fn every_command_in_the_documents_exists() {
    let site = Site::new();
    let commands = commands(&site);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seen = 0;
    let mut documents: Vec<PathBuf> = vec![root.join("README.md"), root.join("ARCHITECTURE.md")];
    documents.extend(fs::read_dir(root.join("docs")).unwrap().flatten().map(|entry| entry.path()));
    documents.extend(fs::read_dir(root.join("examples")).unwrap().flatten().map(|entry| entry.path()));
    let mut texts: Vec<(String, String)> = documents
        .iter()
        .filter(|path| path.is_file())
        .map(|path| (path.display().to_string(), fs::read_to_string(path).unwrap()))
        .collect();
    // The examples of the helps are documents too.
    for (words, help) in &commands {
        let examples = help.split("\nExamples:\n").nth(1).unwrap_or_default();
        texts.push((format!("{words:?} --help"), examples.split("\nExit codes:").next().unwrap().to_owned()));
    }
    for (name, text) in &texts {
        for call in calls(text) {
            let mut words = Vec::new();
            for word in &call {
                let longer: Vec<String> = words.iter().cloned().chain([word.clone()]).collect();
                if !commands.contains_key(&longer) {
                    break;
                }
                words = longer;
            }
            let help = &commands[&words];
            let bare = words.len();
            let starts_like_a_command =
                call.first().is_some_and(|word| word.chars().all(|c| c.is_ascii_lowercase()));
            if bare == 0 {
                // Prose such as "sendense-ctl is …"; a noun of another command would have been found.
                let flag = call.first().is_some_and(|word| word.starts_with("--"));
                assert!(
                    flag || !starts_like_a_command || !text.contains(&format!("`sendense-ctl {}", call[0])),
                    "{name}: sendense-ctl {call:?}"
                );
                if !flag {
                    continue;
                }
            } else if help.contains("\nCommands:") {
                let next = call.get(bare).map(String::as_str).unwrap_or_default();
                assert!(
                    !next.chars().next().is_some_and(|c| c.is_ascii_lowercase()),
                    "{name}: no command {next:?} in sendense-ctl {call:?}"
                );
            }
            for flag in call.iter().filter(|word| word.starts_with('-') && word.len() > 1) {
                let flag = flag.split('=').next().unwrap().trim_matches(|c: char| ",.:\"'…".contains(c));
                let listed =
                    help.lines().any(|line| line.split([' ', ',', '=', '[']).any(|word| word == flag));
                assert!(listed, "{name}: {flag} is no option of {words:?}: {call:?}");
            }
            seen += 1;
        }
    }
    assert!(seen > 60, "only {seen} calls were found");
}

#[test]
fn documented_calls_parse() {
    // The fences of README and guide, word for word: whatever they end with, it is not a usage error.
    let site = Site::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut parsed = 0;
    for document in ["README.md", "docs/guide.md"] {
        let text = fs::read_to_string(root.join(document)).unwrap();
        for (n, fence) in text.split("```").enumerate() {
            if n % 2 == 0 {
                continue;
            }
            for line in fence.lines() {
                let line = line.strip_prefix("$ ").unwrap_or(line);
                let Some(rest) = line.strip_prefix("sendense-ctl ") else { continue };
                let rest = rest.split(" #").next().unwrap();
                let mut command = Command::new("bash");
                // Help is asked for at the end: everything before it is parsed, and nothing is done.
                command.args(["-c", &format!("exec {PROGRAM} {} --dry-parse", rest.trim())]);
                let output = command.env("SENDENSE_HOME", site.state()).output().unwrap();
                let said = String::from_utf8_lossy(&output.stderr);
                assert_eq!(output.status.code(), Some(2), "{line}: {said}");
                assert!(said.contains("'--dry-parse'"), "{document}: {line}: {said}");
                parsed += 1;
            }
        }
    }
    assert!(parsed > 25, "only {parsed} lines were found");
    assert!(!site.state().exists());
}

// ---- a terminal ----------------------------------------------------------------------------------------------

/// A real terminal of 100 × 30 characters.
struct Terminal {
    socket: PathBuf,
}

impl Terminal {
    /// Runs the program with the site's state, and then says `ended CODE`.
    fn run(site: &Site, surroundings: &str, line: &str) -> Terminal {
        let socket = site.path("tmux.sock");
        let script = format!(
            "env -u NO_COLOR LC_ALL=C.UTF-8 TZ=UTC SENDENSE_HOME={} {surroundings} {PROGRAM} {line}; echo ended $?; cat",
            site.state().display()
        );
        let terminal = Terminal { socket };
        let mut command = terminal.tmux(["new-session", "-d", "-x", "100", "-y", "30"]);
        assert!(command.arg(script).status().unwrap().success());
        terminal
    }

    fn tmux<const N: usize>(&self, arguments: [&str; N]) -> Command {
        let mut command = Command::new("tmux");
        command.args(["-u", "-f", "/dev/null", "-S"]).arg(&self.socket).args(arguments);
        command.env_remove("TMUX");
        command
    }

    /// What can be seen.
    fn screen(&self) -> String {
        String::from_utf8(self.tmux(["capture-pane", "-p"]).output().unwrap().stdout).unwrap()
    }

    /// The same, colours as escapes.
    fn coloured(&self) -> String {
        String::from_utf8(self.tmux(["capture-pane", "-p", "-e"]).output().unwrap().stdout).unwrap()
    }

    fn keys(&self, keys: &str) {
        assert!(self.tmux(["send-keys"]).arg(keys).status().unwrap().success());
    }

    fn shows(&self, limit: u64, parts: &[&str]) -> String {
        let mut screen = String::new();
        eventually(&format!("{parts:?} on the terminal"), Duration::from_secs(limit), || {
            screen = self.screen();
            parts.iter().all(|part| screen.contains(part))
        });
        screen
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux(["kill-server"]).status().ok();
    }
}

#[test]
fn what_is_painted_is_not_shown_as_escapes() {
    if !have(&["tmux"]) {
        return;
    }
    let site = Site::new();
    let terminal = Terminal::run(&site, "", "hub status");
    let screen = terminal.shows(20, &["ended 0", "status", "works", "catalog"]);
    assert!(!screen.contains("u{1b}") && !screen.contains("[32m"), "{screen}");
    assert!(terminal.coloured().contains("[32mworks"), "{}", terminal.coloured());
}

#[test]
fn a_terminal_gets_bars() {
    if !have(&["tmux"]) {
        return;
    }
    let site = Site::new();
    let disks: Vec<_> = (0..2).map(|n| site.disk(&format!("{n}.raw"), 24 * MIB, 30, n)).collect();
    site.ok(&format!("vm add pg --disk {} --disk {}", disks[0].display(), disks[1].display()));
    let terminal = Terminal::run(&site, "", "backup start --vm pg --bandwidth 12M");
    let screen =
        terminal.shows(20, &["pg disk 0", "pg disk 1", "total", " % ", "MiB/s", "transferring", " left"]);
    let bars: Vec<_> = screen.lines().filter(|line| line.contains(" % ")).collect();
    assert_eq!(bars.len(), 3, "one a disk and a total: {screen}");
    assert!(bars.iter().all(|bar| bar.contains(" of ") && bar.chars().count() <= 100), "{screen}");
    assert!(terminal.coloured().contains("\u{1b}["), "colours");
    let screen = terminal.shows(30, &["ended 0"]);
    assert!(!screen.contains(" left") && !screen.contains("━"), "the bars are gone: {screen}");
    assert!(screen.contains("backup-pg-") && screen.contains("stored"), "{screen}");
}

#[test]
fn no_color_is_honoured_on_a_terminal_and_ctrl_c_cancels() {
    if !have(&["tmux", "sqlite3"]) {
        return;
    }
    let site = Site::new();
    let disk = site.disk("disk.raw", 48 * MIB, 40, 1);
    site.ok(&format!("vm add pg --disk {}", disk.display()));
    let terminal = Terminal::run(&site, "NO_COLOR=1", "backup start --vm pg --bandwidth 8M");
    terminal.shows(20, &["pg disk 0", " % ", "MiB/s"]);
    let screen = terminal.coloured();
    assert!(!screen.contains("\u{1b}[3") && !screen.contains("\u{1b}[9"), "{screen:?}");
    terminal.keys("C-c");
    terminal.shows(20, &["ended 130"]);
    site.assert_nothing_left_over();
    assert!(site.points().is_empty());
}

#[test]
fn a_question_is_asked_on_a_terminal_only() {
    if !have(&["tmux"]) {
        return;
    }
    let site = site();
    let id = site.backup("--vm pg");
    {
        let terminal = Terminal::run(&site, "", "backup delete latest");
        terminal.shows(20, &["Delete", &id, "?"]);
        terminal.keys("n");
        terminal.keys("Enter");
        terminal.shows(20, &["ended"]);
        assert_eq!(site.points().len(), 1);
    }
    fs::remove_file(site.path("tmux.sock")).ok();
    let terminal = Terminal::run(&site, "", "backup delete latest");
    terminal.shows(20, &["Delete", &id, "?"]);
    terminal.keys("y");
    terminal.keys("Enter");
    terminal.shows(20, &["ended 0"]);
    assert!(site.points().is_empty());
}

#[test]
fn a_run_without_a_terminal_writes_plain_lines() {
    let site = site();
    let mut command = site.command(["backup", "start", "--vm", "pg", "--bandwidth", "4M"]);
    let mut child = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let mut said = String::new();
    child.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    let run = child.wait(Duration::from_secs(20));
    assert_eq!(run.code, 0, "{run:#?}");
    assert!(said.lines().count() >= 3 && said.contains(" %, "), "{said}");
    assert_eq!(run.stdout.lines().count(), 1, "the result is one line: {run:#?}");
}
