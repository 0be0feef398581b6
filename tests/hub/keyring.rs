//! The token of a login in the keyring of a session: GNOME Keyring on a D-Bus of its own.

use super::guarded::{Guarded, PASSWORD};
use crate::harness::{Run, have};
use std::process::Command;

/// Runs the program in a new session whose keyring is unlocked, or not there at all.
fn in_session(hub: &Guarded, with_keyring: bool, variables: &[(&str, &str)], line: &str) -> Run {
    let program = hub.site.bare_command(line.split(' '));
    let mut command = Command::new("dbus-run-session");
    let unlock =
        "printf secret | gnome-keyring-daemon --unlock --components=secrets >/dev/null 2>&1 || exit 99; ";
    let script = format!("{}exec \"$@\"", if with_keyring { unlock } else { "" });
    command.args(["--", "sh", "-c", &script, "sh"]).arg(program.get_program()).args(program.get_args());
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.env("XDG_DATA_HOME", hub.site.path("data")).env("XDG_RUNTIME_DIR", hub.site.path("run"));
    command.env("SENDENSE_FINGERPRINT", hub.hub.fingerprint()).envs(variables.iter().copied());
    command.stdin(std::process::Stdio::null()).current_dir(hub.site.path(""));
    let run = Run::finished(command);
    assert_ne!(run.code, 99, "the keyring does not start: {run:#?}");
    run
}

#[test]
fn a_login_keeps_its_token_in_the_keyring_where_there_is_one() {
    if !have(&["dbus-run-session", "gnome-keyring-daemon"]) {
        return;
    }
    let hub = Guarded::new(&[]);
    std::fs::create_dir(hub.site.path("run")).unwrap();
    let password = [("SENDENSE_PASSWORD", PASSWORD)];
    let login = format!("hub login {} --user admin --name test", hub.address());

    let made = in_session(&hub, true, &password, &format!("{login} --json"));
    assert_eq!(made.code, 0, "{made:#?}");
    assert!(made.stdout.contains(r#""token_kept_in":"keyring""#), "{made:#?}");
    let file = std::fs::read_to_string(hub.config("tokens.toml")).unwrap();
    assert!(!file.contains("sendense_"), "{file}");
    // Another session of the same user has the same keyring.
    let listed = in_session(&hub, true, &[], "vm list --json");
    assert_eq!(listed.code, 0, "{listed:#?}");
    // Where there is none, that is said, with what to do.
    let without = in_session(&hub, false, &[], "vm list");
    without.failed_with(12, &["the token of test can't be had", "--keep file", "SENDENSE_TOKEN"]);
    hub.run(&[], "vm list").failed_with(12, &["the token of test can't be had", "D-Bus"]);

    // Logging out takes it out of the keyring, and revokes it.
    let out = in_session(&hub, true, &[], "hub logout");
    assert_eq!((out.code, out.stderr.contains("not revoked")), (0, false), "{out:#?}");
    let again = in_session(&hub, true, &[], "vm list --hub test");
    again.failed_with(12, &["credentials"]);
    assert_eq!(hub.site.sql("SELECT count(*) FROM api_tokens WHERE revoked_at IS NULL"), "0");

    // In a file where that is wanted, or where there is no keyring to take it.
    for (with_keyring, keep) in [(true, " --keep file"), (false, "")] {
        let made = in_session(&hub, with_keyring, &password, &format!("{login}{keep} --json"));
        assert_eq!(made.code, 0, "{made:#?}");
        assert!(made.stdout.contains(r#""token_kept_in":"file""#), "{made:#?}");
        hub.ok(&[], "vm list");
    }
    let refused = in_session(&hub, false, &password, &format!("{login} --keep keyring"));
    refused.failed_with(12, &["the keyring does not take the token", "--keep file"]);
}
