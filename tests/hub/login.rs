//! Logging in: by curl and by the program, over TLS; what ends a login, and what is no credential.

use super::guarded::{Guarded, PASSWORD, with};
use super::{curl, socket};
use crate::harness::{MIB, Site, eventually, have};
use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

#[test]
fn the_first_administrator_is_made_once_and_there_is_none_by_default() {
    if !have(&["curl"]) {
        return;
    }
    let site = Site::new();
    let hub = site.serve(&["--listen", "https://127.0.0.1:0"]);
    let certificate = site.state().join("tls/cert.pem").display().to_string();
    let login = |name: &str, password: &str| {
        // Not as an argument: a test of secrets looks at the process list.
        let file = site.path("login.json");
        std::fs::write(&file, json!({"username": name, "password": password}).to_string()).unwrap();
        let body = format!("@{}", file.display());
        let url = format!("{}/api/v1/auth/login", hub.address("https"));
        curl(&["--cacert", &certificate, "-d", &body], &url).status
    };
    for (name, password) in [("admin", "admin"), ("admin", ""), ("root", "root")] {
        assert_eq!(login(name, password), 401, "{name}");
    }
    site.bare_run("hub init").failed_with(2, &["password is needed", "SENDENSE_PASSWORD_FILE"]);
    let short = with(&site, &[("SENDENSE_PASSWORD", "elevenchars")], "hub init");
    short.failed_with(2, &["was not made", "at least 12 characters"]);
    assert!(!short.stderr.contains("elevenchars"));
    let from_elsewhere = format!("hub init --hub {}", hub.address("https"));
    let trusted = [("SENDENSE_PASSWORD", PASSWORD), ("SENDENSE_FINGERPRINT", hub.fingerprint())];
    with(&site, &trusted, &from_elsewhere).failed_with(12, &["credentials"]);
    assert_eq!(site.sql("SELECT count(*) FROM users"), "0");

    std::fs::write(site.path("password"), format!("{PASSWORD}\nsecond line\n")).unwrap();
    let file = site.path("password").display().to_string();
    let made = with(&site, &[("SENDENSE_PASSWORD_FILE", &file)], "hub init --user chief");
    assert_eq!((made.code, made.stdout.trim()), (0, "chief is the hub's administrator"), "{made:#?}");
    assert_eq!(login("chief", PASSWORD), 200);
    assert_eq!(login("admin", PASSWORD), 401);
    let trusted = [("SENDENSE_PASSWORD", PASSWORD), ("SENDENSE_FINGERPRINT", hub.fingerprint())];
    let login_quietly = format!("hub login {} --user chief --name quiet --quiet", hub.address("https"));
    for (variables, line) in [
        (&trusted[..], login_quietly.as_str()),
        (&[], "hub config check --quiet"),
        (&[], "hub use local --quiet"),
        (&[], "hub logout quiet --quiet"),
    ] {
        let run = with(&site, variables, line);
        assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (0, "", ""), "{line}: {run:#?}");
    }
    with(&site, &[("SENDENSE_PASSWORD", PASSWORD)], "hub init")
        .failed_with(5, &["chief", "already", "passwd"]);
    assert!(site.sql("SELECT password_hash FROM users").starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
}

#[test]
fn the_engine_inside_a_command_makes_users_that_a_service_lets_in() {
    if !have(&["curl"]) {
        return;
    }
    let site = Site::new();
    let made =
        with(&site, &[("SENDENSE_PASSWORD_CMD", &format!("echo {PASSWORD}"))], "hub init --hub embedded");
    assert_eq!(made.code, 0, "{made:#?}");
    let run = with(&site, &[("SENDENSE_PASSWORD", PASSWORD)], "hub users add op --role operator");
    assert_eq!(run.code, 0, "{run:#?}");
    let token = site.bare_ok("hub tokens create cron --role viewer").stdout.trim().to_owned();
    let hub = site.serve(&["--listen", "https://127.0.0.1:0"]);
    let guarded = Guarded { hub, site };
    assert_eq!(guarded.login("admin", PASSWORD).json()["role"], "admin");
    assert_eq!(guarded.login("op", PASSWORD).json()["role"], "operator");
    assert_eq!(guarded.status(&token, "/backups"), 200);
    // And both write one audit log.
    let log = guarded.site.bare_json("hub audit --hub embedded");
    let origins: Vec<&str> =
        log["entries"].as_array().unwrap().iter().filter_map(|entry| entry["origin"].as_str()).collect();
    assert_eq!(origins, ["127.0.0.1", "127.0.0.1", "process", "process", "process"]);
}

