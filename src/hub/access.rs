//! Who is let in: users and their passwords, tokens, the audit log.
//!
//! A token is 32 random bytes; the catalog has its SHA-256 only, so neither a copy of the catalog nor a look at it lets
//! anybody in. It is looked up anew for each request, so that what takes it away takes effect at once, in all processes
//! and hubs that share the catalog. It never does more than its user may do now.
//!
//! A login costs the hub memory and time (Argon2id), so few are worked on at once ([`password`]), and who fails is
//! made to wait ([`throttle`]). A name that does not exist takes as long and answers the same as a wrong password.
//!
//! Not here: what a role allows, and on which requests (`server`); rows (`catalog`).

mod audit;
mod password;
mod secret;
mod throttle;
mod tokens;
mod users;

pub use audit::{Deed, OK};

use crate::{Error, Hub, Missing, Result};
use api::{Caller, ChangePassword, LoggedIn, Login, Peer, Who};
use catalog::{Token, TokenKind, User};
use jiff::{SignedDuration, Timestamp};
use model::UserName;
use password::Hasher;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use throttle::Throttle;

/// How logins are dealt with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoginRules {
    /// How long a login lasts.
    pub lifetime: Duration,
    /// How many wrong passwords lock a user's name.
    pub attempts: u32,
    /// For how long.
    pub lock_time: Duration,
}

impl Default for LoginRules {
    fn default() -> Self {
        LoginRules {
            lifetime: Duration::from_secs(12 * 3600),
            attempts: 10,
            lock_time: Duration::from_secs(15 * 60),
        }
    }
}

/// How long the rows of logins that have ended are kept.
const KEPT: SignedDuration = SignedDuration::from_hours(24);
/// How often the use of a token is noted at most.
const NOTED: SignedDuration = SignedDuration::from_mins(1);

/// What is kept in memory.
pub(crate) struct Access {
    hasher: Hasher,
    throttle: Mutex<Throttle>,
}

impl Access {
    pub(crate) fn new(rules: LoginRules) -> Self {
        Access { hasher: Hasher::default(), throttle: Mutex::new(Throttle::new(rules)) }
    }

