//! The tokens by which requests are told whose they are (`api_tokens`): of logins, and of programs.
//!
//! A token is in the catalog by its SHA-256 only. One that was revoked never comes back; rows stay for a while, so that
//! a list can say what became of them.
//!
//! Not here: making and hashing tokens, and what they allow (`hub`); the users (`users`).

use crate::engine::Session;
use crate::engine::transaction;
use crate::fields::{Fields, Row, inserts, maybe_text, maybe_time, number, stamp, text, time};
use crate::statement::Statement;
use crate::{Catalog, Error, Page, Result, User, users};
use jiff::Timestamp;
use model::{Role, UserName, VmName};
use std::fmt;

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// A user who has logged in.
    Login,
    /// A program.
    Api,
}

impl TokenKind {
    /// The one spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            TokenKind::Login => "login",
            TokenKind::Api => "api",
        }
    }
}

/// What is known of a token.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// Unique id, by which it is listed and revoked.
    pub id: String,
    /// SHA-256 of the token, hexadecimal.
    pub hash: String,
    /// What it is for.
    pub kind: TokenKind,
    /// What it is called.
    pub label: String,
    /// What may be done with it, where its user may do as much.
    pub role: Role,
    /// The only VMs that it is for; all where `None`.
    pub vms: Option<Vec<VmName>>,
    /// The user who has logged in, or who has made it.
    pub user: Option<UserName>,
    /// Who has made it, also where that is no user.
    pub created_by: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("role", &self.role)
            .field("user", &self.user)
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

/// Which tokens to list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TokenFilter {
    /// Of that kind.
    pub kind: Option<TokenKind>,
    /// Of that user.
    pub user: Option<UserName>,
    /// Only those that are valid at this moment.
    pub valid_at: Option<Timestamp>,
    /// At most so many.
    pub limit: u32,
    /// After so many.
    pub offset: u64,
}

impl Catalog {
    /// Keeps the token of a login, unless `user` is no longer as it was seen when the password was looked at: then
    /// false. Tokens of logins that ended before `forget` are forgotten.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn log_in(&self, user: &User, token: &Token, forget: Timestamp) -> Result<bool> {
        transaction!(self.engine.write(), |session| {
            let note = "UPDATE users SET last_login_at = ? WHERE user_name = ? AND password_hash = ? AND disabled = 0";
            let note = Statement::new(note)
                .bind(stamp("last_login_at", token.created_at)?)
                .bind(user.name.as_str())
                .bind(user.password_hash.as_str());
            if session.execute(note).await? == 0 {
                return Ok(false);
            }
            let ended = "DELETE FROM api_tokens WHERE kind = 'login' AND (expires_at < ? OR revoked_at < ?)";
            let forget = stamp("expires_at", forget)?;
            session.execute(Statement::new(ended).bind(forget.as_str()).bind(forget.as_str())).await?;
            insert(session, token).await?;
            Ok(true)
        })
    }

    /// Keeps the token of a program.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] where a valid one is called the same.
    pub async fn insert_token(&self, token: &Token) -> Result<()> {
        transaction!(self.engine.write(), |session| {
            let query = "SELECT COUNT(*) AS n FROM api_tokens WHERE kind = 'api' AND label = ? \
                         AND revoked_at IS NULL AND expires_at > ?";
            let query =
                Statement::new(query).bind(token.label.as_str()).bind(stamp("created_at", token.created_at)?);
            if session.number(query).await? > 0 {
                return Err(Error::AlreadyExists { what: "token", id: token.label.clone() });
            }
            insert(session, token).await?;
            Ok(())
        })
    }

    /// The token of that hash, valid or not, with its user as they are now.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn token_by_hash(&self, hash: &str) -> Result<Option<(Token, Option<User>)>> {
        transaction!(self.engine.read(), |session| {
            let query = Statement::new("SELECT * FROM api_tokens WHERE token_hash = ?").bind(hash);
            let Some(row) = session.optional(query).await? else { return Ok(None) };
            let token = read(&row)?;
            let user = match &token.user {
                Some(name) => users::find(session, name, false).await?,
                None => None,
            };
            Ok(Some((token, user)))
        })
    }

    /// Tokens, newest first.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn tokens(&self, filter: &TokenFilter) -> Result<Page<Token>> {
        transaction!(self.engine.read(), |session| {
            let mut query = Statement::new("SELECT * FROM api_tokens");
            conditions(&mut query, filter)?;
            query.push(" ORDER BY created_at DESC, id DESC LIMIT ").push_bind(i64::from(filter.limit));
            query.push(" OFFSET ").push_bind(number("offset", filter.offset)?);
            let items = session.all(query).await?.iter().map(read).collect::<Result<_>>()?;
            let mut count = Statement::new("SELECT COUNT(*) AS n FROM api_tokens");
            conditions(&mut count, filter)?;
            Ok(Page { items, total: session.number(count).await? })
        })
    }

    /// Revokes a token; gives it as it was before.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn revoke_token(&self, id: &str, at: Timestamp) -> Result<Token> {
        transaction!(self.engine.write(), |session| {
            let query = Statement::new("SELECT * FROM api_tokens WHERE id = ?").bind(id).for_change();
            let row = session.optional(query).await?;
            let row = row.ok_or_else(|| Error::NotFound { what: "token", id: id.to_owned() })?;
            let revoke = "UPDATE api_tokens SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL";
            session.execute(Statement::new(revoke).bind(stamp("revoked_at", at)?).bind(id)).await?;
            read(&row)
        })
    }

    /// Notes that a token was used.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn note_token_use(&self, id: &str, at: Timestamp) -> Result<()> {
        transaction!(self.engine.write_light(), |session| {
            let note = "UPDATE api_tokens SET last_used_at = ? WHERE id = ?";
            session.execute(Statement::new(note).bind(stamp("last_used_at", at)?).bind(id)).await?;
            Ok(())
        })
    }
}

