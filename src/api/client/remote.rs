//! The transports with a socket: a hub behind a Unix socket, or behind HTTPS.
//!
//! A request that can't have reached the hub (no connection was made) is tried again, and so is one that only reads,
//! whatever became of it; anything else is sent once, because nobody knows whether it was done. Tries end after
//! [`PATIENCE`]. An answer's body may be silent for [`SILENCE`]: streams of events say something every 15 s.
//! No limit is put on the time until an answer begins, because some work takes its time. A peer that is gone is found
//! by the kernel's keep-alive; a hub that has stopped, or a way to it on which somebody takes everything and passes
//! nothing on, by asking beside the request whether anybody is there ([`DOUBT`]).
//!
//! Not here: who the user is and which hub is meant (`cli`), the certificates that are trusted ([`trust`](super::trust)).

use super::address::HubAddress;
use super::error::ClientError;
use super::transport::{ResponseBody, Transport, TransportError};
use super::trust::{self, Fingerprint, Seen, Trust};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::BodyExt;
use std::error::Error;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tower_http::timeout::TimeoutBody;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// No further try is begun after this.
const PATIENCE: Duration = Duration::from_secs(4);
/// The pause after the first try; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(150);
/// The longest silence within an answer.
const SILENCE: Duration = Duration::from_secs(60);
/// How long an unused connection is kept: less than a hub keeps it, so that none is used while it is being closed.
const IDLE: Duration = Duration::from_secs(5);
/// How often a silent connection is probed, and after how much silence of the peer it is given up.
const PROBE: Duration = Duration::from_secs(10);
const GONE: Duration = Duration::from_secs(40);

/// How long an answer is waited for before it is asked whether the hub is there, how long that may take, and how often in
/// a row it may go unanswered.
const DOUBT: Duration = Duration::from_secs(15);
const MISSES: u32 = 2;

/// The header in which a hub says its version.
pub const VERSION_HEADER: &str = "x-sendense-version";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A hub in another process.
pub struct Remote {
    http: reqwest::Client,
    address: HubAddress,
    token: Option<HeaderValue>,
    /// Whether the hub's version was compared.
    compared: AtomicBool,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Remote {
    /// The transport to that hub. Nothing is connected yet.
    ///
    /// # Errors
    /// A certificate authority's file that can't be used; a token that is none.
    pub fn new(address: HubAddress, trust: &Trust, token: Option<&str>) -> Result<Self, ClientError> {
        let shown = address.to_string();
        let tls = match &address {
            HubAddress::Network { tls: true, .. } => trust.client()?,
            _ => trust::none()?,
        };
        let token = match token {
            None => None,
            Some(token) => {
                let mut value = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| {
                    TransportError::unreachable(&shown, "the token holds what no token can hold")
                })?;
                value.set_sensitive(true);
                Some(value)
            }
        };
        let http = client(&address, tls).map_err(|error| TransportError::unreachable(&shown, error))?;
        Ok(Remote { http, address, token, compared: AtomicBool::new(false) })
    }

    /// The certificate that the server at that address shows, whoever has signed it. No credentials are sent.
    ///
    /// # Errors
    /// Where there is no server, or it does not speak TLS.
    pub async fn fingerprint(address: &HubAddress) -> Result<Fingerprint, TransportError> {
        let shown = address.to_string();
        let unreachable = |error: Box<dyn Error + Send + Sync>| TransportError::unreachable(&shown, error);
        let seen = Seen::default();
        let tls = trust::any(&seen).map_err(|error| unreachable(error.into()))?;
        let http = client(address, tls).map_err(|error| unreachable(error.into()))?;
        let asked = http.get(format!("{}/api/v1/health", address.base())).timeout(CONNECT).send().await;
        let found = *seen.lock().unwrap_or_else(PoisonError::into_inner);
        match (found, asked) {
            (Some(found), _) => Ok(found),
            (None, Err(error)) => Err(told(&shown, error)),
            (None, Ok(_)) => Err(unreachable("it does not speak TLS".into())),
        }
    }

    async fn attempt(&self, request: &Request<Bytes>) -> Result<Response<ResponseBody>, reqwest::Error> {
        let uri = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let mut builder = self
            .http
            .request(request.method().clone(), format!("{}{uri}", self.address.base()))
            .headers(request.headers().clone())
            .body(request.body().clone());
        if let Some(token) = &self.token {
            builder = builder.header(header::AUTHORIZATION, token.clone());
        }
        let response: Response<reqwest::Body> = builder.send().await?.into();
        Ok(response.map(|body| {
            TimeoutBody::new(SILENCE, body.map_err(Box::<dyn Error + Send + Sync>::from)).boxed_unsync()
        }))
    }

