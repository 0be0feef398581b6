//! From sources to settings: what was said where, what wins, and what is wrong.

use super::{SETTINGS, Setting, Settings};
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use toml::Value;

/// More than this is no configuration.
const MAX_FILE: u64 = 1 << 20;
/// From which similarity on a key may have been meant.
const SIMILAR: f64 = 0.7;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// The configuration file.
    File(PathBuf),
    /// A variable of the environment.
    Environment(String),
    /// The command line.
    CommandLine,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path) => write!(f, "{}", path.display()),
            Origin::Environment(name) => f.write_str(name),
            Origin::CommandLine => f.write_str("command line"),
        }
    }
}

/// Where settings are looked for.
#[derive(Debug, Clone, Default)]
pub struct Source {
    /// The configuration file. One that is not named and not there says nothing.
    pub file: Option<PathBuf>,
    /// Whether the user has named the file: then it must be there.
    pub file_is_named: bool,
    /// The state folder where nobody names one.
    pub state_dir: PathBuf,
    /// Pairs of key and value from the command line, in their order.
    pub given: Vec<(String, String)>,
}

/// The settings, and where each comes from.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// All of them.
    pub settings: Settings,
    /// By key.
    origins: BTreeMap<&'static str, Origin>,
}

impl Source {
    /// Reads everything again.
    ///
    /// # Errors
    /// The first thing that is wrong, with where it is.
    pub fn resolve(&self) -> Result<Resolved> {
        let mut settings = Settings { state_dir: self.state_dir.clone(), ..Settings::default() };
        let mut origins: BTreeMap<&'static str, Origin> = BTreeMap::new();
        let mut apply = |key: &str, value: &Value, origin: Origin| -> Result<()> {
            let setting = find(key, &origin)?;
            (setting.set)(&mut settings, value).map_err(|reason| wrong(key, &origin, reason, None))?;
            origins.insert(setting.key, origin);
            Ok(())
        };
        if let Some(path) = &self.file
            && let Some(table) = read(path, self.file_is_named)?
        {
            for (key, value) in flat(table) {
                apply(&key, &value, Origin::File(path.clone()))?;
            }
        }
        if let Some((name, meant)) = std::env::vars_os().find_map(|(name, _)| misspelt(name.to_str()?)) {
            let hint = Some(format!("did you mean {meant}?"));
            return Err(wrong(
                &name,
                &Origin::Environment(name.clone()),
                "there is no such setting".into(),
                hint,
            ));
        }
        for setting in SETTINGS {
            let name = setting.variable();
            match std::env::var(&name) {
                Ok(text) if !text.is_empty() => {
                    apply(setting.key, &Value::String(text), Origin::Environment(name))?;
                }
                Ok(_) | Err(std::env::VarError::NotPresent) => {}
                Err(std::env::VarError::NotUnicode(_)) => {
                    let origin = Origin::Environment(name);
                    return Err(wrong(setting.key, &origin, "it is no UTF-8".to_owned(), None));
                }
            }
        }
        for (key, text) in &self.given {
            apply(key, &Value::String(text.clone()), Origin::CommandLine)?;
        }
        whole(&settings, &origins)?;
        Ok(Resolved { settings, origins })
    }
}

impl Source {
    /// The catalog that the configuration file gives the hub of this source's state folder, and the file of its
    /// password, whatever else the file says: for who works without the service on what is the service's.
    ///
    /// # Errors
    /// A file that can't be read; what names no catalog.
    pub fn configured_catalog(&self) -> Result<Option<(String, Option<PathBuf>)>> {
        let Some(path) = &self.file else { return Ok(None) };
        let Some(table) = read(path, self.file_is_named)? else { return Ok(None) };
        let origin = Origin::File(path.clone());
        let mut settings = Settings { state_dir: self.state_dir.clone(), ..Settings::default() };
        for (key, value) in flat(table) {
            if ["state_dir", "catalog", "catalog_password_file"].contains(&key.as_str()) {
                let setting = find(&key, &origin)?;
                (setting.set)(&mut settings, &value).map_err(|reason| wrong(&key, &origin, reason, None))?;
            }
        }
        if settings.state_dir != self.state_dir {
            return Ok(None);
        }
        Ok(settings.catalog.map(|catalog| (catalog, settings.catalog_password_file)))
    }
}

