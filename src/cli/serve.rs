//! Serving the hub: from the command line's words to a service that runs to its end.
//!
//! Not here: what a service does (`service`).

use crate::catalog_place;
use crate::connect::{App, Work, runtime};
use crate::exit::Exit;
use crate::failure::{Failure, Result, chain};
use crate::profiles;
use crate::service_log::{self, Form, ServiceLog};
use serde_json::json;
pub use service::Source;
use service::{LogFormat, Resolved, Service};
use std::path::{Path, PathBuf};

/// Root's configuration.
const SYSTEM: &str = "/etc/sendense/hub.toml";

/// Where the settings of a service are: `file` is what the user has named.
///
/// # Errors
/// Where there is no state folder; a file that does not exist.
pub fn source(app: &App, file: Option<&Path>, given: Vec<(String, String)>) -> Result<Source> {
    let usual = match rustix::process::geteuid().is_root() {
        true => Some(PathBuf::from(SYSTEM)),
        false => profiles::folder().map(|folder| folder.join("hub.toml")),
    };
    let mut given = given;
    // The flag is also the variable, which the settings read by themselves.
    let folder = app.said.folder()?;
    let variable = std::env::var_os("SENDENSE_HOME").filter(|path| Path::new(path).is_absolute());
    if app.said.state_dir.is_some()
        && app.said.state_dir.as_deref().map(Path::as_os_str) != variable.as_deref()
    {
        given.insert(0, ("state_dir".to_owned(), folder.display().to_string()));
    }
    Ok(Source {
        file: file.map(Path::to_owned).or(usual),
        file_is_named: file.is_some(),
        state_dir: folder,
        given,
    })
}

/// The settings, checked as far as they can be without serving.
///
/// # Errors
/// The first thing that is wrong.
pub fn resolve(source: &Source) -> Result<Resolved> {
    let resolved = source.resolve().map_err(|error| failure(&error))?;
    service_log::filter(&resolved.settings.log_level)?;
    Ok(resolved)
}

/// The settings, checked with the files that they name.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(source: &Source) -> Result<()> {
    let resolved = resolve(source)?;
    Service::check(&resolved.settings).map_err(|error| failure(&error))
}

/// Serves until it is asked to stop.
///
/// # Errors
/// What keeps it from beginning.
pub fn run(app: &App, source: Source) -> Result<Exit> {
    let resolved = resolve(&source)?;
    let catalog = catalog_place::given(app.said.catalog.as_deref())?;
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
