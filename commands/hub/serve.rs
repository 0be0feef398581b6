//! `hub serve`: the hub as a service.

use cli::{App, Exit, Manual, Result, serve};
use std::path::PathBuf;

const MANUAL: Manual = Manual {
    examples: &[
        ("for this machine: its Unix socket, and TLS on 127.0.0.1:8082", "sendense-ctl hub serve"),
        ("for the network", "sendense-ctl hub serve --listen https://0.0.0.0:8082"),
        (
            "with a certificate of your own",
            "sendense-ctl hub serve --listen https://0.0.0.0 --tls-certificate /etc/ssl/hub.pem --tls-key /etc/ssl/hub.key",
        ),
        ("with the Unix socket only", "sendense-ctl hub serve --no-listen"),
    ],
    exits: cli::exits![Incomplete, Unreachable, Locked, Denied, Interrupted, Terminated],
};

/// Serve the hub: commands, scripts and other machines work with it
///
/// Commands of this machine find its socket in the state folder by themselves. From elsewhere it is reached over TLS;
/// without a certificate it makes one, and prints the fingerprint that hub login asks for. SIGTERM and Ctrl-C end it:
/// running jobs may go on for stop_timeout and are cancelled then; a second one ends it at once. SIGHUP reads
/// certificates and the log's level again. Every setting can stand in the configuration file, in the environment
/// (SENDENSE_ and its name in capitals, such as SENDENSE_LIMITS_CONNECTIONS), or behind --set.
#[derive(Debug, clap::Args)]
#[command(after_long_help = MANUAL.help(), add = MANUAL)]
pub struct Args {
    #[command(flatten)]
    settings: SettingsArgs,
}

/// Where settings come from.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Settings")]
pub struct SettingsArgs {
    /// The configuration file [default: /etc/sendense/hub.toml for root, ~/.config/sendense/hub.toml for others]
    #[arg(long, value_name = "FILE", env = "SENDENSE_CONFIG", hide_env_values = true,
        value_hint = clap::ValueHint::FilePath)]
    config: Option<PathBuf>,
    /// Where to listen: https://ADDRESS:PORT, http://ADDRESS:PORT on loopback, unix:///PATH (repeat for more)
    #[arg(long, value_name = "ADDRESS")]
    listen: Vec<String>,
    /// Listen at the state folder's socket only
    #[arg(long, conflicts_with = "listen")]
    no_listen: bool,
    /// The certificate and its chain (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key", value_hint = clap::ValueHint::FilePath)]
    tls_certificate: Option<String>,
    /// Its key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_certificate", value_hint = clap::ValueHint::FilePath)]
    tls_key: Option<String>,
    /// What is logged: error, warn, info, debug, or a filter
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// How: text or json
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// How long jobs may go on at the end
    #[arg(long, value_name = "DURATION")]
    stop_timeout: Option<String>,
    /// Any setting (repeat for more); hub config show lists them
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
}

/// `key=value`; an empty value is the default.
fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE".to_owned()),
    }
}

impl SettingsArgs {
    /// The settings that these arguments, and what else is said, lead to.
    pub fn source(self, app: &App) -> Result<serve::Source> {
        let mut given = Vec::new();
        let absolute =
            |path: String| std::path::absolute(&path).map_or(path, |path| path.display().to_string());
        for (key, value) in [
            ("listen", (!self.listen.is_empty()).then(|| self.listen.join(","))),
            ("listen", self.no_listen.then(String::new)),
            ("tls.certificate", self.tls_certificate.map(absolute)),
            ("tls.key", self.tls_key.map(absolute)),
            ("log.level", self.log_level),
            ("log.format", self.log_format),
            ("stop_timeout", self.stop_timeout),
        ] {
            given.extend(value.map(|value| (key.to_owned(), value)));
        }
        given.extend(self.set);
        serve::source(app, self.config.as_deref(), given)
    }
}

impl Args {
    pub fn run(self, app: &App) -> Result<Exit> {
        serve::run(app, self.settings.source(app)?)
    }
}
