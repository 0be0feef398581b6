//! Where the catalog of the local hub is, where it is not in the state folder.
//!
//! A flag wins over the environment, that over the configuration file of `hub serve`: who works without the service
//! must not work on another catalog than it.
//!
//! A password never stands on a command line, where every user of the machine could read it, nor in
//! `SENDENSE_CATALOG`: it comes from `SENDENSE_CATALOG_PASSWORD` or the first line of the file that
//! `SENDENSE_CATALOG_PASSWORD_FILE`, or the setting `catalog_password_file`, names.

use crate::Exit;
use crate::connect::{App, Work, runtime};
use crate::failure::{Failure, Result, chain};
use crate::place::{Place, Said, Served};
use crate::serve;
use api::HubAddress;
use hub::CatalogLocation;
pub use hub::CopiedTable;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

const PASSWORD: &str = "SENDENSE_CATALOG_PASSWORD";
const PASSWORD_FILE: &str = "SENDENSE_CATALOG_PASSWORD_FILE";

/// The catalog of the engine in `folder`: the one that was named, or that of the configuration; `None` where neither
/// says anything.
///
/// # Errors
/// What names no catalog; a password where none may be, or one that can't be read; a configuration that can't be read.
pub fn given(said: &Said, folder: &Path) -> Result<Option<CatalogLocation>> {
    if let Some(named) = said.catalog.as_deref().filter(|text| !text.is_empty()) {
        return named_place(named).map(Some);
    }
    match serve::configured_catalog(folder)? {
        Some((catalog, password_file)) => located(&catalog, password_file.as_deref()).map(Some),
        None => Ok(None),
    }
}

/// The catalog of this machine, where it is that of the hub in use.
///
/// # Errors
/// A hub elsewhere; as [`given`].
pub fn in_use(app: &App) -> Result<CatalogLocation> {
    match app.said.place()? {
        Place::Served(Served { address: address @ HubAddress::Network { .. }, .. }) => Err(Failure::usage(
            format!("the hub in use is at {address}, and its catalog is not to be had from here"),
        )
        .next("run this on the hub's machine, or say which catalog is meant: --from CATALOG")),
        Place::Served(_) => {
            app.ui.warn(
                "a hub serves here: what it changes from now on is not in the copy; stop it before you copy",
            );
            app.catalog()
        }
        Place::Embedded(_) => app.catalog(),
    }
}

/// The catalog of that name, with the password that the environment gives for it.
///
/// # Errors
/// As [`given`].
pub fn named_place(named: &str) -> Result<CatalogLocation> {
    located(named, None)
}

/// The same; its password is in `password_file` where the environment gives none.
///
/// # Errors
/// As [`given`].
pub fn located(named: &str, password_file: Option<&Path>) -> Result<CatalogLocation> {
    let location: CatalogLocation =
        named.parse().map_err(|error: hub::LocationError| Failure::usage(error.to_string()))?;
    if location.has_password() {
        return Err(Failure::usage(format!(
            "{location} must not hold its password: others can read it here"
        ))
        .next(format!("give it in {PASSWORD_FILE}=FILE or {PASSWORD}")));
    }
    if let Some(path) = location.file() {
        let path = std::path::absolute(path)
            .map_err(|error| Failure::local(format!("{} can't be found", path.display()), &error))?;
        return Ok(CatalogLocation::File(path));
    }
    match password(|name| std::env::var_os(name), password_file)? {
        Some(password) => Ok(location.with_password(&password)),
        None => Ok(location),
    }
}

/// Copies a catalog, saying which table it is at.
///
/// # Errors
/// Where one of the two can't be used, somebody works in the first, or the second is not empty.
pub fn copy(
    app: &App,
    from: &CatalogLocation,
    to: &CatalogLocation,
    dry_run: bool,
) -> Result<Vec<CopiedTable>> {
    let runtime = runtime(Work::Requests)?;
    let tell = |table: &'static str| {
        if app.ui.verbose {
            app.ui.screen.line(&format!("copying {table}"));
        }
    };
    runtime.block_on(hub::copy_catalog(from, to, dry_run, tell)).map_err(|error| {
        let code = error.code();
        let attempt = format!("the catalog {from} was not copied to {to}");
        let mut failure =
            Failure::new(Exit::from_number(code.exit_code()), code.as_str(), attempt).why(error.to_string());
        failure.next = error.hint();
        failure.causes = chain(&error).into();
        failure
    })
}

fn password(variable: impl Fn(&str) -> Option<OsString>, file: Option<&Path>) -> Result<Option<String>> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    if let Some(password) = set(PASSWORD) {
        let password =
            password.into_string().map_err(|_| Failure::usage(format!("{PASSWORD} is no UTF-8")))?;
        return Ok(Some(password));
    }
    let Some(file) = set(PASSWORD_FILE).map(PathBuf::from).or_else(|| file.map(Path::to_owned)) else {
        return Ok(None);
    };
    let text = std::fs::read_to_string(&file).map_err(|error| {
        Failure::local(format!("the password of the catalog can't be read from {}", file.display()), &error)
            .next(format!(
                "{PASSWORD_FILE}, or catalog_password_file, names a file whose first line is the password"
            ))
    })?;
    Ok(Some(text.lines().next().unwrap_or_default().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_the_address_is_refused_and_not_repeated() {
        let error = named_place("mysql://hub:s3cret@db/hub").unwrap_err().message();
        assert!(error.contains("must not hold its password") && !error.contains("s3cret"), "{error}");
    }

    #[test]
    fn the_password_comes_from_the_variable_or_the_first_line_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        std::fs::write(&file, "from file\nsecond line\n").unwrap();
        let both = |name: &str| match name {
            PASSWORD => Some(OsString::from("direct")),
            PASSWORD_FILE => Some(file.clone().into_os_string()),
            _ => None,
        };
        assert_eq!(password(both, None).unwrap().as_deref(), Some("direct"));
        let only_file = |name: &str| (name == PASSWORD_FILE).then(|| file.clone().into_os_string());
        assert_eq!(password(only_file, Some(Path::new("/no"))).unwrap().as_deref(), Some("from file"));
        assert_eq!(password(|_| None, Some(&file)).unwrap().as_deref(), Some("from file"));
        assert_eq!(password(|_| None, None).unwrap(), None);
        let missing = |name: &str| (name == PASSWORD_FILE).then(|| OsString::from("/nonexistent/password"));
        assert!(password(missing, None).unwrap_err().message().contains("/nonexistent/password"));
    }
}
