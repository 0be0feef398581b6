//! The way to the hub.
//!
//! [`App`] is what a command is run with: the user's side ([`Ui`]) and where the hub is. Nothing is opened
//! before [`App::connect`]: a help text or a manual page costs no runtime and no catalog. Today the hub is always
//! the engine inside this process, on the state folder; a hub elsewhere is another way to make the [`Client`],
//! here and nowhere else.

use crate::catalog_place;
use crate::failure::{Failure, Result};
use crate::logging;
use crate::show::one_line;
use crate::state_dir;
use crate::ui::{GlobalArgs, Ui};
use api::{AddressQuery, Backup, Client, ClientError, InProcess};
use hub::{CatalogFault, Hub, HubConfig};
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::runtime::{Builder, Runtime};

/// What a command is run with.
#[derive(Debug)]
pub struct App {
    /// The user's side.
    pub ui: Ui,
    state_dir: Option<PathBuf>,
    catalog: Option<String>,
}

/// How much a command asks of the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Requests that are answered at once.
    Requests,
    /// Jobs that run in this process.
    Jobs,
}

impl App {
    /// Settles the global options; opens nothing.
    pub fn new(global: &GlobalArgs) -> Self {
        let ui = Ui::new(global);
        logging::init(&ui);
        App { ui, state_dir: global.state_dir.clone(), catalog: global.catalog.clone() }
    }

    /// Opens the hub.
    ///
    /// # Errors
    /// Where there is no state folder, or the engine can't be opened in it.
    pub fn connect(&self, work: Work) -> Result<Connection> {
        self.open(work, false)
    }

    /// Opens the hub to find out what is wrong with it: also where what killed runs have left can't be put
    /// right, because the catalog is damaged.
    ///
    /// # Errors
    /// As [`connect`](Self::connect), where there is nothing at all to look at.
    pub fn connect_to_examine(&self) -> Result<Connection> {
        self.open(Work::Requests, true)
    }

    fn open(&self, work: Work, even_damaged: bool) -> Result<Connection> {
        let folder = folder(self.state_dir.as_deref())?;
        let runtime = runtime(work)?;
        let mut config = HubConfig::new(&folder);
        config.catalog = catalog_place::given(self.catalog.as_deref())?;
        // With --verbose the log says the same.
        if !self.ui.quiet && !self.ui.verbose {
            let screen = self.ui.screen.clone();
            config.notice = Some(Arc::new(move |sentence| screen.line(&one_line(sentence))));
        }
        let opened = runtime.block_on(async {
            match Hub::open(config.clone()).await {
                Err(hub::Error::Catalog { fault: CatalogFault::Damaged, .. }) if even_damaged => {
                    Hub::look(config.clone()).await
                }
                other => other,
            }
        });
        let hub = opened.map_err(|error| Failure::engine(&config.catalog_location(), &error))?;
        let client = client(&hub);
        Ok(Connection { client, hub, runtime })
    }
}

fn folder(given: Option<&Path>) -> Result<PathBuf> {
    match given {
        Some(folder) if !folder.as_os_str().is_empty() => state_dir::absolute(folder),
        _ => state_dir::usual(),
    }
}

impl App {
    /// Where the catalog of the local hub is.
    ///
    /// # Errors
    /// Where there is no state folder; what names no catalog.
    pub fn catalog(&self) -> Result<hub::CatalogLocation> {
        let mut config = HubConfig::new(folder(self.state_dir.as_deref())?);
        config.catalog = catalog_place::given(self.catalog.as_deref())?;
        Ok(config.catalog_location())
    }
}

fn client(hub: &Hub) -> Client {
    Client::new(InProcess::new(server::router(hub.clone())))
}

/// Asks the hub something without making or changing anything, for completion: `None` where there is no hub.
pub fn peek<T, F: Future<Output = T>>(given: Option<&Path>, question: impl FnOnce(Client) -> F) -> Option<T> {
    let mut config = HubConfig::new(folder(given).ok()?);
    config.catalog = catalog_place::given(std::env::var("SENDENSE_CATALOG").ok().as_deref()).ok()?;
    let runtime = runtime(Work::Requests).ok()?;
    runtime.block_on(async {
        let hub = Hub::look(config).await.ok()?;
        Some(question(client(&hub)).await)
    })
}

/// Requests need one thread. A job has threads of its own for its data; a second one here keeps signals and
/// progress going while the engine's bookkeeping is busy.
pub(crate) fn runtime(work: Work) -> Result<Runtime> {
    let built = match work {
        Work::Requests => Builder::new_current_thread().enable_all().build(),
        Work::Jobs => Builder::new_multi_thread().worker_threads(2).enable_all().build(),
    };
    built.map_err(|error| Failure::local("the hub inside this process could not be started", &error))
}

/// An open hub. Dropping it cancels what still runs in it and waits until that is cleaned up.
pub struct Connection {
    client: Client,
    hub: Hub,
    runtime: Runtime,
}

impl Connection {
    /// The typed client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Runs a call, or anything else that waits, to its end.
    pub fn wait<F: Future>(&self, work: F) -> F::Output {
        self.runtime.block_on(work)
    }

    /// Lets a call go on beside what is [waited](Self::wait) for.
    pub fn spawn<F>(&self, work: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.runtime.spawn(work)
    }

    /// The backup that an address means.
    ///
    /// # Errors
    /// None or several answer to it.
    pub fn resolve(&self, app: &App, address: &str) -> Result<Backup> {
        let query = AddressQuery { address: address.to_owned(), vm_name: None, tz: app.ui.show.zone_name() };
        self.wait(self.client.resolve(&query)).map_err(Failure::from)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.runtime.block_on(self.hub.shutdown());
    }
}

/// Says what was attempted, where a call failed.
pub trait During<T> {
    /// `attempt` becomes the headline: "the VM was not added".
    ///
    /// # Errors
    /// The same failure, told better.
    fn during(self, attempt: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<Failure>> During<T> for Result<T, E> {
    fn during(self, attempt: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| error.into().during(attempt()))
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        let mut failure = Failure::new(
            crate::Exit::from_number(error.exit_code()),
            error.code().as_str(),
            error.to_string(),
        );
        failure.next = error.hint().map(str::to_owned);
        failure.details = error
            .details()
            .filter(|details| !details.is_empty())
            .cloned()
            .map(serde_json::Value::Object)
            .map(Box::new);
        failure.causes = crate::failure::chain(&error).into();
        failure
    }
}
