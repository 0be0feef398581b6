//! Where the hub is: flag, environment, profile, and last the local one.
//!
//! | said | meant |
//! | --- | --- |
//! | a URL | that hub; with what the profile of that URL knows, where there is one |
//! | a name | the profile of that name (`hub login`) |
//! | `local` | the local hub, whatever profile is in use |
//! | `embedded` | the engine inside this process, even where a hub serves the state folder |
//!
//! The local hub is the one that serves the state folder, where one answers at its socket, and otherwise the engine
//! inside this process. Nothing is asked here but whether somebody answers at that socket.

use crate::failure::{Failure, Result};
use crate::profiles::{Profile, Profiles};
use crate::secret::{self, Secret};
use crate::{state_dir, tokens};
use api::{Fingerprint, HubAddress, Trust};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// Where the hub is.
#[derive(Debug)]
pub enum Place {
    /// Inside this process, on that state folder.
    Embedded(PathBuf),
    /// In another process.
    Served(Served),
}

/// A hub in another process.
#[derive(Debug)]
pub struct Served {
    /// Where.
    pub address: HubAddress,
    /// Which certificates are its.
    pub trust: Trust,
    /// Who asks, where the connection does not say it.
    pub token: Option<Secret>,
    /// The profile's name.
    pub name: Option<String>,
}

/// What was said of the hub, by flag or environment.
#[derive(Debug, Clone, Default)]
pub struct Said {
    /// `--hub` or `SENDENSE_HUB`.
    pub hub: Option<String>,
    /// `--state-dir` or `SENDENSE_HOME`.
    pub state_dir: Option<PathBuf>,
    /// `--catalog` or `SENDENSE_CATALOG`.
    pub catalog: Option<String>,
}

impl Said {
    /// Where the hub is.
    ///
    /// # Errors
    /// What is said can't be understood; a profile that does not exist.
    pub fn place(&self) -> Result<Place> {
        match self.hub.as_deref().map(str::trim).filter(|text| !text.is_empty()) {
            Some("local") => self.local(),
            Some("embedded") => Ok(Place::Embedded(self.folder()?)),
            Some(text) => self.named(text),
            None => {
                let profiles = Profiles::load()?;
                match profiles.current.clone() {
                    Some(name) => by_name(&profiles, &name),
                    None => self.local(),
                }
            }
        }
    }

    fn named(&self, text: &str) -> Result<Place> {
        let profiles = Profiles::load()?;
        if profiles.hubs.contains_key(text) {
            return by_name(&profiles, text);
        }
        let looks_like_one = text.contains(['/', ':', '.']);
        let address = match text.parse::<HubAddress>() {
            Ok(address) if looks_like_one => address,
            Err(error) if looks_like_one => return Err(Failure::usage(error.to_string())),
            _ => {
                return Err(Failure::usage(format!("there is no hub named {text}"))
                    .next("sendense-ctl hub list shows those that are known; a URL works too"));
            }
        };
        let url = address.to_string();
        let known = profiles.hubs.iter().find(|(_, profile)| profile.url == url);
        let name = known.map(|(name, _)| name.clone());
        let profile = known.map(|(_, profile)| profile.clone()).unwrap_or_else(|| Profile::new(&url));
        served(address, &profile, name).map(Place::Served)
    }

    fn local(&self) -> Result<Place> {
        let folder = self.folder()?;
        // Whoever names a catalog means that one, and not the one of the hub that serves.
        if self.catalog.as_ref().is_some_and(|catalog| !catalog.is_empty()) {
            return Ok(Place::Embedded(folder));
        }
        let socket = folder.join(service::SOCKET_NAME);
        if UnixStream::connect(&socket).is_err() {
            return Ok(Place::Embedded(folder));
        }
        let address = HubAddress::Socket(socket);
        Ok(Place::Served(Served { address, trust: Trust::System, token: None, name: None }))
    }

    /// The state folder.
    ///
    /// # Errors
    /// Where a user has no home.
    pub fn folder(&self) -> Result<PathBuf> {
        match self.state_dir.as_deref() {
            Some(folder) if folder != Path::new("") => state_dir::absolute(folder),
            _ => state_dir::usual(),
        }
    }
}

fn by_name(profiles: &Profiles, name: &str) -> Result<Place> {
    let profile = profiles.hubs.get(name).ok_or_else(|| {
        Failure::usage(format!("the hub {name} is in use, and not known any more"))
            .next("sendense-ctl hub use local, or log in again: sendense-ctl hub login URL")
    })?;
    let address = profile
        .url
        .parse::<HubAddress>()
        .map_err(|error| Failure::usage(format!("the hub {name} can't be used")).why(error.to_string()))?;
    served(address, profile, Some(name.to_owned())).map(Place::Served)
}

/// The hub of that profile as the profile alone knows it, whatever the environment says: for its own token.
///
/// # Errors
/// Where what is stored can't be read.
pub fn stored(profiles: &Profiles, name: &str) -> Result<Option<Served>> {
    let Some(profile) = profiles.hubs.get(name) else { return Ok(None) };
    let Some(token) = tokens::load(name)? else { return Ok(None) };
    let unusable = |error: &dyn std::fmt::Display| {
        Failure::usage(format!("the hub {name} can't be used")).why(error.to_string())
    };
    let address = profile.url.parse::<HubAddress>().map_err(|error| unusable(&error))?;
    let trust = match (&profile.fingerprint, &profile.ca) {
        (Some(pin), _) => Trust::Pin(pin.parse::<Fingerprint>().map_err(|error| unusable(&error))?),
        (None, Some(path)) => Trust::Authority(path.clone()),
        (None, None) => Trust::System,
    };
    Ok(Some(Served { address, trust, token: Some(token), name: Some(name.to_owned()) }))
}

/// What the environment says wins over the profile: `SENDENSE_TOKEN`, `SENDENSE_FINGERPRINT`, `SENDENSE_CA`.
fn served(address: HubAddress, profile: &Profile, name: Option<String>) -> Result<Served> {
    let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    let fingerprint = variable("SENDENSE_FINGERPRINT").or_else(|| profile.fingerprint.clone());
    let authority = variable("SENDENSE_CA").map(PathBuf::from).or_else(|| profile.ca.clone());
    let trust = match (fingerprint, authority) {
        (Some(pin), _) => {
            Trust::Pin(pin.parse::<Fingerprint>().map_err(|error| Failure::usage(error.to_string()))?)
        }
        (None, Some(path)) => Trust::Authority(path),
        (None, None) => Trust::System,
    };
    let token = match secret::from_environment("SENDENSE_TOKEN")? {
        Some(token) => Some(token),
        None => match &name {
            Some(name) => tokens::load(name)?,
            None => None,
        },
    };
    Ok(Served { address, trust, token, name })
}