/// What no single setting can tell.
fn whole(settings: &Settings, origins: &BTreeMap<&'static str, Origin>) -> Result<()> {
    let missing = match (&settings.tls_certificate, &settings.tls_key) {
        (Some(_), None) => Some(("tls.certificate", "tls.key")),
        (None, Some(_)) => Some(("tls.key", "tls.certificate")),
        _ => None,
    };
    if let Some((given, missing)) = missing {
        let origin = origins.get(given).unwrap_or(&Origin::Default);
        return Err(wrong(given, origin, format!("{missing} must be given too"), None));
    }
    let problem = if !settings.push.listen.is_loopback() && settings.push.tls.is_none() {
        Some((
            "push.listen",
            "off the machine itself there is TLS only: push.tls_certificates must be given too",
        ))
    } else if settings.silence.stalled > settings.silence.failed {
        Some(("jobs.failed_after", "it is not before jobs.stalled_after"))
    } else {
        None
    };
    if let Some((key, reason)) = problem {
        let origin = origins.get(key).unwrap_or(&Origin::Default);
        return Err(wrong(key, origin, reason.to_owned(), None));
    }
    Ok(())
}

impl Resolved {
    /// Every setting with its value and where it comes from.
    pub fn all(&self) -> impl Iterator<Item = (&'static Setting, Value, &Origin)> {
        SETTINGS.iter().map(|setting| {
            let origin = self.origins.get(setting.key).unwrap_or(&Origin::Default);
            (setting, (setting.get)(&self.settings), origin)
        })
    }

    /// Keys whose values differ from those of `other`.
    pub(crate) fn changed(&self, other: &Settings) -> Vec<&'static str> {
        let differs = |setting: &&Setting| (setting.get)(&self.settings) != (setting.get)(other);
        SETTINGS.iter().filter(differs).map(|setting| setting.key).collect()
    }
}

fn wrong(key: &str, origin: &Origin, reason: String, hint: Option<String>) -> Error {
    Error::Setting { key: key.to_owned(), origin: format!(" ({origin})"), reason, hint }
}

fn find(key: &str, origin: &Origin) -> Result<&'static Setting> {
    if let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key) {
        return Ok(setting);
    }
    // Of two keys that end alike the one that is meant as a whole.
    let similar = |known: &str| {
        let last = known.rsplit('.').next().unwrap_or(known);
        let whole = strsim::jaro_winkler(known, key);
        (whole.max(strsim::jaro_winkler(last, key)), whole)
    };
    let best = SETTINGS
        .iter()
        .map(|setting| (similar(setting.key), setting.key))
        .max_by(|(a, _), (b, _)| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)))
        .map(|((score, _), key)| (score, key));
    let hint = match best {
        Some((score, known)) if score >= SIMILAR => format!("did you mean {known}?"),
        _ => "sendense-ctl hub config show lists every setting".to_owned(),
    };
    Err(wrong(key, origin, "there is no such setting".to_owned(), Some(hint)))
}

/// The variable, and the one that may have been meant, where it is none of a setting and looks like one: it begins as
/// those of a section do, or is off by two letters. Others are nobody's, or somebody else's.
fn misspelt(name: &str) -> Option<(String, String)> {
    let known: Vec<String> = SETTINGS.iter().map(Setting::variable).collect();
    if !name.starts_with("SENDENSE_") || known.iter().any(|known| known == name) {
        return None;
    }
    let section = SETTINGS.iter().filter_map(|setting| setting.key.split_once('.')).any(|(section, _)| {
        name.strip_prefix("SENDENSE_")
            .and_then(|rest| rest.strip_prefix(&section.to_uppercase()))
            .is_some_and(|rest| rest.starts_with('_'))
    });
    let nearest = known.into_iter().min_by_key(|known| strsim::osa_distance(known, name))?;
    (section || strsim::osa_distance(&nearest, name) <= 2).then(|| (name.to_owned(), nearest))
}

