//! Serving the hub: from the command line's words to a service that runs to its end.
//!
//! Not here: what a service does (`service`).

use crate::catalog_place;
use crate::connect::{App, Work, runtime};
use crate::exit::Exit;
use crate::failure::{Failure, Result, chain};
use crate::profiles;
use crate::service_log::{self, Form, ServiceLog};
use crate::state_dir;
use hub::CatalogLocation;
use serde_json::json;
pub use service::Source;
use service::{LogFormat, Resolved, Service, Settings};
use std::io;
use std::path::{Path, PathBuf};

/// Root's configuration.
const SYSTEM: &str = "/etc/sendense/hub.toml";

/// Where the settings of a service are: `file` is what the user has named.
///
/// # Errors
/// Where there is no state folder; a file that does not exist.
pub fn source(app: &App, file: Option<&Path>, given: Vec<(String, String)>) -> Result<Source> {
    let mut given = given;
    // The flag is also the variable, which the settings read by themselves.
    let folder = app.said.folder()?;
    let variable = std::env::var_os("SENDENSE_HOME").filter(|path| Path::new(path).is_absolute());
    if app.said.state_dir.is_some()
        && app.said.state_dir.as_deref().map(Path::as_os_str) != variable.as_deref()
    {
        given.insert(0, ("state_dir".to_owned(), folder.display().to_string()));
    }
    // The same with the catalog.
    if let Some(catalog) = app.said.catalog.as_deref().filter(|catalog| !catalog.is_empty()) {
        let is_path = !catalog.contains("://");
        if std::env::var("SENDENSE_CATALOG").ok().as_deref() != Some(catalog)
            || is_path && !Path::new(catalog).is_absolute()
        {
            let whole = match is_path {
                true => state_dir::absolute(Path::new(catalog))?.display().to_string(),
                false => catalog.to_owned(),
            };
            given.insert(0, ("catalog".to_owned(), whole));
        }
    }
    Ok(Source {
        file: file.map(Path::to_owned).or_else(usual_file),
        file_is_named: file.is_some(),
        state_dir: folder,
        given,
    })
}

/// Where the configuration is unless somebody says otherwise; none in the home of another user, as after `sudo -u`.
fn usual_file() -> Option<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Some(PathBuf::from(SYSTEM));
    }
    let file = profiles::folder()?.join("hub.toml");
    let hidden = |error: io::Error| error.kind() == io::ErrorKind::PermissionDenied;
    (!std::fs::metadata(&file).is_err_and(hidden)).then_some(file)
}

/// The configuration file that the environment names.
pub fn named_file() -> Option<PathBuf> {
    std::env::var_os("SENDENSE_CONFIG").filter(|file| !file.is_empty()).map(PathBuf::from)
}

/// The catalog, and the file of its password, that the configuration gives the hub of that state folder.
///
/// # Errors
/// A configuration that can't be read; what names no catalog.
pub(crate) fn configured_catalog(folder: &Path) -> Result<Option<(String, Option<PathBuf>)>> {
    let named = named_file();
    let source = Source {
        file_is_named: named.is_some(),
        file: named.or_else(usual_file),
        state_dir: folder.to_owned(),
        given: Vec::new(),
    };
    source.configured_catalog().map_err(|error| {
        let code = error.code();
        let mut failure = Failure::new(
            Exit::from_number(code.exit_code()),
            code.as_str(),
            "which catalog the hub has is not known",
        );
        failure = failure.why(error.to_string());
        failure.next = error.hint();
        failure
    })
}

/// The catalog that settings name, with its password.
fn catalog(settings: &Settings) -> Result<Option<CatalogLocation>> {
    let file = settings.catalog_password_file.as_deref();
    settings.catalog.as_deref().map(|named| catalog_place::located(named, file)).transpose()
}

/// The settings, checked as far as they can be without serving.
///
/// # Errors
/// The first thing that is wrong.
pub fn resolve(source: &Source) -> Result<Resolved> {
    let resolved = source.resolve().map_err(|error| unusable(&error))?;
    service_log::filter(&resolved.settings.log_level)?;
    Ok(resolved)
}

/// The settings, checked with the files that they name.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(source: &Source) -> Result<()> {
    let resolved = resolve(source)?;
    catalog(&resolved.settings)?;
    Service::check(&resolved.settings).map_err(|error| unusable(&error))
}

/// What is wrong with the settings, for a person.
fn unusable(error: &service::Error) -> Failure {
    Failure { what: "the hub's settings can't be used".into(), ..failure(error) }
}

/// Serves until it is asked to stop.
///
/// # Errors
/// What keeps it from beginning.
pub fn run(app: &App, source: Source) -> Result<Exit> {
    let resolved = resolve(&source)?;
    let catalog = catalog(&resolved.settings)?;
    let form = match resolved.settings.log_format {
        LogFormat::Json => Form::Json,
        LogFormat::Text => Form::words(),
    };
    let log = ServiceLog::start(form, &resolved.settings.log_level)?;
    let runtime = runtime(Work::Jobs)?;
    let ended = runtime.block_on(async {
        let service = Service::open(source, resolved, catalog).await.map_err(|error| failure(&error))?;
        announce(app, &service);
        Ok::<_, Failure>(service.run(|level| log.set(level)).await)
    })?;
    // What could not end in time is on threads that nobody waits for.
    runtime.shutdown_background();
    Ok(if ended.abandoned == 0 { Exit::Done } else { Exit::Incomplete })
}

/// Says where it listens, on stdout: a script that has read it may begin.
fn announce(app: &App, service: &Service) {
    let fingerprint = service.fingerprint().map(|fingerprint| fingerprint.to_string());
    if app.ui.json {
        app.ui.json_line(&json!({
            "message_type": "serving",
            "schema_version": crate::failure::SCHEMA_VERSION,
            "addresses": service.addresses(),
            "fingerprint": fingerprint,
            "version": env!("CARGO_PKG_VERSION"),
        }));
        return;
    }
    if app.ui.quiet {
        return;
    }
    for address in service.addresses() {
        app.ui.line(&format!("the hub serves at {address}"));
    }
    if let Some(fingerprint) = fingerprint {
        app.ui.line(&format!("its certificate is {fingerprint}"));
    }
}

/// A failure to serve, for a person.
pub fn failure(error: &service::Error) -> Failure {
    let code = error.code();
    let mut failure =
        Failure::new(Exit::from_number(code.exit_code()), code.as_str(), "the hub is not served")
            .why(error.to_string());
    failure.next = error.hint();
    failure.causes = chain(error).into();
    failure
}
