//! The log of a hub as systemd's journal has it: a real journald of the test's own, and systemd-cat as what starts the hub.

use crate::harness::{Run, Site, have};
use serde_json::Value;
use std::process::Command;

/// In namespaces of its own: /run is the test's, and whatever it starts ends with it.
const SCRIPT: &str = r#"
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/journal /run/log/journal
until_there() { for _ in $(seq 300); do [ -S "$1" ] && return; sleep 0.1; done; echo "$1 does not come" >&2; exit 1; }
/lib/systemd/systemd-journald & journald=$!
until_there /run/systemd/journal/socket
# What the service manager sets, and systemd-cat of Debian 12 does not.
serve='export JOURNAL_STREAM=$(stat -Lc %d:%i /dev/stderr); exec "$PROGRAM" hub serve --listen http://127.0.0.1:0'
systemd-cat -t the-hub bash -c "$serve" & hub=$!
until_there "$SENDENSE_HOME/hub.sock"
curl -sS --unix-socket "$SENDENSE_HOME/hub.sock" -H 'X-Request-Id: from-the-test' http://hub/api/v1/backups/none >&2
kill $hub; wait $hub
find() { journalctl -D /run/log/journal -o json --no-pager "$@"; }
# The journal writes when it comes to it.
for _ in $(seq 100); do [ -n "$(find SENDENSE_ID=from-the-test)" ] && break; sleep 0.1; done
find SENDENSE_ID=from-the-test
# Where the journal does not take an entry any more, stderr has the line.
exec_with_file='exec 2>"$SENDENSE_HOME/stderr"; export JOURNAL_STREAM=$(stat -Lc %d:%i /dev/stderr)'
bash -c "$exec_with_file; exec \"\$PROGRAM\" hub serve --no-listen" & hub=$!
until_there "$SENDENSE_HOME/hub.sock"
ask() { curl -sS --unix-socket "$SENDENSE_HOME/hub.sock" -H "X-Request-Id: $1" http://hub/api/v1/backups/none >&2; }
ask while-it-is-there
kill $journald; wait $journald || :
ask when-it-is-gone
kill $hub; wait $hub
cat "$SENDENSE_HOME/stderr"
"#;

#[test]
fn the_journal_has_each_field_of_a_line_and_stderr_what_it_does_not_take() {
    if !have(&["curl", "journalctl", "systemd-cat", "unshare"]) {
        return;
    }
    let site = Site::embedded();
    let model = site.bare_command(["hub", "serve"]);
    let mut script = Command::new("unshare");
    script.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-eu", "-c", SCRIPT]);
    script.env("PROGRAM", model.get_program());
    for (name, value) in model.get_envs() {
        match value {
            Some(value) => script.env(name, value),
            None => script.env_remove(name),
        };
    }
    let run = Run::finished(script);
    assert_eq!(run.code, 0, "{}\n{}", run.stdout, run.stderr);
    let (entry, stderr) = run.stdout.split_once('\n').unwrap();
    let entry: Value = serde_json::from_str(entry).unwrap();
    for (field, value) in [
        ("_TRANSPORT", "journal"),
        ("SYSLOG_IDENTIFIER", "sendense-ctl"),
        ("PRIORITY", "6"),
        ("SENDENSE_TARGET", "access"),
        ("SENDENSE_METHOD", "GET"),
        ("SENDENSE_PATH", "/api/v1/backups/none"),
        ("SENDENSE_STATUS", "404"),
    ] {
        assert_eq!(entry[field], value, "{field} of {entry}");
    }
    let message = entry["MESSAGE"].as_str().unwrap();
    assert!(message.starts_with("request ") && message.contains("status=404"), "{message}");
    // With its priority, as the journal reads it (sd-daemon(3)).
    let line =
        stderr.lines().find(|line| line.contains("when-it-is-gone")).unwrap_or_else(|| panic!("{stderr}"));
    assert!(line.starts_with("<6>"), "{line}");
    assert!(!stderr.contains("while-it-is-there"), "{stderr}");
}
