//! A service from its start to its end.

use crate::claim::{Claim, SOCKET_NAME};
use crate::doors::{Door, Hall};
use crate::gate::{self, Gate};
use crate::notify::Notify;
use crate::settings::{Listen, Resolved, Settings, Source};
use crate::signals::{Signals, Wish};
use crate::tls::Certificate;
use crate::{Error, Result, answers};
use api::Fingerprint;
use axum::middleware::{from_fn, from_fn_with_state};
use hub::{CatalogLocation, Hub, HubConfig};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, timeout, timeout_at};

/// How long cancelled jobs may take to clean up, and connections to give their last answer.
const CLEANUP: Duration = Duration::from_secs(60);
const LAST_ANSWERS: Duration = Duration::from_secs(5);
/// How often the end of jobs and connections is looked for.
const LOOK: Duration = Duration::from_millis(50);

/// A hub that listens.
pub struct Service {
    hub: Hub,
    source: Source,
    settings: Settings,
    certificate: Option<Certificate>,
    addresses: Vec<String>,
    doors: Vec<Door>,
    signals: Signals,
    notify: Notify,
    // Last: nobody else may claim the folder while any of the above is there.
    _claim: Claim,
}

/// How a service has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Jobs that had to be cancelled.
    pub cancelled: usize,
    /// Jobs that have not cleaned up in time; the next start does.
    pub abandoned: usize,
}

impl Service {
    /// Claims the state folder, opens the engine with its `catalog` (in the folder unless said) and binds every address. Must be called within a runtime.
    ///
    /// # Errors
    /// Where one of it can't be had; nothing is left behind then.
    pub async fn open(
        source: Source,
        resolved: Resolved,
        catalog: Option<CatalogLocation>,
    ) -> Result<Service> {
        let signals = Signals::listen()?;
        let settings = resolved.settings;
        settings.push.check()?;
        hub::make_private(&settings.state_dir)?;
        let claim = Claim::take(&settings.state_dir)?;
        let wants_tls = settings.listen.iter().any(|listen| matches!(listen, Listen::Https(_)));
        let certificate = if wants_tls { Some(Certificate::open(&settings)?) } else { None };
        let config = HubConfig {
            catalog,
            logins: settings.logins,
            push: settings.push.clone(),
            silence: settings.silence,
            restore_folders: settings.restore_folders.clone(),
            ..HubConfig::new(&settings.state_dir)
        };
        let hub = Hub::open(config).await?;
        let own = settings.state_dir.join(SOCKET_NAME);
        let mut doors = vec![Door::own(&own)?];
        let mut addresses = vec![Listen::Unix(own).to_string()];
        for listen in &settings.listen {
            let (door, address) = Door::open(listen, certificate.as_ref()).await?;
            doors.push(door);
            addresses.push(address);
        }
        let notify = Notify::from_environment();
        Ok(Service { hub, source, settings, certificate, addresses, doors, signals, notify, _claim: claim })
    }

