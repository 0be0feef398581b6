//! What an embedded hub is told when it is opened.

use crate::{LoginRules, Result};
use catalog::Location;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Takes a sentence for the person in front of the program: the hub has made something by itself, or has
/// put something right. Called at most a few times; must not block.
pub type Notice = Arc<dyn Fn(&str) + Send + Sync>;

/// Where the hub keeps its state, and whom it talks to.
#[derive(Clone)]
pub struct HubConfig {
    /// The folder of the catalog and of the default repository. Made where it is missing, for its owner only.
    pub state_dir: PathBuf,
    /// Where the catalog is; in the folder where nothing is said. Several hubs may share one on a server.
    pub catalog: Option<Location>,
    /// How logins are dealt with.
    pub logins: LoginRules,
    /// Who hears what the hub does by itself; besides that it is logged.
    pub notice: Option<Notice>,
    /// Where clients write backups.
    pub push: PushConfig,
    /// How long a job may be silent.
    pub silence: Silence,
    /// Folders of this machine into which others than administrators may restore disks.
    pub restore_folders: Vec<PathBuf>,
}

/// Where the exports are that clients write backups to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushConfig {
    /// The address; one that is not of the machine itself needs TLS.
    pub listen: IpAddr,
    /// How clients call this machine; the address where nothing is said.
    pub host: Option<String>,
    /// The ports, one for each disk that is being written.
    pub ports: RangeInclusive<u16>,
    /// The folder of `server-cert.pem` and `server-key.pem`.
    pub tls: Option<PathBuf>,
}

impl PushConfig {
    /// Looks whether its certificates can be used.
    ///
    /// # Errors
    /// Where they can't.
    pub fn check(&self) -> Result<()> {
        match &self.tls {
            Some(folder) => crate::push::certificates(folder).map(drop),
            None => Ok(()),
        }
    }
}

impl Default for PushConfig {
    fn default() -> Self {
        PushConfig { listen: IpAddr::V4(Ipv4Addr::LOCALHOST), host: None, ports: 10_100..=10_200, tls: None }
    }
}

/// How long nothing may be heard of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Silence {
    /// Then it is stalled.
    pub stalled: Duration,
    /// Then it has failed.
    pub failed: Duration,
}

impl Default for Silence {
    fn default() -> Self {
        Silence { stalled: Duration::from_secs(60), failed: Duration::from_secs(300) }
    }
}

impl HubConfig {
    /// A hub on that state folder, which tells nobody anything.
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        HubConfig {
            state_dir: state_dir.into(),
            catalog: None,
            logins: LoginRules::default(),
            notice: None,
            push: PushConfig::default(),
            silence: Silence::default(),
            restore_folders: Vec::new(),
        }
    }

    /// Where the catalog is.
    pub fn catalog_location(&self) -> Location {
        self.catalog.clone().unwrap_or_else(|| Location::File(self.state_dir.join("catalog.db")))
    }

    /// The folder of the repository that is made where none is named and none exists.
    pub fn default_repository_path(&self) -> PathBuf {
        self.state_dir.join("repository")
    }

    pub(crate) fn tell(&self, sentence: &str) {
        tracing::info!("{sentence}");
        if let Some(notice) = &self.notice {
            notice(sentence);
        }
    }
}

impl fmt::Debug for HubConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HubConfig")
            .field("state_dir", &self.state_dir)
            .field("catalog", &self.catalog)
            .finish_non_exhaustive()
    }
}