/// Revokes the tokens of a user: all, or those of logins only.
pub(crate) async fn revoke_of(
    session: &mut Session,
    user: &UserName,
    logins_only: bool,
    at: Timestamp,
) -> Result<()> {
    let mut revoke = Statement::new("UPDATE api_tokens SET revoked_at = ");
    revoke.push_bind(stamp("revoked_at", at)?).push(" WHERE user_name = ").push_bind(user.as_str());
    revoke.push(" AND revoked_at IS NULL");
    if logins_only {
        revoke.push(" AND kind = 'login'");
    }
    session.execute(revoke).await?;
    Ok(())
}

async fn insert(session: &mut Session, token: &Token) -> Result<()> {
    for statement in inserts("api_tokens", vec![fields(token)?]) {
        session.execute(statement).await?;
    }
    Ok(())
}

fn conditions(query: &mut Statement, filter: &TokenFilter) -> Result<()> {
    query.push(" WHERE 1 = 1");
    if let Some(kind) = filter.kind {
        query.push(" AND kind = ").push_bind(kind.as_str());
    }
    if let Some(user) = &filter.user {
        query.push(" AND user_name = ").push_bind(user.as_str());
    }
    if let Some(at) = filter.valid_at {
        query.push(" AND revoked_at IS NULL AND expires_at > ").push_bind(stamp("expires_at", at)?);
    }
    Ok(())
}

fn fields(token: &Token) -> Result<Fields> {
    let vms = token.vms.as_ref().map(|names| serde_json::json!(names));
    Ok(vec![
        ("id", text(token.id.as_str())),
        ("token_hash", text(token.hash.as_str())),
        ("kind", text(token.kind.as_str())),
        ("label", text(token.label.as_str())),
        ("role", text(token.role.as_str())),
        ("vm_names", maybe_text(vms.as_ref())),
        ("user_name", maybe_text(token.user.as_ref())),
        ("created_by", text(token.created_by.as_str())),
        ("created_at", time("created_at", token.created_at)?),
        ("expires_at", time("expires_at", token.expires_at)?),
        ("last_used_at", maybe_time("last_used_at", token.last_used_at)?),
        ("revoked_at", maybe_time("revoked_at", token.revoked_at)?),
    ])
}

fn read(row: &Row) -> Result<Token> {
    Ok(Token {
        id: row.text("id")?,
        hash: row.text("token_hash")?,
        kind: match row.text("kind")?.as_str() {
            "login" => TokenKind::Login,
            _ => TokenKind::Api,
        },
        label: row.text("label")?,
        role: row.parse("role")?,
        vms: row.json("vm_names")?,
        user: row.maybe_parse("user_name")?,
        created_by: row.text("created_by")?,
        created_at: row.parse("created_at")?,
        expires_at: row.parse("expires_at")?,
        last_used_at: row.maybe_parse("last_used_at")?,
        revoked_at: row.maybe_parse("revoked_at")?,
    })
}
