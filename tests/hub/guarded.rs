//! A hub on TLS with an administrator, and the ways to it.

use super::{Answer, curl};
use crate::harness::{Run, Serving, Site};
use serde_json::{Value, json};
use std::path::PathBuf;

pub const PASSWORD: &str = "correct horse battery";

/// A hub on TLS whose administrator is `admin` with [`PASSWORD`].
pub struct Guarded {
    pub hub: Serving,
    pub site: Site,
}

impl Guarded {
    pub fn new(arguments: &[&str]) -> Guarded {
        let site = Site::new();
        let hub = site.serve(&[&["--listen", "https://127.0.0.1:0"], arguments].concat());
        let run = with(&site, &[("SENDENSE_PASSWORD", PASSWORD)], "hub init");
        assert_eq!(run.code, 0, "{run:#?}");
        Guarded { hub, site }
    }

    pub fn address(&self) -> &str {
        self.hub.address("https")
    }

    /// Asks with curl, over TLS; with that token, which stands in a file.
    pub fn curl(&self, token: Option<&str>, arguments: &[&str], path: &str) -> Answer {
        let certificate = self.site.state().join("tls/cert.pem").display().to_string();
        let mut all = vec!["--cacert".to_owned(), certificate];
        if let Some(token) = token {
            let header = self.site.path("header");
            std::fs::write(&header, format!("Authorization: Bearer {token}")).unwrap();
            all.extend(["-H".to_owned(), format!("@{}", header.display())]);
        }
        all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        curl(&all, &format!("{}/api/v1{path}", self.address()))
    }

    /// Sends JSON, which stands in a file, too.
    pub fn post(&self, token: Option<&str>, path: &str, body: &Value) -> Answer {
        let file = self.site.path("body.json");
        std::fs::write(&file, body.to_string()).unwrap();
        self.curl(token, &["--data-binary", &format!("@{}", file.display())], path)
    }

    pub fn login(&self, name: &str, password: &str) -> Answer {
        self.post(None, "/auth/login", &json!({"username": name, "password": password}))
    }

    /// The token of a login.
    pub fn token(&self, name: &str, password: &str) -> String {
        let answer = self.login(name, password);
        assert_eq!(answer.status, 200, "{}", answer.json());
        answer.json()["token"].as_str().unwrap().to_owned()
    }

    /// What a request gets.
    pub fn status(&self, token: &str, path: &str) -> u16 {
        self.curl(Some(token), &[], path).status
    }

    /// Runs the program as somebody who has logged in from elsewhere does: it knows the hub's certificate, and what
    /// `variables` say.
    pub fn run(&self, variables: &[(&str, &str)], line: &str) -> Run {
        with(&self.site, &[&[("SENDENSE_FINGERPRINT", self.hub.fingerprint())], variables].concat(), line)
    }

    /// The same, and expects it to end well.
    pub fn ok(&self, variables: &[(&str, &str)], line: &str) -> Run {
        let run = self.run(variables, line);
        assert_eq!(run.code, 0, "{run:#?}");
        run
    }

    /// `hub login` as that user.
    pub fn hub_login(&self, name: &str, password: &str) -> Run {
        let line = format!("hub login {} --user {name} --name test", self.address());
        self.run(
            &[("SENDENSE_PASSWORD", password)],
            &format!("{line} --fingerprint {}", self.hub.fingerprint()),
        )
    }

    /// A token for a program, made on the hub's machine.
    pub fn api_token(&self, line: &str) -> String {
        let made = self.site.bare_ok(&format!("hub tokens create --hub local {line}"));
        made.stdout.trim().to_owned()
    }

    pub fn config(&self, name: &str) -> PathBuf {
        self.site.path("config/sendense").join(name)
    }
}

pub fn with(site: &Site, variables: &[(&str, &str)], line: &str) -> Run {
    let mut command = site.bare_command(line.split(' '));
    command.envs(variables.iter().copied());
    Run::finished(command)
}
