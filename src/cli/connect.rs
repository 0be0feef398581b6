//! The way to the hub.
//!
//! [`App`] is what a command is run with: the user's side ([`Ui`]) and where the hub is ([`Said`]). Nothing is opened
//! before [`App::connect`]: a help text or a manual page costs no runtime and no catalog. A command can't tell
//! whether its hub is the engine inside this process, one behind a socket of this machine, or one far away: all are a
//! [`Client`], which is made here and nowhere else.

use crate::catalog_place;
use crate::failure::{Failure, Result};
use crate::logging;
use crate::place::{Place, Said, Served};
use crate::show::one_line;
use crate::ui::{GlobalArgs, Ui};
use api::{AddressQuery, Backup, CLIENT_SECONDS, Client, ClientError, InProcess, Remote};
use hub::{CatalogFault, Hub, HubConfig};
use std::future::Future;
use std::sync::Arc;
use tokio::runtime::{Builder, Runtime};

/// What a command is run with.
#[derive(Debug)]
pub struct App {
    /// The user's side.
    pub ui: Ui,
    /// What was said of the hub.
    pub said: Said,
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
        let said = Said {
            hub: global.hub.clone(),
            state_dir: global.state_dir.clone(),
            catalog: global.catalog.clone(),
        };
        App { ui: Ui::new(global), said }
    }

    /// Opens the hub, or the way to it.
    ///
    /// # Errors
    /// Where there is no state folder, or the engine can't be opened in it; where what is said of the hub can't
    /// be understood. That a hub elsewhere does not answer is told by the first request.
    pub fn connect(&self, work: Work) -> Result<Connection> {
        self.open(&self.said.place()?, work, false)
    }

    /// Opens the hub to find out what is wrong with it: also where what killed runs have left can't be put
    /// right, because the catalog is damaged.
    ///
    /// # Errors
    /// As [`connect`](Self::connect), where there is nothing at all to look at.
    pub fn connect_to_examine(&self) -> Result<Connection> {
        self.open(&self.said.place()?, Work::Requests, true)
    }

    /// Opens the hub at a place that is known.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub fn connect_to(&self, place: &Place) -> Result<Connection> {
        self.open(place, Work::Requests, false)
    }

    fn open(&self, place: &Place, work: Work, even_damaged: bool) -> Result<Connection> {
        logging::init(&self.ui);
        let folder = match place {
            Place::Embedded(folder) => folder,
            Place::Served(served) => {
                let client = remote(served)?;
                // What tells the hub that this process is there goes on while it waits for a terminal.
                return Ok(Connection { client, hub: None, runtime: runtime(Work::Jobs)? });
            }
        };
        let runtime = runtime(work)?;
        let mut config = HubConfig::new(folder);
        config.catalog = catalog_place::given(&self.said, folder)?;
        // With --verbose the log says the same.
        if !self.ui.quiet && !self.ui.verbose {
            let screen = self.ui.screen.clone();
            config.notice = Some(Arc::new(move |sentence| screen.line(&one_line(sentence))));
        }
        let location = config.catalog_location();
        let opened = runtime.block_on(async {
            match Hub::open(config.clone()).await {
                Err(hub::Error::Catalog { fault: CatalogFault::Damaged, .. }) if even_damaged => {
                    Hub::look(config.clone()).await
                }
                other => other,
            }
        });
        let hub = opened.map_err(|error| Failure::engine(&location, &error))?;
        let client = embedded(&hub);
        Ok(Connection { client, hub: Some(hub), runtime })
    }
}

impl App {
    /// Where the catalog of the local hub is.
    ///
    /// # Errors
    /// Where there is no state folder; what names no catalog.
    pub fn catalog(&self) -> Result<hub::CatalogLocation> {
        let mut config = HubConfig::new(self.said.folder()?);
        config.catalog = catalog_place::given(&self.said, &config.state_dir)?;
        Ok(config.catalog_location())
    }
}

fn embedded(hub: &Hub) -> Client {
    Client::new(InProcess::new(server::router(hub.clone())))
}

/// The client of a hub in another process.
///
/// # Errors
/// Certificates that can't be used.
pub fn remote(served: &Served) -> Result<Client> {
    let token = served.token.as_ref().map(|token| token.expose());
    let transport = Remote::new(served.address.clone(), &served.trust, token)?;
    Ok(Client::new(transport))
}

/// Asks the hub something without making or changing anything, for completion: `None` where there is no hub.
pub fn peek<T, F: Future<Output = T>>(said: &Said, question: impl FnOnce(Client) -> F) -> Option<T> {
    let place = said.place().ok()?;
    let runtime = runtime(Work::Requests).ok()?;
    runtime.block_on(async {
        let client = match &place {
            Place::Embedded(folder) => {
                let mut config = HubConfig::new(folder);
                config.catalog = catalog_place::given(said, folder).ok()?;
                embedded(&Hub::look(config).await.ok()?)
            }
            Place::Served(served) => remote(served).ok()?,
        };
        Some(question(client).await)
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

/// Runs a call that needs no hub in this process to its end.
///
/// # Errors
/// Where this process can't have a runtime.
pub fn wait<F: Future>(work: F) -> Result<F::Output> {
    Ok(runtime(Work::Requests)?.block_on(work))
}

/// An open hub, or the way to one. Dropping it cancels what still runs in the hub of this process and waits until
/// that is cleaned up; jobs of another process go on.
pub struct Connection {
    client: Client,
    hub: Option<Hub>,
    runtime: Runtime,
}

impl Connection {
    /// The typed client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// How long what is opened for this process alone may go without a sign of it, in seconds: a hub elsewhere would not
    /// notice that it was killed. One in this process ends with it, and stands still when it is stopped.
    pub fn client_timeout(&self) -> Option<u64> {
        self.hub.is_none().then_some(CLIENT_SECONDS)
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
        if let Some(hub) = &self.hub {
            self.runtime.block_on(hub.shutdown());
        }
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
