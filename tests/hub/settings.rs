//! The settings of `hub serve`: what wins, and what is refused.

use crate::harness::{Site, eventually};
use std::fs;
use std::time::Duration;

fn write(site: &Site, text: &str) -> String {
    let path = site.path("hub.toml");
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let site = Site::new();
    let file =
        write(&site, "listen = ['https://127.0.0.1:1']\nstop_timeout = '5m'\n[limits]\nconnections = 7\n");
    let mut command = site.bare_command(["hub", "config", "show", "--json", "--config", &file]);
    command.args(["--stop-timeout", "7m", "--set", "limits.body_timeout=9s"]);
    command.env("SENDENSE_STOP_TIMEOUT", "6m").env("SENDENSE_LIMITS_CONNECTIONS", "8");
    let output = command.output().unwrap();
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    for (key, value, origin) in [
        ("stop_timeout", serde_json::json!("7m"), "command line"),
        ("limits.connections", serde_json::json!(8), "SENDENSE_LIMITS_CONNECTIONS"),
        ("limits.body_timeout", serde_json::json!("9s"), "command line"),
        ("listen", serde_json::json!(["https://127.0.0.1:1"]), &*file),
        ("log.level", serde_json::json!("info"), "default"),
    ] {
        assert_eq!(shown["settings"][key]["value"], value, "{key}: {shown:#}");
        assert_eq!(shown["settings"][key]["origin"], origin, "{key}");
    }
}

#[test]
fn what_is_shown_is_a_file_that_means_the_same() {
    let site = Site::new();
    let shown =
        site.bare_ok("hub config show --set limits.connections=9 --listen https://127.0.0.1:77").stdout;
    let file = write(&site, &shown);
    let read = site.bare_json(&format!("hub config show --config {file}"));
    assert_eq!(read["settings"]["limits.connections"]["value"], 9);
    assert_eq!(read["settings"]["listen"]["value"][0], "https://127.0.0.1:77");
    assert!(site.bare_ok(&format!("hub config check --config {file}")).stdout.contains("in order"));
}

#[test]
fn what_is_wrong_is_named_before_anything_is_begun() {
    let site = Site::new();
    for (text, parts) in [
        ("lisen = []", &["lisen", "did you mean listen?"][..]),
        ("[limits]\nconections = 1", &["limits.conections", "did you mean limits.connections?"]),
        ("listen = ['http://0.0.0.0:8082']", &["listen", "in the clear"]),
        ("[log]\nlevel = 'loud'", &["log.level", "loud"]),
        ("[tls]\ncertificate = '/nothing.pem'\nkey = '/nothing.key'", &["/nothing.pem"]),
        ("a = ", &["line 1"]),
    ] {
        let file = write(&site, text);
        let run = site.bare_run(&format!("hub config check --config {file}"));
        assert_ne!(run.code, 0, "{text}: {run:#?}");
        run.failed_with(run.code, parts);
        site.bare_run(&format!("hub serve --config {file}")).failed_with(run.code, parts);
    }
    site.bare_run("hub config check --config /no/such/file").failed_with(2, &["/no/such/file"]);
    site.bare_run("hub serve --set limits.connections").failed_with(2, &["KEY=VALUE"]);
    assert!(!site.state().join("hub.sock").exists());
}

#[test]
fn a_reload_changes_the_level_of_the_log_and_a_wrong_file_changes_nothing() {
    let site = Site::new();
    let file = write(&site, "listen = []\n[log]\nlevel = 'info'\n");
    let hub = site.serve(&["--config", &file]);
    let log = || fs::read_to_string(site.path("hub.log")).unwrap();
    site.bare_ok("backup list");
    eventually("requests are logged", Duration::from_secs(10), || log().contains("/api/v1/backups"));
    write(&site, "listen = []\n[log]\nlevel = 'loud'\n");
    hub.running.signal("HUP");
    eventually("the wrong level is refused", Duration::from_secs(10), || log().contains("loud"));
    write(&site, "listen = ['https://127.0.0.1:1']\n[log]\nlevel = 'error'\n");
    hub.running.signal("HUP");
    let told = "these settings take effect at the next start: listen";
    // The level is lowered first, so that the line about the rest is not in the log any more.
    site.bare_ok("vm list");
    eventually("requests are not logged any more", Duration::from_secs(10), || {
        let before = log().len();
        site.bare_ok("repo list");
        log().len() == before
    });
    assert!(!log().contains(told));
    write(&site, "listen = ['https://127.0.0.1:1']\n[log]\nlevel = 'info'\n");
    hub.running.signal("HUP");
    eventually("what needs a restart is named", Duration::from_secs(10), || log().contains(told));
}
