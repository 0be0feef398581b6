//! TLS: the own certificate, pins and authorities, and what is refused.

use super::{curl, stop};
use crate::harness::{Run, Site, eventually, have};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const ANY: &str = "https://127.0.0.1:0";

fn with(site: &Site, variables: &[(&str, &str)], line: &str) -> Run {
    let mut command = site.bare_command(line.split(' '));
    command.envs(variables.iter().copied());
    Run::finished(command)
}

fn openssl(arguments: &[&str]) -> String {
    let output = Command::new("openssl").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn the_own_certificate_is_pinned_and_another_one_is_refused() {
    if !have(&["openssl"]) {
        return;
    }
    let site = Site::new();
    let hub = site.serve(&["--listen", ANY]);
    let (address, pin) = (hub.address("https"), hub.fingerprint());
    let certificate = site.state().join("tls/cert.pem");
    let shown = openssl(&["x509", "-in", certificate.to_str().unwrap(), "-noout", "-fingerprint", "-sha256"]);
    let (_, shown) = shown.trim().split_once('=').unwrap();
    assert_eq!(pin, format!("sha256:{}", shown.replace(':', "").to_lowercase()));

    let line = format!("hub status --hub {address}");
    for pin in [pin, shown] {
        let run = with(&site, &[("SENDENSE_FINGERPRINT", pin)], &line);
        assert_eq!(run.code, 0, "{run:#?}");
    }
    let other = format!("sha256:{}", "0".repeat(64));
    with(&site, &[("SENDENSE_FINGERPRINT", &other)], &line).failed_with(12, &["not trusted", pin, &other]);
    site.bare_run(&line).failed_with(12, &["nobody that this machine trusts", "--fingerprint"]);
    let authority = certificate.display().to_string();
    assert_eq!(with(&site, &[("SENDENSE_CA", &authority)], &line).code, 0, "it may vouch for itself");
    let run = with(&site, &[("SENDENSE_CA", &authority), ("SENDENSE_FINGERPRINT", "")], &line);
    assert_eq!(run.code, 0, "{run:#?}");
    let name = format!("hub status --hub {}", address.replace("127.0.0.1", "[::1]"));
    with(&site, &[("SENDENSE_FINGERPRINT", pin)], &name).failed_with(10, &["no hub answers"]);
    assert_eq!(stop(&site, hub), 0);

    let again = site.serve(&["--listen", ANY]);
    assert_eq!(again.fingerprint(), shown_pin(shown), "it is kept");
}

fn shown_pin(shown: &str) -> String {
    format!("sha256:{}", shown.replace(':', "").to_lowercase())
}

#[test]
fn without_credentials_a_network_gets_health_and_nothing_else() {
    if !have(&["curl"]) {
        return;
    }
    let site = Site::new();
    let hub = site.serve(&["--listen", ANY]);
    let certificate = site.state().join("tls/cert.pem").display().to_string();
    let base = format!("{}/api/v1", hub.address("https"));
    let get = |path: &str| curl(&["--cacert", &certificate], &format!("{base}{path}"));
    assert_eq!(get("/health").json()["status"], "healthy");
    assert_eq!(get("/openapi.json").status, 200);
    for path in ["/backups", "/repositories", "/jobs", "/doctor", "/debug/endpoints", "/restore/mounts"] {
        let answer = get(path);
        assert_eq!((answer.status, &answer.json()["code"]), (401, &"unauthorized".into()), "{path}");
    }
    let forged =
        ["--cacert", &certificate, "-H", "Authorization: Bearer x", "-H", "X-Forwarded-For: 127.0.0.1"];
    assert_eq!(curl(&forged, &format!("{base}/backups")).status, 401);
    let run = with(
        &site,
        &[("SENDENSE_FINGERPRINT", hub.fingerprint())],
        &format!("backup list --hub {}", hub.address("https")),
    );
    run.failed_with(12, &["hub login"]);
}

#[test]
fn a_certificate_is_read_again_without_a_restart() {
    if !have(&["openssl", "curl"]) {
        return;
    }
    let site = Site::new();
    let (certificate, key) = (site.path("c.pem"), site.path("k.pem"));
    make(&certificate, &key, "one");
    let paths = [certificate.to_str().unwrap(), key.to_str().unwrap()];
    let hub = site.serve(&["--listen", ANY, "--tls-certificate", paths[0], "--tls-key", paths[1]]);
    let first = hub.fingerprint().to_owned();
    let line = format!("hub status --hub {}", hub.address("https"));
    assert_eq!(with(&site, &[("SENDENSE_FINGERPRINT", &first)], &line).code, 0);
    make(&certificate, &key, "two");
    hub.running.signal("HUP");
    eventually("the new one is shown", Duration::from_secs(20), || {
        with(&site, &[("SENDENSE_FINGERPRINT", &first)], &line).code == 12
    });
    std::fs::write(&certificate, "no certificate").unwrap();
    hub.running.signal("HUP");
    eventually("the wrong one is refused", Duration::from_secs(20), || {
        std::fs::read_to_string(site.path("hub.log")).unwrap().contains("the certificate was not read again")
    });
    assert_eq!(curl(&["-k"], &format!("{}/api/v1/health", hub.address("https"))).status, 200);
}

fn make(certificate: &Path, key: &Path, name: &str) {
    let subject = format!("/CN={name}");
    openssl(&[
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
        "-subj",
        &subject,
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-keyout",
        key.to_str().unwrap(),
        "-out",
        certificate.to_str().unwrap(),
    ]);
}

#[test]
fn what_is_no_tls_ends_and_does_no_harm() {
    let site = Site::new();
    let hub = site.serve(&["--listen", ANY, "--set", "limits.header_timeout=1s"]);
    let address = hub.address("https").strip_prefix("https://").unwrap().to_owned();
    for bytes in [
        &b"GET /api/v1/health HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        &[0; 1000],
        &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xff],
        b"",
    ] {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        // A reset is an end too.
        if let Err(error) = stream.read_to_end(&mut answer) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{bytes:?}");
        }
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{bytes:?}");
    }
    site.bare_run(&format!("hub status --hub http://{address}")).failed_with(10, &[]);
    let run = with(
        &site,
        &[("SENDENSE_FINGERPRINT", hub.fingerprint())],
        &format!("hub status --hub https://{address}"),
    );
    assert_eq!(run.code, 0, "{run:#?}");
}

