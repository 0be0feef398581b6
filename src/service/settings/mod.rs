//! The settings of a service: one table of them, read from a file, the environment and the command line.
//!
//! Later ones win: default, file, environment, command line. Every setting has one key, which is its name in all of
//! them: `limits.connections` is `connections` under `[limits]` in the file, `SENDENSE_LIMITS_CONNECTIONS` in the
//! environment, and `--set limits.connections=…`. A key that is not in the table is refused, with the one that may have
//! been meant. To add a setting: a field of [`Settings`] and a row of [`SETTINGS`].
//!
//! Not here: how the command line is parsed, and where the file is when none is named (`cli`).

mod listen;
mod resolve;
mod value;

pub use listen::Listen;
pub use resolve::{Origin, Resolved, Source};

use hub::{LoginRules, PushConfig, Silence};
use std::path::PathBuf;
use std::time::Duration;
use toml::Value;
use value::{
    catalog, count, duration, duration_up_to, one_of, path, paths, ports, shown_duration, text, texts,
};

/// How a service is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The folder of the catalog and of all that is the service's own.
    pub state_dir: PathBuf,
    /// The catalog, as an address without a password; none: in that folder.
    pub catalog: Option<String>,
    /// The file whose first line is the catalog's password.
    pub catalog_password_file: Option<PathBuf>,
    /// Where it listens, besides the state folder's own socket.
    pub listen: Vec<Listen>,
    /// The certificate with its chain (PEM); none: the own one.
    pub tls_certificate: Option<PathBuf>,
    /// Its key (PEM).
    pub tls_key: Option<PathBuf>,
    /// Names that the own certificate is for, besides this machine's.
    pub tls_names: Vec<String>,
    /// What is logged: a level, or a filter such as `info,hub=debug`.
    pub log_level: String,
    /// How it is logged.
    pub log_format: LogFormat,
    /// How long jobs may take to their end when the service is asked to stop; then they are cancelled.
    pub stop_timeout: Duration,
    /// How logins are dealt with.
    pub logins: LoginRules,
    /// What clients may take.
    pub limits: Limits,
    /// Where clients write backups.
    pub push: PushConfig,
    /// How long nothing may be heard of a job.
    pub silence: Silence,
    /// Folders into which others than administrators may restore disks.
    pub restore_folders: Vec<PathBuf>,
}

/// The longest that a login may last.
const LONGEST_LOGIN: Duration = Duration::from_secs(30 * 86_400);

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// A line of words, with the time unless the journal adds it.
    Text,
    /// A JSON object a line.
    Json,
}

/// What clients may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections over TCP at once, and as many over Unix sockets.
    pub connections: usize,
    /// Of them, from one address.
    pub connections_per_client: usize,
    /// Requests a second from one address; 0: any number.
    pub requests_per_second: u32,
    /// How long a request's head, and a TLS handshake, may take.
    pub header_timeout: Duration,
    /// How long a request's body may take.
    pub body_timeout: Duration,
    /// How long a client may let the hub wait, in all, for each 64 KiB of an answer.
    pub write_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            state_dir: PathBuf::new(),
            catalog: None,
            catalog_password_file: None,
            listen: vec![Listen::usual()],
            tls_certificate: None,
            tls_key: None,
            tls_names: Vec::new(),
            log_level: "info".to_owned(),
            log_format: LogFormat::Text,
            stop_timeout: Duration::from_secs(60),
            logins: LoginRules::default(),
            limits: Limits {
                connections: 1024,
                connections_per_client: 256,
                requests_per_second: 500,
                header_timeout: Duration::from_secs(10),
                body_timeout: Duration::from_secs(30),
                write_timeout: Duration::from_secs(60),
            },
            push: PushConfig::default(),
            silence: Silence::default(),
            restore_folders: Vec::new(),
        }
    }
}

/// One setting.
pub struct Setting {
    /// Its name.
    pub key: &'static str,
    /// What it is, for a person.
    pub about: &'static str,
    set: fn(&mut Settings, &Value) -> Result<(), String>,
    get: fn(&Settings) -> Value,
}

