//! Logging in and out; users, tokens, the audit log.
//!
//! # Errors
//! Every method fails as the hub says ([`ClientError::Api`]), or where there is no answer that can be understood.

use super::{Client, ClientError, Path};
use crate::{
    AuditList, AuditQuery, ChangePassword, CreateToken, CreateUser, LoggedIn, Login, PageQuery, PatchUser,
    Success, TokenCreated, TokenList, TokenQuery, TokenRevoked, User, UserAnswer, UserDeleted, UserList,
    WhoAmI,
};
use http::Method;
use model::UserName;

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

    /// `POST /auth/password`: all logins of the user end.
    pub async fn change_password(&self, request: &ChangePassword) -> Result<Success, ClientError> {
        self.tell(Method::POST, Path::new("/auth/password"), request).await
    }

    /// `GET /auth/users`.
    pub async fn users(&self, query: &PageQuery) -> Result<UserList, ClientError> {
        self.ask(Method::GET, Path::new("/auth/users").query(query)?).await
    }

    /// `POST /auth/users`.
    pub async fn create_user(&self, request: &CreateUser) -> Result<User, ClientError> {
        let answer: UserAnswer = self.tell(Method::POST, Path::new("/auth/users"), request).await?;
        Ok(answer.user)
    }

    /// `PATCH /auth/users/{name}`.
    pub async fn patch_user(&self, name: &UserName, patch: &PatchUser) -> Result<User, ClientError> {
        let path = Path::new("/auth/users").segment(name);
        let answer: UserAnswer = self.tell(Method::PATCH, path, patch).await?;
        Ok(answer.user)
    }

    /// `DELETE /auth/users/{name}`.
    pub async fn delete_user(&self, name: &UserName) -> Result<UserDeleted, ClientError> {
        self.ask(Method::DELETE, Path::new("/auth/users").segment(name)).await
    }

    /// `GET /auth/tokens`.
    pub async fn tokens(&self, query: &TokenQuery) -> Result<TokenList, ClientError> {
        self.ask(Method::GET, Path::new("/auth/tokens").query(query)?).await
    }

    /// `POST /auth/tokens`.
    pub async fn create_token(&self, request: &CreateToken) -> Result<TokenCreated, ClientError> {
        self.tell(Method::POST, Path::new("/auth/tokens"), request).await
    }

    /// `DELETE /auth/tokens/{id}`.
    pub async fn revoke_token(&self, id: &str) -> Result<TokenRevoked, ClientError> {
        self.ask(Method::DELETE, Path::new("/auth/tokens").segment(id)).await
    }

    /// `GET /audit`.
    pub async fn audit(&self, query: &AuditQuery) -> Result<AuditList, ClientError> {
        self.ask(Method::GET, Path::new("/audit").query(query)?).await
    }
}
