//! Who may log in (`users`).
//!
//! Once there is an administrator there always is one: whoever would be the last that is not disabled can't be
//! removed, disabled or given another role. What takes away what a user may do takes away the user's tokens in the same
//! transaction, so that no moment lies between the two.
//!
//! Not here: passwords and their hashes, and what a role allows (`hub`, `server`); the tokens (`tokens`).

use crate::engine::Session;
use crate::engine::transaction;
use crate::fields::{Fields, Row, flag, inserts, maybe_time, text, time, update};
use crate::statement::Statement;
use crate::tokens;
use crate::{Catalog, Error, Result};
use jiff::Timestamp;
use model::{Role, UserName};
use std::fmt;

/// Somebody who may log in.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// The name; unique.
    pub name: UserName,
    /// What they may do.
    pub role: Role,
    /// The password's hash, in the form of PHC strings.
    pub password_hash: String,
    /// True where they may not log in.
    pub disabled: bool,
    /// When they were added.
    pub created_at: Timestamp,
    /// When role, password or the like last changed.
    pub updated_at: Timestamp,
    /// When they last logged in.
    pub last_login_at: Option<Timestamp>,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("name", &self.name)
            .field("role", &self.role)
            .field("disabled", &self.disabled)
            .finish_non_exhaustive()
    }
}

/// What is to change about a user.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct UserChange {
    /// Another role.
    pub role: Option<Role>,
    /// The hash of another password.
    pub password_hash: Option<String>,
    /// May no longer log in, or may again.
    pub disabled: Option<bool>,
}

impl fmt::Debug for UserChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserChange")
            .field("role", &self.role)
            .field("disabled", &self.disabled)
            .finish_non_exhaustive()
    }
}

impl Catalog {
    /// Adds a user; with `first` only where there is no administrator yet.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] where the name is taken, or there is an administrator.
    pub async fn insert_user(&self, user: &User, first: bool) -> Result<()> {
        transaction!(self.engine.write(), |session| {
            if first {
                let query = "SELECT * FROM users WHERE role = 'admin' ORDER BY created_at, user_name";
                if let Some(row) = session.optional(Statement::new(query).for_change()).await? {
                    return Err(Error::AlreadyExists { what: "administrator", id: row.text("user_name")? });
                }
            }
            for statement in inserts("users", vec![fields(user)?]) {
                if session.insert_new(statement).await? == 0 {
                    return Err(Error::AlreadyExists { what: "user", id: user.name.to_string() });
                }
            }
            Ok(())
        })
    }

    /// The user of that name.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn user(&self, name: &UserName) -> Result<Option<User>> {
        transaction!(self.engine.read(), |session| find(session, name, false).await)
    }

    /// All users, newest first.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn users(&self) -> Result<Vec<User>> {
        transaction!(self.engine.read(), |session| {
            let query = Statement::new("SELECT * FROM users ORDER BY created_at DESC, user_name DESC");
            session.all(query).await?.iter().map(read).collect()
        })
    }

    /// Changes a user, and gives the record as it is then. All tokens of a user who is disabled are revoked, and
    /// with a new password those of logins.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::LastAdmin`].
    pub async fn change_user(&self, name: &UserName, change: &UserChange, at: Timestamp) -> Result<User> {
        transaction!(self.engine.write(), |session| {
            let before = find(session, name, true).await?.ok_or_else(|| not_found(name))?;
            let after = User {
                role: change.role.unwrap_or(before.role),
                password_hash: change.password_hash.clone().unwrap_or_else(|| before.password_hash.clone()),
                disabled: change.disabled.unwrap_or(before.disabled),
                updated_at: at,
                ..before.clone()
            };
            if is_admin(&before) && !is_admin(&after) {
                another_admin(session, name).await?;
            }
            session.execute(update("users", fields(&after)?, "user_name", name.as_str())).await?;
            if after.disabled {
                tokens::revoke_of(session, name, false, at).await?;
            } else if change.password_hash.is_some() {
                tokens::revoke_of(session, name, true, at).await?;
            }
            Ok(after)
        })
    }

    /// Removes a user; all tokens of theirs are revoked, and no longer theirs.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::LastAdmin`].
    pub async fn remove_user(&self, name: &UserName, at: Timestamp) -> Result<User> {
        transaction!(self.engine.write(), |session| {
            let user = find(session, name, true).await?.ok_or_else(|| not_found(name))?;
            if is_admin(&user) {
                another_admin(session, name).await?;
            }
            tokens::revoke_of(session, name, false, at).await?;
            let delete = Statement::new("DELETE FROM users WHERE user_name = ?").bind(name.as_str());
            session.execute(delete).await?;
            Ok(user)
        })
    }
}

fn is_admin(user: &User) -> bool {
    user.role == Role::Admin && !user.disabled
}

async fn another_admin(session: &mut Session, name: &UserName) -> Result<()> {
    let query = "SELECT COUNT(*) AS n FROM users WHERE role = 'admin' AND disabled = 0 AND user_name <> ?";
    match session.number(Statement::new(query).bind(name.as_str())).await? {
        0 => Err(Error::LastAdmin { name: name.to_string() }),
        _ => Ok(()),
    }
}

pub(crate) async fn find(session: &mut Session, name: &UserName, to_change: bool) -> Result<Option<User>> {
    let query = Statement::new("SELECT * FROM users WHERE user_name = ?").bind(name.as_str());
    let query = if to_change { query.for_change() } else { query };
    session.optional(query).await?.as_ref().map(read).transpose()
}

fn not_found(name: &UserName) -> Error {
    Error::NotFound { what: "user", id: name.to_string() }
}

fn fields(user: &User) -> Result<Fields> {
    Ok(vec![
        ("user_name", text(user.name.as_str())),
        ("role", text(user.role.as_str())),
        ("password_hash", text(user.password_hash.as_str())),
        ("disabled", flag(user.disabled)),
        ("created_at", time("created_at", user.created_at)?),
        ("updated_at", time("updated_at", user.updated_at)?),
        ("last_login_at", maybe_time("last_login_at", user.last_login_at)?),
    ])
}

fn read(row: &Row) -> Result<User> {
    Ok(User {
        name: row.parse("user_name")?,
        role: row.parse("role")?,
        password_hash: row.text("password_hash")?,
        disabled: row.flag("disabled")?,
        created_at: row.parse("created_at")?,
        updated_at: row.parse("updated_at")?,
        last_login_at: row.maybe_parse("last_login_at")?,
    })
}