#[test]
fn a_wrong_address_is_told_and_not_tried() {
    let site = Site::new();
    site.bare_run("backup list --hub http://hub.example").failed_with(2, &["in the clear"]);
    site.bare_run("backup list --hub https://me:secret@hub.example").failed_with(2, &["hub login"]);
    site.bare_run("backup list --hub nowhere").failed_with(2, &["no hub named nowhere", "hub list"]);
    site.bare_run("backup list --hub unix:///no/such.sock").failed_with(10, &["no hub answers", "no socket"]);
    site.bare_run("backup list --hub https://127.0.0.1:1").failed_with(10, &["no hub answers", "refused"]);
}

#[test]
fn old_protocols_and_other_names_are_refused() {
    if !have(&["openssl", "curl"]) {
        return;
    }
    let site = Site::new();
    let hub = site.serve(&["--listen", ANY]);
    let address = hub.address("https").strip_prefix("https://").unwrap().to_owned();
    // At its lowest level the client itself would take them: it is the hub that says no.
    let begun = |version: &str| {
        let arguments = ["s_client", "-connect", &address, version, "-cipher", "ALL:@SECLEVEL=0", "-brief"];
        let output =
            Command::new("openssl").args(arguments).stdin(std::process::Stdio::null()).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for version in ["-tls1", "-tls1_1"] {
        let (done, said) = begun(version);
        let told =
            ["alert protocol version", "alert handshake failure"].iter().any(|alert| said.contains(alert));
        assert!(!done && told, "{version}: {said}");
    }
    for version in ["-tls1_2", "-tls1_3"] {
        let (done, said) = begun(version);
        assert!(done, "{version}: {said}");
    }
    let certificate = site.state().join("tls/cert.pem").display().to_string();
    let port = address.rsplit(':').next().unwrap();
    let asked = |name: &str| {
        let resolve = format!("{name}:{port}:127.0.0.1");
        let arguments = ["-sS", "--resolve", &resolve, "--cacert", &certificate, "-w", "%{http_code}"];
        let url = format!("https://{name}:{port}/api/v1/health");
        Command::new("curl").args(arguments).args(["-o", "/dev/null", &url]).output().unwrap()
    };
    assert_eq!(asked("localhost").stdout, b"200");
    let other = asked("hub.example");
    let said = String::from_utf8_lossy(&other.stderr);
    assert!(!other.status.success() && said.contains("target host name"), "{said}");
    let unknown = Command::new("curl").args(["-sS", &format!("https://{address}/")]).output().unwrap();
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("certificate"), "{unknown:?}");
}