    /// Returns when the hub does not even answer what costs it nothing.
    async fn until_gone(&self) {
        let mut misses = 0;
        while misses < MISSES {
            tokio::time::sleep(DOUBT).await;
            // Known to every hub, to everybody, and without its catalog, which may be what is waited for.
            let asked = self.http.head(format!("{}/api/v1/openapi.json", self.address.base())).timeout(DOUBT);
            misses = if asked.send().await.is_ok() { 0 } else { misses + 1 };
        }
    }

    /// Says once where hub and program are of different versions.
    fn compare(&self, response: &Response<ResponseBody>) {
        let theirs = response.headers().get(VERSION_HEADER).and_then(|value| value.to_str().ok());
        let Some(theirs) = theirs else { return };
        if theirs != VERSION && !self.compared.swap(true, Ordering::Relaxed) {
            let theirs: String = theirs.chars().take(40).collect();
            tracing::warn!("the hub at {} is version {theirs}, this program is {VERSION}", self.address);
        }
    }
}

fn client(address: &HubAddress, tls: rustls::ClientConfig) -> Result<reqwest::Client, reqwest::Error> {
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .user_agent(concat!("sendense-ctl/", env!("CARGO_PKG_VERSION")))
        // A hub does not redirect; what does is no hub, and must not get the token.
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT)
        .pool_idle_timeout(IDLE)
        .tcp_keepalive(PROBE)
        .tcp_keepalive_interval(PROBE)
        .tcp_keepalive_retries(3);
    builder = builder.tcp_user_timeout(GONE);
    if let HubAddress::Socket(path) = address {
        builder = builder.unix_socket(path.as_path());
    }
    builder.build()
}

impl Transport for Remote {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<ResponseBody>, TransportError>> {
        Box::pin(async move {
            let reads = matches!(*request.method(), Method::GET | Method::HEAD);
            let begun = Instant::now();
            let mut pause = PAUSE;
            loop {
                let answer = tokio::select! {
                    biased;
                    answer = self.attempt(&request) => answer,
                    () = self.until_gone() => {
                        let seconds = 2 * u64::from(MISSES) * DOUBT.as_secs();
                        let reason = format!("it has said nothing for {seconds} seconds");
                        return Err(TransportError::unreachable(&self.address.to_string(), std::io::Error::other(reason)));
                    }
                };
                let error = match answer {
                    Ok(response) => {
                        self.compare(&response);
                        return Ok(response);
                    }
                    Err(error) => error,
                };
                let again = (reads || error.is_connect()) && !is_tls(&error);
                if !again || begun.elapsed() + pause > PATIENCE {
                    return Err(told(&self.address.to_string(), error));
                }
                tracing::debug!("the hub did not answer, trying again: {error}");
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
        })
    }
}

/// The first error of that kind among the causes.
fn cause<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    // A chain that refers to itself would never end.
    for _ in 0..16 {
        let at = next?;
        if let Some(found) = at.downcast_ref::<E>() {
            return Some(found);
        }
        // What an I/O error carries is not among its sources: those are the sources of what it carries.
        next = match at.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => at.source(),
        };
    }
    None
}

/// Trying again does not mend a certificate.
fn is_tls(error: &reqwest::Error) -> bool {
    cause::<rustls::Error>(error).is_some()
}

/// What a person is told of a request that got no answer. Nothing of a URL is in it.
fn told(hub: &str, error: reqwest::Error) -> TransportError {
    let error = error.without_url();
    match cause::<rustls::Error>(&error) {
        Some(rustls::Error::InvalidCertificate(reason)) => TransportError::untrusted(hub, reason),
        Some(tls) => TransportError::unreachable(hub, tls.clone()),
        None => TransportError::unreachable(hub, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_found_under_any_number_of_io_errors() {
        let tls = rustls::Error::InvalidCertificate(rustls::CertificateError::Expired);
        let error = std::io::Error::other(std::io::Error::other(tls));
        assert!(matches!(cause::<rustls::Error>(&error), Some(rustls::Error::InvalidCertificate(_))));
        assert!(cause::<rustls::Error>(&std::io::Error::other("something else")).is_none());
    }
}