#[test]
fn a_script_logs_in_with_curl_works_and_logs_out() {
    if !have(&["curl"]) {
        return;
    }
    let hub = Guarded::new(&[]);
    let disk = hub.site.disk("web.raw", 4 * MIB, 1, 1);
    let answer = hub.login("admin", PASSWORD);
    assert_eq!(answer.status, 200);
    let logged_in = answer.json();
    assert_eq!(logged_in["role"], "admin");
    let expires: jiff::Timestamp = logged_in["expires_at"].as_str().unwrap().parse().unwrap();
    let hours = expires.duration_since(jiff::Timestamp::now()).as_secs_f64() / 3600.0;
    assert!((11.9..12.1).contains(&hours), "{hours}");
    let token = logged_in["token"].as_str().unwrap();
    let body =
        json!({"vm_name": "web", "backup_type": "full", "source": format!("file://{}", disk.display())});
    let started = hub.post(Some(token), "/backups", &body);
    assert_eq!(started.status, 202, "{}", started.json());
    let id = started.json()["backup"]["id"].as_str().unwrap().to_owned();
    eventually("the backup ends", Duration::from_secs(30), || {
        hub.curl(Some(token), &[], &format!("/backups/{id}")).json()["backup"]["status"] == "completed"
    });
    let who = hub.curl(Some(token), &[], "/auth/whoami").json();
    assert_eq!((&who["username"], &who["role"]), (&json!("admin"), &json!("admin")));

    assert_eq!(hub.curl(Some(token), &["-X", "POST"], "/auth/logout").status, 200);
    let replayed = hub.curl(Some(token), &[], "/backups");
    assert_eq!((replayed.status, &replayed.json()["code"]), (401, &json!("unauthorized")));
    assert_eq!(replayed.header("www-authenticate"), Some("Bearer"));
    assert_eq!(hub.status(token, "/health"), 200, "what needs no credentials is not refused for wrong ones");
    let entries = hub.site.bare_json("hub audit --object admin --actor admin")["entries"].clone();
    let told: Vec<_> =
        entries.as_array().unwrap().iter().map(|e| (&e["action"], &e["actor"], &e["origin"])).collect();
    let by = (&json!("admin"), &json!("127.0.0.1"));
    assert_eq!(told, [(&json!("logout"), by.0, by.1), (&json!("login"), by.0, by.1)]);
}

