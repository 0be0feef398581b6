//! Answers that take long: they end with the token that they were asked for by.
//!
//! A request's token is looked at before its handler runs. A stream of events or a download may go on for hours after
//! that, so whether its token is still good is looked at again every few seconds; where it was revoked, has expired, or
//! its user may do less by now, the answer is cut off, and never ends as if it were whole.

use api::Caller;
use axum::body::{Body, HttpBody};
use axum::response::Response;
use futures_util::{FutureExt, StreamExt, stream};
use hub::Hub;
use jiff::Timestamp;
use model::Role;
use std::io;
use std::task::Poll;
use std::time::Duration;

/// How often is looked.
const LOOK: Duration = Duration::from_secs(5);

/// The token that an answer is given for.
pub(crate) struct Admission {
    /// Knows whose it is.
    pub hub: Hub,
    /// As the request brought it.
    pub token: String,
    /// The least role of the route.
    pub least: Option<Role>,
}

impl Admission {
    /// The answer, which ends where the token does. One whose body is there already stays as it is.
    pub(crate) fn bound(self, caller: &Caller, response: Response) -> Response {
        if response.body().size_hint().exact().is_some() {
            return response;
        }
        let mut over = Box::pin(self.over(caller.expires_at).fuse());
        response.map(|body| {
            let mut data = body.into_data_stream();
            Body::from_stream(stream::poll_fn(move |context| match over.poll_unpin(context) {
                Poll::Ready(()) => {
                    let message = "the token is not valid any more";
                    Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::PermissionDenied, message))))
                }
                Poll::Pending => data.poll_next_unpin(context).map_err(io::Error::other),
            }))
        })
    }

    /// Waits until the token is no longer good.
    async fn over(self, expires_at: Option<Timestamp>) {
        loop {
            let left = expires_at.map(|end| end.duration_since(Timestamp::now()));
            let left = left.map(|left| Duration::try_from(left).unwrap_or_default());
            // At least a moment: the catalog's clock may be another one.
            let pause = left.map_or(LOOK, |left| left.clamp(Duration::from_millis(100), LOOK));
            tokio::time::sleep(pause).await;
            match self.hub.caller_of(&self.token).await {
                Ok(Some(now)) if self.least.is_none_or(|least| now.role >= least) => {}
                Ok(_) => return,
                // A catalog that is away for a while ends no stream.
                Err(error) => tracing::warn!(%error, "it can't be told whether a token is still valid"),
            }
        }
    }
}
