//! What every handler has: the hub, and the document of the routes.

use crate::kept::Kept;
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
}

impl State {
    pub(crate) fn new(hub: Hub, document: OpenApi) -> Self {
        State { hub, document: Arc::new(document), since: Instant::now(), kept: Arc::default() }
    }
}