#[test]
fn the_program_logs_in_pins_the_certificate_and_logs_out() {
    let hub = Guarded::new(&[]);
    let other = format!("sha256:{}", "0".repeat(64));
    let secret = [("SENDENSE_PASSWORD", PASSWORD)];
    let line = format!("hub login {} --user admin --name test", hub.address());
    with(&hub.site, &secret, &format!("{line} --fingerprint {other}")).failed_with(12, &["not trusted"]);
    std::fs::write(hub.site.path("no.pem"), "no certificate\n").unwrap();
    with(&hub.site, &secret, &format!("{line} --ca {{}}/no.pem"))
        .failed_with(2, &["no.pem holds no usable certificate", "--ca FILE"]);
    let asks = with(&hub.site, &secret, &line);
    asks.failed_with(2, &["there is no terminal", &format!("--fingerprint {}", hub.hub.fingerprint())]);
    hub.hub_login("admin", "wrong horse battery")
        .failed_with(12, &["the user name or the password is wrong"]);
    hub.hub_login("nobody", PASSWORD).failed_with(12, &["the user name or the password is wrong"]);
    assert!(
        !hub.config("hubs.toml").exists() && !hub.config("tokens.toml").exists(),
        "nothing is kept of it"
    );

    let run = hub.hub_login("admin", PASSWORD);
    assert_eq!(run.code, 0, "{run:#?}");
    for file in ["hubs.toml", "tokens.toml"] {
        assert_eq!(hub.config(file).metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file}");
    }
    let listed = hub.site.bare_json("hub list");
    assert_eq!(
        (&listed["current"], &listed["hubs"][0]["fingerprint"], &listed["hubs"][0]["logged_in"]),
        (&json!("test"), &json!(hub.hub.fingerprint()), &json!(true))
    );
    // Nothing else needs to be said from now on.
    assert_eq!(hub.site.bare_json("backup list")["total"], 0);
    let status = hub.site.bare_json("hub status");
    assert_eq!((&status["name"], &status["denied"]), (&json!("test"), &json!(null)));
    assert_eq!(status["hub"], hub.address());
    // A wrong pin is refused before the token is sent.
    with(&hub.site, &[("SENDENSE_FINGERPRINT", &other)], "backup list").failed_with(12, &["not trusted"]);
    hub.site.bare_ok("hub use local");
    assert_eq!(hub.site.bare_json("hub status")["name"], json!(null));
    hub.site.bare_ok("hub use test");
    hub.site.bare_run("hub use nowhere").failed_with(4, &["no hub named nowhere"]);

    std::fs::set_permissions(hub.config("tokens.toml"), std::fs::Permissions::from_mode(0o644)).unwrap();
    hub.site.bare_run("backup list").failed_with(12, &["others may read"]);
    std::fs::set_permissions(hub.config("tokens.toml"), std::fs::Permissions::from_mode(0o600)).unwrap();
    let kept = std::fs::read_to_string(hub.config("tokens.toml")).unwrap();
    let token = kept.split('"').nth(1).unwrap().to_owned();
    assert_eq!(hub.status(&token, "/backups"), 200);
    hub.site.bare_ok("hub logout");
    assert_eq!(hub.status(&token, "/backups"), 401, "it is revoked at the hub");
    assert!(!std::fs::read_to_string(hub.config("tokens.toml")).unwrap().contains(&token));
    hub.site.bare_run("hub logout").failed_with(4, &["not logged in"]);
    hub.site.bare_ok("hub use test");
    hub.site.bare_run("backup list").failed_with(12, &["hub login"]);
    hub.site.bare_ok("hub logout test --forget");
    assert_eq!(hub.site.bare_json("hub list")["hubs"], json!([]));
}

#[test]
fn a_program_logs_in_with_an_api_token_which_outlives_its_logout() {
    let hub = Guarded::new(&[]);
    let token = hub.api_token("cron --role operator");
    let line =
        format!("hub login {} --token --name cron --fingerprint {}", hub.address(), hub.hub.fingerprint());
    with(&hub.site, &[("SENDENSE_TOKEN", "sendense_wrong")], &line).failed_with(12, &["not valid"]);
    with(&hub.site, &[], &line).failed_with(2, &["--token needs a token"]);
    let run = with(&hub.site, &[("SENDENSE_TOKEN", &token)], &line);
    assert_eq!(run.code, 0, "{run:#?}");
    hub.site.bare_ok("vm list");
    hub.site.bare_run("hub users list").failed_with(12, &["role admin"]);
    let out = hub.site.bare_ok("hub logout");
    assert!(!out.stderr.contains("warning"), "{out:#?}");
    assert_eq!(hub.status(&token, "/backups"), 200, "others use it, too");
    // Without a profile, from the environment alone.
    let line = format!("backup list --hub {}", hub.address());
    hub.ok(&[("SENDENSE_TOKEN", &token)], &line);
    hub.run(&[], &line).failed_with(12, &["hub login"]);
    hub.site.bare_ok("hub tokens revoke cron --yes");
    hub.run(&[("SENDENSE_TOKEN", &token)], &line).failed_with(12, &["not valid", "hub login"]);
    hub.site.bare_run("hub tokens revoke cron --yes").failed_with(4, &["no valid token"]);
}

