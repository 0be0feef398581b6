//! The hub's REST API: routes, the reading of requests, status lines and the OpenAPI document.
//!
//! A handler is thin: it reads the request, calls the hub once, and writes the answer. Every answer that is
//! no success has the contract's JSON body, whoever refuses: a handler, an extractor, the router (unknown
//! route, wrong method) or a fault. Nothing is kept between requests but the hub.
//!
//! Who calls is an extension of the request ([`api::Caller`]) that the transport puts there, or told by a token; a
//! request without either is refused (`guard`), and so is one whose role is too low for its route (`rules`). A client that goes away takes nothing with it: handlers come to their
//! end, jobs go on; only a stream of events stops.
//!
//! Not here: sockets and TLS (the hub's service), what the requests do (`hub`), the shapes (`api`).

mod admitted;
mod answer;
mod archive;
mod auth;
mod backups;
mod browse;
mod caller;
mod docs;
mod download;
mod events;
mod export;
mod extract;
mod failure;
mod guard;
mod jobs;
mod kept;
mod keyed;
mod legacy;
mod metrics;
mod openapi;
mod repositories;
mod rules;
mod search;
mod service;
mod state;
mod stream;
mod telemetry;
mod vms;

pub use openapi::document;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware;
use hub::Hub;
use state::State;
use utoipa_axum::router::OpenApiRouter;

/// The most bytes of a request's body. The largest honest one is a VM with all its disks.
const MAX_BODY: usize = 1 << 20;

/// The whole API of that hub, from `/api/v1` on.
pub fn router(hub: Hub) -> Router {
    let (router, mut document) = routes().split_for_parts();
    openapi::name_roles(&mut document);
    let state = State::new(hub, document);
    router
        .route_layer(middleware::from_fn_with_state(state.clone(), guard::guard))
        .method_not_allowed_fallback(failure::method_not_allowed)
        .fallback(failure::no_such_route)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::from_fn(failure::run_to_the_end))
        .layer(middleware::from_fn_with_state(state.clone(), metrics::measure))
        .with_state(state)
}

/// Every route, with its part of the document.
fn routes() -> OpenApiRouter<State> {
    OpenApiRouter::with_openapi(openapi::head())
        .merge(backups::routes())
        .merge(jobs::routes())
        .merge(browse::routes())
        .merge(search::routes())
        .merge(export::routes())
        .merge(archive::routes())
        .merge(repositories::routes())
        .merge(vms::routes())
        .merge(telemetry::routes())
        .merge(service::routes())
        .merge(docs::routes())
        .merge(metrics::routes())
        .merge(auth::routes())
        .merge(legacy::routes())
}