    fn throttle(&self) -> MutexGuard<'_, Throttle> {
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hub {
    /// Logs a user in.
    ///
    /// # Errors
    /// [`Error::WrongPassword`], also for a name that is none; [`Error::TooManyLogins`].
    pub async fn login(&self, request: &Login, peer: Peer) -> Result<LoggedIn> {
        let user = self.known_by_password(&request.username, &request.password, peer).await?;
        let token = secret::Token::new()?;
        let now = self.catalog().now();
        let lifetime = SignedDuration::try_from(self.config().logins.lifetime).unwrap_or(KEPT);
        let expires_at = now.checked_add(lifetime).map_err(|error| Error::Internal(error.to_string()))?;
        let row = Token {
            id: secret::id(),
            hash: token.hash(),
            kind: TokenKind::Login,
            label: user.name.to_string(),
            role: user.role,
            vms: None,
            user: Some(user.name.clone()),
            created_by: user.name.to_string(),
            created_at: now,
            expires_at,
            last_used_at: None,
            revoked_at: None,
        };
        if !self.catalog().log_in(&user, &row, now - KEPT).await? {
            // The password was changed, or the user disabled, while it was looked at.
            return Err(Error::WrongPassword { user: Some(user.name) });
        }
        Ok(LoggedIn { token: token.expose().to_owned(), expires_at, role: user.role })
    }

    /// Ends the login of that caller.
    ///
    /// # Errors
    /// [`Error::Conflict`] for a caller that has not logged in.
    pub async fn logout(&self, caller: &Caller) -> Result<()> {
        match &caller.who {
            Who::User { token_id, .. } => {
                self.catalog().revoke_token(token_id, self.catalog().now()).await?;
                Ok(())
            }
            Who::Token { label, .. } => Err(Error::Conflict {
                message: format!("{label} is an API token, which is no login"),
                hint: "an administrator revokes it: `sendense-ctl hub tokens revoke`".into(),
            }),
            Who::Local { .. } => Err(Error::Conflict {
                message: "nobody has logged in".into(),
                hint: "a user of the hub's machine is known by the connection".into(),
            }),
        }
    }

    /// Gives a user another password; all logins of theirs end.
    ///
    /// # Errors
    /// As [`login`](Hub::login); a password that does not hold the rules; [`Error::Conflict`] for a caller that has
    /// not logged in.
    pub async fn change_password(&self, caller: &Caller, request: &ChangePassword, peer: Peer) -> Result<()> {
        let Who::User { name, .. } = &caller.who else {
            return Err(Error::Conflict {
                message: "only a user who has logged in has a password".into(),
                hint: "an administrator changes that of anybody: `sendense-ctl hub users passwd NAME`".into(),
            });
        };
        password::check(name, &request.new_password, "new_password")?;
        self.known_by_password(name.as_str(), &request.current_password, peer).await?;
        let hash = self.inner.access.hasher.hash(request.new_password.clone()).await?;
        let change = catalog::UserChange { password_hash: Some(hash), ..catalog::UserChange::default() };
        self.catalog().change_user(name, &change, self.catalog().now()).await?;
        Ok(())
    }

    /// Whose token that is; `None` where it is nobody's (any more).
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn caller_of(&self, token: &str) -> Result<Option<Caller>> {
        let Some(hash) = secret::hash_of(token) else { return Ok(None) };
        let Some((token, user)) = self.catalog().token_by_hash(&hash).await? else { return Ok(None) };
        let now = self.catalog().now();
        if token.revoked_at.is_some() || token.expires_at <= now {
            return Ok(None);
        }
        let role = match (&token.user, &user) {
            (None, _) => token.role,
            (Some(_), Some(user)) if !user.disabled => token.role.min(user.role),
            (Some(_), _) => return Ok(None),
        };
        self.note_use(&token, now);
        let (kind, label, user) = (token.kind, token.label, token.user);
        let who = match (kind, user) {
            (TokenKind::Login, Some(name)) => Who::User { name, token_id: token.id },
            // A login without a user is nobody's.
            (TokenKind::Login, None) => return Ok(None),
            (TokenKind::Api, user) => Who::Token { label, token_id: token.id, user },
        };
        let vms = token.vms.map(|vms| Arc::new(vms.into_iter().collect::<BTreeSet<_>>()));
        Ok(Some(Caller { who, role, vms, expires_at: Some(token.expires_at) }))
    }

    /// Notes that a token is used, behind the request: it does not wait for that.
    fn note_use(&self, token: &Token, now: Timestamp) {
        let noted = token.last_used_at.is_some_and(|at| now.duration_since(at) < NOTED);
        if noted || self.inner.passing || !self.catalog().is_writable() {
            return;
        }
        let (catalog, id) = (self.catalog().clone(), token.id.clone());
        tokio::spawn(async move {
            if let Err(error) = catalog.note_token_use(&id, now).await {
                tracing::debug!(%error, "the use of a token was not noted");
            }
        });
    }

    /// The user of that name, whose password this is.
    async fn known_by_password(&self, username: &str, password: &str, peer: Peer) -> Result<User> {
        let access = &self.inner.access;
        let name = UserName::new(username).ok();
        let turn = access.hasher.turn().await?;
        // Only now: of those that wait here for their turn, none has been looked at yet.
        access.throttle().check(name.as_ref(), peer, Instant::now())?;
        let user = match &name {
            Some(name) => self.catalog().user(name).await?,
            None => None,
        };
        let hash = user.as_ref().map(|user| user.password_hash.clone());
        let right = turn.verify(password.to_owned(), hash).await?;
        match user {
            Some(user) if right && !user.disabled => {
                access.throttle().succeeded(&user.name, peer);
                Ok(user)
            }
            user => {
                access.throttle().failed(name.as_ref(), peer, Instant::now());
                Err(Error::WrongPassword { user: user.map(|user| user.name) })
            }
        }
    }
}

fn user_missing(name: &UserName) -> Error {
    Error::missing(Missing::User, name)
}
