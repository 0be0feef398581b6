//! Tokens for programs, and the list of all tokens.

use super::secret;
use crate::{Error, Hub, Result};
use api::{Caller, CreateToken, TokenCreated, TokenQuery, TokenState, Who};
use catalog::{Token, TokenFilter, TokenKind};
use jiff::{SignedDuration, Timestamp};
use model::{Role, UserName};

/// How long a token is valid where nothing is said, and at most.
const USUAL: SignedDuration = SignedDuration::from_hours(365 * 24);
const LONGEST: SignedDuration = SignedDuration::from_hours(3653 * 24);
/// The longest name, in characters.
const MAX_NAME: usize = 64;
/// The most VMs of one token.
const MAX_VMS: usize = 1000;

impl Hub {
    /// Makes a token for a program.
    ///
    /// # Errors
    /// [`Error::Invalid`]; [`Error::Exists`] where a valid one has the name.
    pub async fn create_token(&self, request: CreateToken, by: &Caller) -> Result<TokenCreated> {
        let now = self.catalog().now();
        let expires_at = check(&request, now)?;
        let secret = secret::Token::new()?;
        let token = Token {
            id: secret::id(),
            hash: secret.hash(),
            kind: TokenKind::Api,
            label: request.name,
            role: request.role,
            vms: request.vms.map(|mut vms| {
                vms.sort();
                vms.dedup();
                vms
            }),
            user: user_of(by),
            created_by: by.who.to_string(),
            created_at: now,
            expires_at,
            last_used_at: None,
            revoked_at: None,
        };
        self.catalog().insert_token(&token).await?;
        let api_token = shown(&token, now);
        Ok(TokenCreated { success: true, token: secret.expose().to_owned(), api_token })
    }

    /// Tokens that match, newest first, and how many match.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn tokens(&self, query: &TokenQuery) -> Result<(Vec<api::Token>, u64)> {
        let now = self.catalog().now();
        let filter = TokenFilter {
            kind: query.kind.map(|kind| match kind {
                api::TokenKind::Login => TokenKind::Login,
                api::TokenKind::Api => TokenKind::Api,
            }),
            user: query.username.clone(),
            valid_at: (!query.all).then_some(now),
            limit: query.limit.unwrap_or(api::DEFAULT_LIMIT).min(api::MAX_LIMIT),
            offset: query.offset.unwrap_or(0),
        };
        let page = self.catalog().tokens(&filter).await?;
        Ok((page.items.iter().map(|token| shown(token, now)).collect(), page.total))
    }

    /// Revokes a token, and gives its name.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn revoke_token(&self, id: &str) -> Result<String> {
        Ok(self.catalog().revoke_token(id, self.catalog().now()).await?.label)
    }
}

/// When the token is to end.
fn check(request: &CreateToken, now: Timestamp) -> Result<Timestamp> {
    let length = request.name.chars().count();
    if !(1..=MAX_NAME).contains(&length) || request.name.trim() != request.name {
        let rule = format!("a name has from 1 to {MAX_NAME} characters, and no space around it");
        return Err(Error::invalid("name", rule));
    }
    if request.name.chars().any(char::is_control) {
        return Err(Error::invalid("name", "a name has no control characters"));
    }
    if let Some(vms) = &request.vms {
        if vms.is_empty() || vms.len() > MAX_VMS {
            return Err(Error::invalid(
                "vms",
                format!("name from 1 to {MAX_VMS} VMs, or leave it out for all"),
            ));
        }
        if request.role == Role::Admin {
            return Err(Error::invalid("vms", "an administrator's token is for the whole hub"));
        }
    }
    let end = |span: SignedDuration| now.checked_add(span).unwrap_or(Timestamp::MAX);
    match request.expires_at {
        None => Ok(end(USUAL)),
        Some(at) if at <= now => Err(Error::invalid("expires_at", "that is over")),
        Some(at) if at > end(LONGEST) => Err(Error::invalid("expires_at", "a token ends within ten years")),
        Some(at) => Ok(at),
    }
}

/// The user on whom a token that the caller makes depends.
fn user_of(caller: &Caller) -> Option<UserName> {
    match &caller.who {
        Who::Local { .. } => None,
        Who::User { name, .. } => Some(name.clone()),
        Who::Token { user, .. } => user.clone(),
    }
}

fn shown(token: &Token, now: Timestamp) -> api::Token {
    api::Token {
        id: token.id.clone(),
        name: token.label.clone(),
        kind: match token.kind {
            TokenKind::Login => api::TokenKind::Login,
            TokenKind::Api => api::TokenKind::Api,
        },
        state: match token.revoked_at {
            Some(_) => TokenState::Revoked,
            None if token.expires_at <= now => TokenState::Expired,
            None => TokenState::Valid,
        },
        role: token.role,
        vms: token.vms.clone(),
        username: token.user.clone(),
        created_by: token.created_by.clone(),
        created_at: token.created_at,
        expires_at: token.expires_at,
        last_used_at: token.last_used_at,
        revoked_at: token.revoked_at,
    }
}