impl std::fmt::Debug for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Setting").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Setting {
    /// Its variable: `SENDENSE_LIMITS_CONNECTIONS`; that of `state_dir` is older.
    pub fn variable(&self) -> String {
        match self.key {
            "state_dir" => "SENDENSE_HOME".to_owned(),
            key => format!("SENDENSE_{}", key.replace('.', "_").to_uppercase()),
        }
    }
}

fn file(path: &Option<PathBuf>) -> Value {
    Value::String(path.as_ref().map(|path| path.display().to_string()).unwrap_or_default())
}

fn list(texts: impl IntoIterator<Item = String>) -> Value {
    Value::Array(texts.into_iter().map(Value::String).collect())
}

/// Every setting, in the order in which they are shown.
pub const SETTINGS: &[Setting] = &[
    Setting {
        key: "state_dir",
        about: "folder of the catalog and of all that is the service's own",
        set: |s, v| path(v).map(|path| s.state_dir = path.unwrap_or_default()),
        get: |s| Value::String(s.state_dir.display().to_string()),
    },
    Setting {
        key: "catalog",
        about: "where the catalog is: mysql://USER@HOST/DATABASE without a password, or a file; empty: in that folder",
        set: |s, v| catalog(v).map(|catalog| s.catalog = catalog),
        get: |s| Value::String(s.catalog.clone().unwrap_or_default()),
    },
    Setting {
        key: "catalog_password_file",
        about: "file whose first line is the password of the catalog on a server",
        set: |s, v| path(v).map(|path| s.catalog_password_file = path),
        get: |s| file(&s.catalog_password_file),
    },
    Setting {
        key: "listen",
        about: "https://ADDRESS:PORT, http://ADDRESS:PORT on loopback, unix:///PATH for every user of this machine",
        set: |s, v| {
            s.listen = texts(v)?.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
            Ok(())
        },
        get: |s| list(s.listen.iter().map(ToString::to_string)),
    },
    Setting {
        key: "stop_timeout",
        about: "how long jobs may go on when the service is asked to stop; then they are cancelled",
        set: |s, v| duration(v).map(|time| s.stop_timeout = time),
        get: |s| shown_duration(s.stop_timeout),
    },
    Setting {
        key: "tls.certificate",
        about: "PEM file of the certificate and its chain; empty: one that the service makes for itself",
        set: |s, v| path(v).map(|path| s.tls_certificate = path),
        get: |s| file(&s.tls_certificate),
    },
    Setting {
        key: "tls.key",
        about: "PEM file of its key",
        set: |s, v| path(v).map(|path| s.tls_key = path),
        get: |s| file(&s.tls_key),
    },
    Setting {
        key: "tls.names",
        about: "names and addresses that the service's own certificate is for, besides this machine's",
        set: |s, v| texts(v).map(|names| s.tls_names = names),
        get: |s| list(s.tls_names.iter().cloned()),
    },
    Setting {
        key: "log.level",
        about: "error, warn, info, debug, or a filter such as info,hub=debug",
        set: |s, v| text(v).map(|level| s.log_level = level),
        get: |s| Value::String(s.log_level.clone()),
    },
    Setting {
        key: "log.format",
        about: "text, or json: an object a line",
        set: |s, v| {
            let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
            one_of(v, &formats).map(|format| s.log_format = format)
        },
        get: |s| Value::String(if s.log_format == LogFormat::Json { "json" } else { "text" }.to_owned()),
    },
    Setting {
        key: "auth.login_lifetime",
        about: "how long a login lasts; then the user logs in again",
        set: |s, v| duration_up_to(v, LONGEST_LOGIN, "30 days").map(|time| s.logins.lifetime = time),
        get: |s| shown_duration(s.logins.lifetime),
    },
    Setting {
        key: "auth.attempts",
        about: "how many wrong passwords lock a user; from half of them on they wait, longer and longer",
        set: |s, v| count(v, 1..=1000).map(|number| s.logins.attempts = number),
        get: |s| Value::Integer(s.logins.attempts.into()),
    },
    Setting {
        key: "auth.lock_time",
        about: "for how long a user is locked",
        set: |s, v| duration(v).map(|time| s.logins.lock_time = time),
        get: |s| shown_duration(s.logins.lock_time),
    },
    Setting {
        key: "limits.connections",
        about: "connections over TCP at once, and as many over Unix sockets",
        set: |s, v| count(v, 1..=100_000).map(|number| s.limits.connections = number as usize),
        get: |s| Value::Integer(s.limits.connections as i64),
    },
    Setting {
        key: "limits.connections_per_client",
        about: "of them, from one address",
        set: |s, v| count(v, 1..=100_000).map(|number| s.limits.connections_per_client = number as usize),
        get: |s| Value::Integer(s.limits.connections_per_client as i64),
    },
    Setting {
        key: "limits.requests_per_second",
        about: "requests a second from one address; 0: any number",
        set: |s, v| count(v, 0..=1_000_000).map(|number| s.limits.requests_per_second = number),
        get: |s| Value::Integer(s.limits.requests_per_second.into()),
    },
    Setting {
        key: "limits.header_timeout",
        about: "how long a request's head, or a TLS handshake, may take",
        set: |s, v| duration(v).map(|time| s.limits.header_timeout = time),
        get: |s| shown_duration(s.limits.header_timeout),
    },
    Setting {
        key: "limits.body_timeout",
        about: "how long a request's body may take",
        set: |s, v| duration(v).map(|time| s.limits.body_timeout = time),
        get: |s| shown_duration(s.limits.body_timeout),
    },
    Setting {
        key: "limits.write_timeout",
        about: "how long a client may let the hub wait, in all, for each 64 KiB of an answer",
        set: |s, v| duration(v).map(|time| s.limits.write_timeout = time),
        get: |s| shown_duration(s.limits.write_timeout),
    },
    Setting {
        key: "push.listen",
        about: "IP address of the exports that clients write backups to; off the machine itself only with TLS",
        set: |s, v| {
            let address = text(v)?.parse().map_err(|_| "it must be an IP address".to_owned())?;
            s.push.listen = address;
            Ok(())
        },
        get: |s| Value::String(s.push.listen.to_string()),
    },
    Setting {
        key: "push.host",
        about: "name by which clients reach that address; empty: the address",
        set: |s, v| texts(v).map(|names| s.push.host = names.into_iter().next()),
        get: |s| Value::String(s.push.host.clone().unwrap_or_default()),
    },
    Setting {
        key: "push.ports",
        about: "their ports, first-last; each disk that is being written takes one",
        set: |s, v| ports(v).map(|ports| s.push.ports = ports),
        get: |s| Value::String(format!("{}-{}", s.push.ports.start(), s.push.ports.end())),
    },
    Setting {
        key: "push.tls_certificates",
        about: "folder of server-cert.pem and server-key.pem for them; empty: no TLS",
        set: |s, v| path(v).map(|path| s.push.tls = path),
        get: |s| file(&s.push.tls),
    },
    Setting {
        key: "jobs.stalled_after",
        about: "after so long without a sign of life a job is stalled",
        set: |s, v| duration(v).map(|time| s.silence.stalled = time),
        get: |s| shown_duration(s.silence.stalled),
    },
    Setting {
        key: "jobs.failed_after",
        about: "after so long without one it has failed",
        set: |s, v| duration(v).map(|time| s.silence.failed = time),
        get: |s| shown_duration(s.silence.failed),
    },
    Setting {
        key: "restore.folders",
        about: "folders of this machine into which others than administrators may restore disks",
        set: |s, v| paths(v).map(|folders| s.restore_folders = folders),
        get: |s| list(s.restore_folders.iter().map(|folder| folder.display().to_string())),
    },
];
