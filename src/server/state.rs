//! What every handler has: the hub, and the document of the routes.

use crate::kept::Kept;
use crate::keyed::Keyed;
use crate::metrics::Requests;
use hub::Hub;
use std::sync::Arc;
use std::time::Instant;
use utoipa::openapi::OpenApi;

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct State {
    /// The engine.
    pub hub: Hub,
    /// The document of this very router.
    pub document: Arc<OpenApi>,
    /// When the router was made.
    pub since: Instant,
    /// What searches and comparisons have found lately.
    pub kept: Arc<Kept>,
    /// Sessions with keys, and whose they are.
    pub keyed: Arc<Keyed>,
    /// How long answers took.
    pub requests: Requests,
}

impl State {
    pub(crate) fn new(hub: Hub, document: OpenApi) -> Self {
        State {
            hub,
            document: Arc::new(document),
            since: Instant::now(),
            kept: Arc::default(),
            keyed: Arc::default(),
            requests: Requests::new(),
        }
    }
}