#[test]
fn a_login_that_is_not_needed_any_more_is_ended() {
    let hub = Guarded::new(&[]);
    let logins = || {
        let all = hub.site.json("hub tokens list --hub local");
        all["tokens"].as_array().unwrap().iter().filter(|token| token["kind"] == "login").count()
    };
    for _ in 0..3 {
        let run = hub.hub_login("admin", PASSWORD);
        assert_eq!(run.code, 0, "{run:#?}");
        assert_eq!(logins(), 1, "the one before is ended");
    }
    // By the profile's name, with its user, its certificate and all.
    let name = hub.site.bare_json("hub list")["current"].as_str().unwrap().to_owned();
    let again = with(&hub.site, &[("SENDENSE_PASSWORD", PASSWORD)], &format!("hub login {name}"));
    assert_eq!(again.code, 0, "{again:#?}");
    assert_eq!(logins(), 1);
    // Whatever the environment says, its own token is what a profile gives back.
    let other = [("SENDENSE_TOKEN", "sendense_other")];
    assert_eq!(with(&hub.site, &other, "hub logout").code, 0);
    assert_eq!(logins(), 0);
    assert_eq!(with(&hub.site, &[("SENDENSE_PASSWORD", PASSWORD)], &format!("hub login {name}")).code, 0);
    // A name that is another hub's from now on.
    let next = Guarded::new(&[]);
    let moved = format!(
        "hub login {} --name {name} --user admin --fingerprint {}",
        next.address(),
        next.hub.fingerprint()
    );
    let moved = with(&hub.site, &[("SENDENSE_PASSWORD", PASSWORD)], &moved);
    assert_eq!(moved.code, 0, "{moved:#?}");
    assert_eq!(logins(), 0, "its login is ended where it was");
    assert_eq!(hub.hub_login("admin", PASSWORD).code, 0);
    let name = hub.site.bare_json("hub list")["current"].as_str().unwrap().to_owned();
    // Where there is no keyring to keep it, it is not kept at all.
    let nowhere = [("SENDENSE_PASSWORD", PASSWORD), ("DBUS_SESSION_BUS_ADDRESS", "unix:path=/none")];
    let refused = with(&hub.site, &nowhere, &format!("hub login {name} --keep keyring"));
    assert_ne!(refused.code, 0, "{refused:#?}");
    assert_eq!(logins(), 1);
}

#[test]
fn a_login_ends_by_itself() {
    if !have(&["curl"]) {
        return;
    }
    let hub = Guarded::new(&["--set", "auth.login_lifetime=2s"]);
    let run = hub.hub_login("admin", PASSWORD);
    assert_eq!(run.code, 0, "{run:#?}");
    // Under somebody who watches, too; what is watched goes on.
    let disk = hub.site.disk("slow.raw", 24 * MIB, 24, 1);
    let watched = format!("backup start --vm slow --source {} --bandwidth 1M", disk.display());
    hub.site
        .bare_run(&watched)
        .failed_with(12, &["the job goes on", "sendense-ctl backup watch backup-slow-"]);
    assert_eq!(hub.site.json("backup list --hub local --status running")["total"], 1);
    let token = hub.token("admin", PASSWORD);
    assert_eq!(hub.status(&token, "/backups"), 200);
    eventually("it ends", Duration::from_secs(15), || hub.status(&token, "/backups") == 401);
    hub.site.bare_run("backup list").failed_with(12, &["no longer", "hub login"]);
    let listed = hub.site.bare_json("hub list");
    assert_eq!(listed["hubs"][0]["logged_in"], false, "{listed}");
    let shown = hub.site.bare_run("hub list").stdout;
    assert!(shown.contains("expired"), "{shown}");
    // What is copied is the catalog of this machine, which is not that of the hub in use.
    let to = hub.site.path("copy.db");
    let migrate = format!("catalog migrate --to {}", to.display());
    hub.site.bare_run(&migrate).failed_with(2, &["the hub in use is at https://", "--from CATALOG"]);
    assert!(!to.exists());
}

#[test]
fn who_guesses_waits_and_is_locked_and_the_machines_own_administrator_is_not() {
    if !have(&["curl"]) {
        return;
    }
    let hub = Guarded::new(&["--set", "auth.attempts=2", "--set", "auth.lock_time=4s"]);
    let wrong = |name: &str| hub.login(name, "wrong horse battery");
    assert_eq!(wrong("admin").status, 401);
    let waits = hub.login("admin", PASSWORD);
    assert_eq!((waits.status, waits.header("retry-after")), (429, Some("1")), "{}", waits.json());
    eventually("the second guess is heard", Duration::from_secs(10), || wrong("admin").status == 401);
    let locked = hub.login("admin", PASSWORD);
    assert_eq!((locked.status, &locked.json()["code"]), (423, &json!("locked")), "the right one, too");
    let wait: u64 = locked.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=4).contains(&wait), "{wait}");
    hub.hub_login("admin", PASSWORD).failed_with(11, &["too many logins have failed", "its machine"]);
    // Others may log in, and on the machine itself nothing is asked.
    let run = with(&hub.site, &[("SENDENSE_PASSWORD", PASSWORD)], "hub users add other --role viewer");
    assert_eq!(run.code, 0, "{run:#?}");
    assert_eq!(hub.login("other", PASSWORD).status, 200);
    eventually("the lock ends", Duration::from_secs(20), || hub.login("admin", PASSWORD).status == 200);
    assert_eq!(wrong("admin").status, 401, "it begins anew");
}