fn read(path: &Path, named: bool) -> Result<Option<toml::Table>> {
    let unusable = |reason: String| Error::File { path: path.to_owned(), reason };
    let text = match std::fs::metadata(path).and_then(|found| match found.len() {
        0..=MAX_FILE => std::fs::read_to_string(path),
        _ => Err(std::io::Error::other("it is too large for a configuration")),
    }) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !named => return Ok(None),
        Err(error) => return Err(unusable(error.to_string())),
    };
    text.parse::<toml::Table>().map(Some).map_err(|error| {
        let line = error.span().map(|span| text[..span.start.min(text.len())].lines().count().max(1));
        let place = line.map(|line| format!("line {line}: ")).unwrap_or_default();
        unusable(format!("{place}{}", error.message()))
    })
}

/// Tables become dots: `[limits] connections = 1` is `limits.connections`.
fn flat(table: toml::Table) -> Vec<(String, Value)> {
    let mut pairs = Vec::new();
    let mut open = vec![(String::new(), table)];
    while let Some((prefix, table)) = open.pop() {
        for (key, value) in table {
            let key = format!("{prefix}{key}");
            match value {
                Value::Table(inner) if !inner.is_empty() => open.push((format!("{key}."), inner)),
                value => pairs.push((key, value)),
            }
        }
    }
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn source(text: &str) -> (tempfile::TempDir, Source) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("hub.toml");
        std::fs::write(&file, text).unwrap();
        let source =
            Source { file: Some(file), file_is_named: true, state_dir: "/state".into(), given: Vec::new() };
        (folder, source)
    }

    #[test]
    fn the_command_line_wins_over_the_file_and_the_file_over_the_default() {
        let (_folder, mut source) = source(
            "listen = ['https://0.0.0.0', 'http://127.0.0.1:1']\nstop_timeout = '5m'\n[limits]\nconnections = 7\n",
        );
        source.given = vec![("stop_timeout".into(), "2m".into()), ("limits.body_timeout".into(), "3".into())];
        let resolved = source.resolve().unwrap();
        let settings = &resolved.settings;
        assert_eq!(settings.stop_timeout, Duration::from_secs(120));
        assert_eq!((settings.limits.connections, settings.listen.len()), (7, 2));
        assert_eq!(settings.limits.body_timeout, Duration::from_secs(3));
        let origin =
            |key: &str| resolved.all().find(|(setting, ..)| setting.key == key).unwrap().2.to_string();
        assert_eq!(origin("stop_timeout"), "command line");
        assert_eq!(origin("log.level"), "default");
        assert!(origin("limits.connections").ends_with("hub.toml"));
    }

    #[test]
    fn the_catalog_of_a_file_is_that_of_its_state_folder_only() {
        let catalog = "catalog = 'mysql://hub@db/hub?ssl-mode=REQUIRED'\ncatalog_password_file = '/secret'\n";
        let wanted = Some(("mysql://hub@db/hub?ssl-mode=REQUIRED".to_owned(), Some("/secret".into())));
        let (folder, mut named) = source(catalog);
        assert_eq!(named.configured_catalog().unwrap(), wanted);
        std::fs::write(folder.path().join("hub.toml"), format!("state_dir = '/other'\n{catalog}")).unwrap();
        assert_eq!(named.configured_catalog().unwrap(), None);
        named.state_dir = "/other".into();
        assert_eq!(named.configured_catalog().unwrap(), wanted);
        drop(folder);
        assert!(named.configured_catalog().is_err(), "the file was named and is gone");
        named.file_is_named = false;
        assert_eq!(named.configured_catalog().unwrap(), None);
    }

    #[test]
    fn what_is_shown_is_read_back() {
        let (_folder, source) = source("catalog = 'mysql://hub@db:7/hub?ssl-mode=REQUIRED&ssl-ca=/ca.pem'");
        let resolved = source.resolve().unwrap();
        for (setting, value, _) in resolved.all() {
            let mut settings = resolved.settings.clone();
            (setting.set)(&mut settings, &value).unwrap_or_else(|error| panic!("{}: {error}", setting.key));
            assert_eq!(settings, resolved.settings, "{}", setting.key);
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_key_its_place_and_what_was_meant() {
        for (text, parts) in [
            ("lisen = []", &["lisen", "hub.toml", "did you mean listen?"][..]),
            ("[limits]\nconections = 1", &["limits.conections", "did you mean limits.connections?"]),
            ("connections = 1", &["did you mean limits.connections?"]),
            ("listen = 7", &["listen", "list of texts"]),
            ("listen = ['http://0.0.0.0:80']", &["in the clear"]),
            ("[limits]\nconnections = 0", &["limits.connections", "from 1 to"]),
            ("[tls]\ncertificate = '/c.pem'", &["tls.certificate", "tls.key must be given too"]),
            ("[push]\nlisten = '0.0.0.0'", &["push.listen", "push.tls_certificates"]),
            ("[push]\nports = '5-4'", &["push.ports", "10100-10200"]),
            ("[jobs]\nfailed_after = 1", &["jobs.failed_after", "jobs.stalled_after"]),
            ("state_dir = 'here'", &["state_dir", "absolute path"]),
            (
                "catalog = 'mysql://a:b@c/d'",
                &["catalog", "must not hold its password", "catalog_password_file"],
            ),
            ("catalog_pasword_file = '/p'", &["did you mean catalog_password_file?"]),
            ("a = 1\nb =", &["line 2"]),
            ("zzzz = 1", &["hub config show"]),
            ("limits = 1", &["limits", "no such setting"]),
        ] {
            let (_folder, source) = source(text);
            let error = source.resolve().unwrap_err();
            let told = format!("{error} {}", error.hint().unwrap_or_default());
            assert!(parts.iter().all(|part| told.contains(part)), "{text}: {told}");
            assert!(!told.contains('\n'), "{told}");
        }
        let missing = Source { file: Some("/no/such/file".into()), file_is_named: true, ..Source::default() };
        assert!(missing.resolve().is_err());
        assert!(Source { file_is_named: false, ..missing }.resolve().is_ok());
    }

    #[test]
    fn a_variable_that_looks_like_a_settings_is_told_from_those_that_are_something_else() {
        for (name, meant) in [
            ("SENDENSE_LIMITS_CONECTIONS", "SENDENSE_LIMITS_CONNECTIONS"),
            ("SENDENSE_LISTEM", "SENDENSE_LISTEN"),
            ("SENDENSE_LOG_LEVLE", "SENDENSE_LOG_LEVEL"),
            ("SENDENSE_JOBS_STALED_AFTER", "SENDENSE_JOBS_STALLED_AFTER"),
        ] {
            assert_eq!(misspelt(name), Some((name.to_owned(), meant.to_owned())));
        }
        assert!(misspelt("SENDENSE_JOBS_WHATEVER").is_some());
        for name in [
            "LIMITS_CONNECTIONS CONFIG CA CATALOG CATALOG_PASSWORD CATALOG_PASSWORD_FILE FINGERPRINT HOME HUB LOG",
            "NEW_PASSWORD NEW_PASSWORD_FILE PASSWORD PASSWORD_CMD PASSWORD_FD PASSWORD_FILE REQUIRE_ALL TOKEN TOKEN_FILE",
        ]
        .iter()
        .flat_map(|names| names.split(' '))
        {
            assert_eq!(misspelt(&format!("SENDENSE_{name}")), None);
        }
        assert_eq!(misspelt("LIMITS_CONECTIONS"), None);
    }
}
