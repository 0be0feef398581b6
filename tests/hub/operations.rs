//! What an administrator's other programs see of a hub: Prometheus its metrics, somebody who helps a bundle.

use super::curl;
use super::guarded::{Guarded, PASSWORD, with};
use crate::harness::{MIB, Run, Running, Site, eventually, have};
use serde_json::Value;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// A hub with a good backup of `web`, a VM `idle` without any, and a verification that has found damage.
fn worked() -> Guarded {
    let hub = Guarded::new(&[]);
    let disk = hub.site.disk("web.raw", 16 * MIB, 3, 1);
    hub.site.bare_ok(&format!("vm add web --disk {}", disk.display()));
    hub.site.bare_ok(&format!("vm add idle --disk {}", disk.display()));
    hub.site.bare_ok("backup start --vm web --quiet");
    let file = hub.site.files_ending(".qcow2").remove(0);
    let good = std::fs::read(&file).unwrap();
    let mut bad = good.clone();
    let last = bad.len() - 100_000;
    bad[last] ^= 1;
    std::fs::write(&file, &bad).unwrap();
    assert_eq!(hub.site.bare_run("backup verify web@latest --quiet").code, 6);
    std::fs::write(&file, &good).unwrap();
    hub
}

/// The value of a line of the metrics.
fn value(metrics: &str, series: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let line = line.unwrap_or_else(|| panic!("{series} is not in {metrics}"));
    line.parse().unwrap_or_else(|error| panic!("{series}: {error}: {line}"))
}

