//! Logging in and out.
//!
//! # Errors
//! Every method fails as the hub says ([`ClientError::Api`]), or where there is no answer that can be understood.

use super::{Client, ClientError, Path};
use crate::{LoggedIn, Login, Success, WhoAmI};
use http::Method;

impl Client {
    /// `POST /auth/login`.
    pub async fn login(&self, request: &Login) -> Result<LoggedIn, ClientError> {
        self.tell(Method::POST, Path::new("/auth/login"), request).await
    }

    /// `POST /auth/logout`: the token of this client is not valid any more.
    pub async fn logout(&self) -> Result<Success, ClientError> {
        self.ask(Method::POST, Path::new("/auth/logout")).await
    }

    /// `GET /auth/whoami`.
    pub async fn whoami(&self) -> Result<WhoAmI, ClientError> {
        self.ask(Method::GET, Path::new("/auth/whoami")).await
    }
}