#[test]
fn what_is_no_credential_is_refused_and_an_explicit_one_counts() {
    if !have(&["curl"]) {
        return;
    }
    let hub = Guarded::new(&["--listen", "http://127.0.0.1:0"]);
    let token = hub.token("admin", PASSWORD);
    let plain = hub.hub.address("http:").strip_prefix("http://").unwrap().to_owned();
    let ask = |headers: &str| {
        let mut stream = TcpStream::connect(&plain).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        // What is refused half-way may be cut off.
        drop(write!(stream, "GET /api/v1/backups HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n"));
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer));
        String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
    };
    let good = format!("Authorization: Bearer {token}\r\n");
    assert!(ask(&good).contains("200"));
    for (headers, status) in [
        (String::new(), "401"),
        (format!("{good}{good}"), "401"),
        (format!("{good}Authorization: Bearer x\r\n"), "401"),
        (format!("Authorization: Basic {token}\r\n"), "401"),
        (format!("Authorization: {token}\r\n"), "401"),
        (format!("Authorization: Bearer {token}0\r\n"), "401"),
        (format!("Authorization: Bearer {}\r\n", &token[..token.len() - 1]), "401"),
        (format!("Authorization: Bearer {}\r\n", token.to_uppercase()), "401"),
        (format!("Authorization: Bearer {}\r\n", "x".repeat(20_000)), "401"),
        (format!("X-Authorization: Bearer {token}\r\n"), "401"),
        (format!("Cookie: token={token}\r\n"), "401"),
        ("X-Remote-User: admin\r\nX-Forwarded-For: 127.0.0.1\r\n".to_owned(), "401"),
    ] {
        let answer = ask(&headers);
        assert!(answer.contains(status), "{answer}: {headers:.200}");
    }
    let huge = ask(&format!("Authorization: Bearer {}\r\n", "x".repeat(200_000)));
    assert!(huge.is_empty() || huge.contains("431"), "{huge}");
    // Not in the URL, either.
    let url = format!("http://{plain}/api/v1/backups?token={token}");
    assert_eq!(curl(&[], &url).status, 401);

    // Over the machine's own socket a token is who one is, and a wrong one is not left out of account.
    let viewer = hub.api_token("viewer --role viewer");
    let own = socket(&hub.site);
    let over_socket = |token: &str| {
        let header = format!("Authorization: Bearer {token}");
        curl(&["--unix-socket", &own, "-H", &header, "-X", "POST"], "http://localhost/api/v1/doctor/fix")
            .status
    };
    assert_eq!((over_socket(&viewer), over_socket("x")), (403, 401));
}

#[test]
fn another_user_of_the_machine_needs_a_token() {
    let root =
        std::fs::metadata("/proc/self").is_ok_and(|found| std::os::unix::fs::MetadataExt::uid(&found) == 0);
    if !root || !have(&["curl", "setpriv"]) {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let open = place.path().join("hub.sock");
    let hub = Guarded::new(&["--listen", &format!("unix://{}", open.display())]);
    let token = hub.api_token("cron --role viewer");
    let ask = |socket: &str, header: &str| {
        let mut command = Command::new("setpriv");
        command.args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "curl",
            "-s",
            "-w",
            "%{http_code}",
        ]);
        command.args([
            "-o",
            "/dev/null",
            "--unix-socket",
            socket,
            "-H",
            header,
            "http://localhost/api/v1/backups",
        ]);
        String::from_utf8_lossy(&command.output().unwrap().stdout).into_owned()
    };
    let open = open.display().to_string();
    assert_eq!(ask(&open, "X-A: b"), "401");
    assert_eq!(ask(&open, &format!("Authorization: Bearer {token}")), "200");
    assert_eq!(
        ask(&socket(&hub.site), &format!("Authorization: Bearer {token}")),
        "000",
        "the kernel keeps them out"
    );
}