#[test]
fn metrics_say_what_has_happened_and_promtool_finds_nothing_wrong_with_them() {
    if !have(&["curl", "promtool"]) {
        return;
    }
    let hub = worked();
    let token = hub.api_token("prometheus --role viewer");
    hub.status(&token, "/backups/no-such-backup");
    hub.status(&token, "/no-such-route");
    let answer = hub.curl(Some(&token), &[], "/metrics");
    assert_eq!(answer.status, 200);
    assert!(answer.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    let metrics = String::from_utf8(answer.body).unwrap();

    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let checked = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(checked.status.success() && said.is_empty(), "{said}\n{metrics}");

    assert_eq!(value(&metrics, "sendense_catalog_up"), 1.0);
    assert_eq!(
        value(&metrics, r#"sendense_job_duration_seconds_count{job_type="backup",status="completed"}"#),
        1.0
    );
    assert_eq!(
        value(&metrics, r#"sendense_job_duration_seconds_count{job_type="verify",status="completed"}"#),
        1.0
    );
    assert_eq!(value(&metrics, "sendense_verify_damaged_total"), 1.0);
    assert!(value(&metrics, r#"sendense_job_bytes_total{job_type="backup"}"#) > 0.0);
    assert_eq!(value(&metrics, r#"sendense_jobs{job_type="backup",status="stalled"}"#), 0.0);
    let shown = hub.site.bare_json("backup show web@latest");
    let ended: jiff::Timestamp = shown["backup"]["completed_at"].as_str().unwrap().parse().unwrap();
    let told = value(&metrics, r#"sendense_vm_last_backup_timestamp_seconds{vm="web"}"#);
    assert!((told - ended.as_millisecond() as f64 / 1000.0).abs() < 0.01, "{told} and {ended}");
    assert_eq!(value(&metrics, r#"sendense_vm_last_backup_timestamp_seconds{vm="idle"}"#), 0.0);
    assert_eq!(value(&metrics, r#"sendense_repository_up{repository="default"}"#), 1.0);
    assert_eq!(value(&metrics, r#"sendense_repository_backups{repository="default"}"#), 1.0);
    assert!(value(&metrics, r#"sendense_repository_available_bytes{repository="default"}"#) > 0.0);
    for (route, status) in [("/api/v1/backups/{id}", "404"), ("none", "404")] {
        let series = format!(
            r#"sendense_http_request_duration_seconds_count{{method="GET",route="{route}",status="{status}"}}"#
        );
        assert_eq!(value(&metrics, &series), 1.0);
    }
    assert!(value(&metrics, "process_resident_memory_bytes") > 1e6);

    // A repository that has gone is told, and so is the rest.
    let place = hub.site.repository();
    std::fs::rename(&place, hub.site.path("elsewhere")).unwrap();
    let metrics = String::from_utf8(hub.curl(Some(&token), &[], "/metrics").body).unwrap();
    assert_eq!(value(&metrics, r#"sendense_repository_up{repository="default"}"#), 0.0);
    assert!(!metrics.contains("sendense_repository_available_bytes{"), "{metrics}");
    assert_eq!(value(&metrics, r#"sendense_repository_backups{repository="default"}"#), 1.0);

    // Whoever may see some VMs does not see the hub.
    let some = hub.api_token("some --role viewer --vm web");
    assert_eq!(hub.status(&some, "/metrics"), 403);
    assert_eq!(hub.curl(None, &[], "/metrics").status, 401);
}

#[test]
fn a_prometheus_server_scrapes_the_hub_over_tls_with_a_token() {
    if !have(&["curl", "prometheus"]) {
        return;
    }
    let hub = worked();
    let token = hub.site.path("prometheus.token");
    std::fs::write(&token, hub.api_token("prometheus --role viewer")).unwrap();
    // Prometheus can't be given port 0 and asked what it has taken.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = format!(
        "scrape_configs:\n- job_name: sendense\n  scrape_interval: 1s\n  scheme: https\n  metrics_path: /api/v1/metrics\n  \
         authorization: {{ credentials_file: {} }}\n  tls_config: {{ ca_file: {} }}\n  static_configs: [ {{ targets: ['{}'] }} ]\n",
        token.display(),
        hub.site.state().join("tls/cert.pem").display(),
        hub.address().trim_start_matches("https://"),
    );
    let file = hub.site.path("prometheus.yml");
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new("prometheus");
    command
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--storage.tsdb.path={}", hub.site.path("tsdb").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let _prometheus = Running::start(&mut command);
    eventually("Prometheus has the metrics", Duration::from_secs(90), || {
        let query =
            format!("http://127.0.0.1:{port}/api/v1/query?query=sendense_vm_last_backup_timestamp_seconds");
        let Ok(output) = Command::new("curl").args(["-s", &query]).output() else { return false };
        let Ok(found) = serde_json::from_slice::<Value>(&output.stdout) else { return false };
        let series = found["data"]["result"].as_array().cloned().unwrap_or_default();
        let of = |vm: &str| series.iter().find(|one| one["metric"]["vm"] == vm).cloned();
        of("web").is_some_and(|web| web["value"][1] != "0") && of("idle").is_some()
    });
}

/// The files of a bundle by name, as tar unpacks them.
fn unpacked(site: &Site, bundle: &Path) -> Vec<(String, String)> {
    let folder = site.path("unpacked");
    drop(std::fs::remove_dir_all(&folder));
    std::fs::create_dir(&folder).unwrap();
    let status = Command::new("tar").arg("-xzf").arg(bundle).arg("-C").arg(&folder).status().unwrap();
    assert!(status.success());
    let inner = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    let files = std::fs::read_dir(inner).unwrap().map(|entry| entry.unwrap().path());
    files
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect()
}

#[test]
fn a_bundle_has_what_helps_and_no_secret() {
    let hub = worked();
    let run = hub.hub_login("admin", PASSWORD);
    assert_eq!(run.code, 0, "{run:#?}");
    let api = hub.api_token("cron --role operator");
    let bundle = hub.site.path("b.tar.gz");
    let line = format!("support-bundle --output {}", bundle.display());
    let told = with(
        &hub.site,
        &[("SENDENSE_CATALOG_PASSWORD", "hunter2"), ("SENDENSE_TOKEN", &api)],
        &format!("{line} --hub local --json"),
    );
    assert_eq!(told.code, 0, "{told:#?}");
    let told: Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!(told["missing"].as_array().unwrap().len(), 0);
    assert_eq!(bundle.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let files = unpacked(&hub.site, &bundle);
    let of =
        |name: &str| &files.iter().find(|(found, _)| found == name).unwrap_or_else(|| panic!("{name}")).1;
    assert!(of("about.json").contains(env!("CARGO_PKG_VERSION")));
    assert!(of("environment.txt").contains("SENDENSE_CATALOG_PASSWORD is set"));
    assert!(of("settings.txt").contains("limits.connections = 1024"));
    assert!(of("metrics.txt").contains("sendense_catalog_up 1"));
    let jobs: Value = serde_json::from_str(of("jobs.json")).unwrap();
    assert_eq!(jobs["jobs"].as_array().unwrap().len(), 2);
    let doctor: Value = serde_json::from_str(of("doctor.json")).unwrap();
    assert_eq!(doctor["success"], true);
    let whole = files.iter().map(|(_, text)| text.as_str()).collect::<String>();
    for secret in ["hunter2", PASSWORD, api.trim_start_matches("sendense_")] {
        assert!(!whole.contains(secret), "{secret}");
    }
    assert!(whole.contains("web.raw"));

    // Nothing is overwritten.
    let again: Run = hub.site.bare_run(&format!("{line} --hub local"));
    again.failed_with(5, &["b.tar.gz", "exists", "--output"]);

    // Without names; the fields stay what they are.
    let bundle = hub.site.path("anonymous.tar.gz");
    let made =
        hub.site.bare_ok(&format!("support-bundle --anonymous --hub local --output {}", bundle.display()));
    assert!(made.stdout.contains("anonymous.tar.gz"));
    let files = unpacked(&hub.site, &bundle);
    let repositories = &files.iter().find(|(name, _)| name == "repositories.json").unwrap().1;
    let repositories: Value = serde_json::from_str(repositories).unwrap();
    assert_eq!(repositories["repositories"][0]["default"], true);
    assert_eq!(repositories["repositories"][0]["name"], "repository-1");
    for (name, text) in &files {
        for known in ["web", "idle", "web.raw", hub.site.state().to_str().unwrap()] {
            assert!(!text.contains(known), "{known} in {name}: {text}");
        }
    }
}

#[test]
fn a_bundle_of_a_hub_that_is_not_there_says_so_and_has_the_rest() {
    let site = Site::new();
    let bundle = site.path("b.tar.gz");
    let line = format!("support-bundle --hub http://127.0.0.1:1 --output {}", bundle.display());
    let made = site.bare_run(&line);
    assert_eq!(made.code, 3, "{made:#?}");
    let files = unpacked(&site, &bundle);
    let of = |name: &str| files.iter().find(|(found, _)| found == name).map(|(_, text)| text.as_str());
    assert!(of("errors.txt").unwrap().contains("health.json"), "{files:?}");
    assert!(of("about.json").is_some() && of("jobs.json").is_none());
}

#[test]
fn the_log_of_a_service_is_an_object_a_line_where_that_is_wanted() {
    if !have(&["curl"]) {
        return;
    }
    let site = Site::new();
    let hub = site.serve(&["--listen", "http://127.0.0.1:0", "--log-format", "json"]);
    let answer =
        curl(&["-H", "X-Request-Id: from-a-test"], &format!("{}/api/v1/health", hub.address("http")));
    assert_eq!(answer.status, 200);
    eventually("the request is logged", Duration::from_secs(30), || {
        let log = std::fs::read_to_string(site.path("hub.log")).unwrap();
        let lines: Vec<Value> = log
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .collect();
        lines.iter().any(|line| {
            line["id"] == "from-a-test"
                && line["path"] == "/api/v1/health"
                && line["status"] == 200
                && line["level"].is_string()
                && line["timestamp"].is_string()
        })
    });
}