    /// Looks at what the settings name without serving: certificates that don't fit, for one.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(settings: &Settings) -> Result<()> {
        if settings.tls_certificate.is_some() {
            Certificate::open(settings)?;
        }
        settings.push.check().map_err(Error::Hub)
    }

    /// Where it listens, its own socket first.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// By what clients pin its certificate, where it offers TLS.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.certificate.as_ref().and_then(Certificate::fingerprint)
    }

    /// Answers until it is asked to stop, and ends as the crate's documentation says. `level` is called with the
    /// level of the log when settings have been read again.
    pub async fn run(mut self, level: impl Fn(&str)) -> Ended {
        let gate = Gate::new(self.settings.limits.requests_per_second);
        let router = server::router(self.hub.clone())
            .layer(from_fn_with_state(gate.clone(), gate::keep))
            .layer(answers::compression())
            .layer(from_fn(answers::mark));
        let (stop, stopped) = watch::channel(false);
        let hall = Hall::new(router, self.settings.limits.clone(), stopped);
        let mut attending = JoinSet::new();
        for door in std::mem::take(&mut self.doors) {
            attending.spawn(door.attend(hall.clone()));
        }
        let status = format!("serves at {}", self.addresses.join(", "));
        self.notify.ready(&status);
        tracing::info!("the hub {status}");

        self.until_asked(&status, &level).await;
        gate.close();
        let ended = self.let_jobs_end().await;
        // Watchers have heard of the ends; new connections are not taken in any more.
        stop.send_replace(true);
        let deadline = Instant::now() + LAST_ANSWERS;
        while hall.connections() > 0 && Instant::now() < deadline {
            tokio::time::sleep(LOOK).await;
        }
        attending.shutdown().await;
        self.remove_sockets();
        tracing::info!(cancelled = ended.cancelled, abandoned = ended.abandoned, "the hub has ended");
        ended
    }

    /// Waits for the wish to stop; reads the settings again where that is asked for.
    async fn until_asked(&mut self, status: &str, level: &impl Fn(&str)) {
        // Where no manager wants signs of life, the beat only has to be something.
        let beat = self.notify.beat();
        let mut beats = interval(beat.unwrap_or(Duration::from_secs(3600)));
        loop {
            tokio::select! {
                wish = self.signals.next() => match wish {
                    Wish::Stop => return,
                    Wish::Reload => {
                        self.notify.reloading();
                        self.reload(level);
                        self.notify.ready(status);
                    }
                },
                _ = beats.tick(), if beat.is_some() => {
                    // A hub whose catalog does not answer is no sign of life.
                    if timeout(beats.period(), self.hub.repositories()).await.is_ok() {
                        self.notify.alive();
                    }
                }
            }
        }
    }

    /// Takes what can be taken while it runs: certificates and the level of the log.
    fn reload(&mut self, level: &impl Fn(&str)) {
        let fresh = match self.source.resolve() {
            Ok(fresh) => fresh,
            Err(error) => {
                tracing::error!("the settings were not read again: {error}");
                return;
            }
        };
        let mut taken = true;
        if let Some(certificate) = &self.certificate {
            match certificate.reload(&fresh.settings) {
                Ok(()) => {
                    let shown = certificate.fingerprint().map(|shown| shown.to_string()).unwrap_or_default();
                    tracing::info!("the certificate was read again: {shown}");
                    self.settings.tls_certificate.clone_from(&fresh.settings.tls_certificate);
                    self.settings.tls_key.clone_from(&fresh.settings.tls_key);
                }
                Err(error) => {
                    taken = false;
                    tracing::error!("the certificate was not read again: {error}");
                }
            }
        }
        level(&fresh.settings.log_level);
        self.settings.log_level.clone_from(&fresh.settings.log_level);
        let changed = fresh.changed(&self.settings);
        if !changed.is_empty() {
            tracing::warn!("these settings take effect at the next start: {}", changed.join(", "));
        }
        if taken {
            tracing::info!("the settings were read again");
        }
    }

    /// Waits for running jobs, then cancels them and waits for that. A second wish to stop ends the process.
    async fn let_jobs_end(&mut self) -> Ended {
        let limit = self.settings.stop_timeout;
        let running = self.hub.running_jobs();
        let status = format!("stopping, {running} jobs run");
        self.notify.stopping(&status, limit + CLEANUP + LAST_ANSWERS);
        tracing::info!(running, "asked to stop");
        let hub = self.hub.clone();
        let deadline = Instant::now() + limit;
        let signals = &mut self.signals;
        tokio::select! {
            _ = timeout_at(deadline, hub.idle()) => {}
            _ = hurry(signals) => {}
        }
        let cancelled = hub.running_jobs();
        if cancelled > 0 {
            tracing::warn!(cancelled, "jobs are cancelled, because the service ends");
        }
        tokio::select! {
            _ = timeout(CLEANUP, hub.shutdown()) => {}
            _ = hurry(signals) => {}
        }
        Ended { cancelled, abandoned: hub.running_jobs() }
    }

    fn remove_sockets(&self) {
        let own = self.settings.state_dir.join(SOCKET_NAME);
        let others = self.settings.listen.iter().filter_map(|listen| match listen {
            Listen::Unix(path) => Some(path.clone()),
            _ => None,
        });
        for path in others.chain([own]) {
            if let Err(error) = std::fs::remove_file(&path) {
                tracing::debug!(%error, path = %path.display(), "the socket could not be removed");
            }
        }
    }
}

/// Looks for a second wish to stop, which ends the process; never returns.
async fn hurry(signals: &mut Signals) {
    loop {
        signals.next().await;
    }
}
