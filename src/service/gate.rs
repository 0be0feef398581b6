//! What is refused before a route is looked for: too many requests from one address, and new work while the service
//! is about to end.

use api::{ApiError, ErrorBody, ErrorCode, Peer};
use axum::Json;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use governor::clock::{Clock, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use http::{HeaderValue, Method, StatusCode, header};
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// From so many addresses on, those that have been silent are forgotten.
const MANY: usize = 10_000;

type Limiter = RateLimiter<IpAddr, HashMapStateStore<IpAddr>, DefaultClock>;

/// Keeps the gate.
#[derive(Clone)]
pub(crate) struct Gate {
    limiter: Option<Arc<Limiter>>,
    closing: Arc<AtomicBool>,
}

impl Gate {
    /// A gate that lets so many requests of one address through in a second (0: any number), and twice as many
    /// at once.
    pub(crate) fn new(per_second: u32) -> Self {
        let quota = NonZeroU32::new(per_second).map(|rate| {
            Quota::per_second(rate).allow_burst(rate.saturating_mul(NonZeroU32::MIN.saturating_add(1)))
        });
        Gate { limiter: quota.map(|quota| Arc::new(RateLimiter::hashmap(quota))), closing: Arc::default() }
    }

    /// From now on nothing new is begun.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    /// In seconds, how long the address must wait.
    fn too_many(&self, peer: Option<&Peer>) -> Option<u64> {
        let (Some(limiter), Some(Peer::Network { address })) = (&self.limiter, peer) else { return None };
        if limiter.len() > MANY {
            limiter.retain_recent();
        }
        let denied = limiter.check_key(&network_of(*address)).err()?;
        Some(denied.wait_time_from(DefaultClock::default().now()).as_secs() + 1)
    }
}

/// An IPv6 client has a whole /64 to choose addresses from.
fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

/// Lets a request through, or refuses it.
pub(crate) async fn keep(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    if let Some(wait) = gate.too_many(request.extensions().get::<Peer>()) {
        let error = ApiError::new(ErrorCode::TooManyRequests, "too many requests from this address")
            .hint(format!("wait {wait} s; limits.requests_per_second is the hub's setting"));
        return refuse(error, Some(wait));
    }
    if gate.closing.load(Ordering::Relaxed) && begins_something(&request) {
        let error =
            ApiError::new(ErrorCode::HubUnreachable, "the hub is about to end and begins nothing new")
                .hint("try again when it is back");
        return refuse(error, None);
    }
    next.run(request).await
}

/// Looking, cancelling, completing what was sent, logging out and closing sessions are not the beginning of anything.
fn begins_something(request: &Request) -> bool {
    let path = request.uri().path();
    let ends = ["/cancel", "/complete", "/logout"].iter().any(|end| path.ends_with(end));
    let closes = request.method() == Method::DELETE && path.starts_with("/api/v1/restore/");
    !matches!(*request.method(), Method::GET | Method::HEAD)
        && !ends
        && !closes
        && !path.contains("/telemetry/")
}

fn refuse(error: ApiError, wait: Option<u64>) -> Response {
    let status = StatusCode::from_u16(error.code.http_status()).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let mut response = (status, Json(ErrorBody::from(error))).into_response();
    if let Some(wait) = wait {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_quota_of_its_own_and_a_socket_none() {
        let gate = Gate::new(2);
        let at = |text: &str| Peer::Network { address: text.parse().unwrap() };
        let passed = (0..20).filter(|_| gate.too_many(Some(&at("192.0.2.1"))).is_none()).count();
        assert!((4..=6).contains(&passed), "{passed}");
        assert!(gate.too_many(Some(&at("192.0.2.1"))).is_some_and(|wait| wait >= 1));
        assert!(gate.too_many(Some(&at("192.0.2.2"))).is_none());
        assert!((0..20).all(|_| gate.too_many(Some(&Peer::Socket { uid: 1 })).is_none()));
        let passed =
            (0..20).filter(|n| gate.too_many(Some(&at(&format!("2001:db8::{n}")))).is_none()).count();
        assert!(passed < 10, "one network is one client: {passed}");
        let open = Gate::new(0);
        assert!((0..5000).all(|_| open.too_many(Some(&at("192.0.2.1"))).is_none()));
    }

    #[test]
    fn a_closing_hub_can_be_looked_at_and_its_jobs_cancelled() {
        for (method, path, begins) in [
            ("GET", "/api/v1/backups", false),
            ("POST", "/api/v1/backups", true),
            ("POST", "/api/v1/jobs/x/cancel", false),
            ("POST", "/api/v1/backups/x/complete", false),
            ("POST", "/api/v1/telemetry/backup/x", false),
            ("DELETE", "/api/v1/restore/mount-1", false),
            ("DELETE", "/api/v1/backups/x", true),
        ] {
            let request =
                Request::builder().method(method).uri(path).body(axum::body::Body::empty()).unwrap();
            assert_eq!(begins_something(&request), begins, "{method} {path}");
        }
    }
}
