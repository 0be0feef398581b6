//! Users: who may log in.

use super::{password, user_missing};
use crate::{Error, Hub, Result};
use api::{CreateUser, PatchUser};
use catalog::{User, UserChange};
use model::UserName;

impl Hub {
    /// All users, newest first.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn users(&self) -> Result<Vec<api::User>> {
        Ok(self.catalog().users().await?.iter().map(shown).collect())
    }

    /// Adds a user; as the first administrator only where there is none.
    ///
    /// # Errors
    /// [`Error::Exists`]; a password that does not hold the rules.
    pub async fn create_user(&self, request: CreateUser) -> Result<api::User> {
        password::check(&request.name, &request.password, "password")?;
        let CreateUser { name, password, role, first } = request;
        let password_hash = self.inner.access.hasher.hash(password).await?;
        let now = self.catalog().now();
        let user = User {
            name,
            role,
            password_hash,
            disabled: false,
            created_at: now,
            updated_at: now,
            last_login_at: None,
        };
        self.catalog().insert_user(&user, first).await.map_err(|error| match error {
            catalog::Error::AlreadyExists { what: what @ "administrator", id } => Error::Exists {
                what: format!("{what} {id}"),
                hint: "a forgotten password: `sendense-ctl hub users passwd` as root on the hub's machine"
                    .into(),
            },
            other => other.into(),
        })?;
        Ok(shown(&user))
    }

    /// Changes a user. A new password, or being enabled, ends a lock-out.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Conflict`] for the last administrator; a password that does not hold the rules.
    pub async fn change_user(&self, name: &UserName, patch: PatchUser) -> Result<api::User> {
        let PatchUser { role, password, disabled } = patch;
        let password_hash = match password {
            Some(password) => {
                password::check(name, &password, "password")?;
                // Not hashed for nobody.
                self.catalog().user(name).await?.ok_or_else(|| user_missing(name))?;
                Some(self.inner.access.hasher.hash(password).await?)
            }
            None => None,
        };
        let lets_in = password_hash.is_some() || disabled == Some(false);
        let change = UserChange { role, password_hash, disabled };
        let user = self.catalog().change_user(name, &change, self.catalog().now()).await?;
        if lets_in {
            self.inner.access.throttle().forget(name);
        }
        Ok(shown(&user))
    }

    /// Removes a user.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Conflict`] for the last administrator.
    pub async fn remove_user(&self, name: &UserName) -> Result<()> {
        self.catalog().remove_user(name, self.catalog().now()).await?;
        Ok(())
    }
}

fn shown(user: &User) -> api::User {
    api::User {
        name: user.name.clone(),
        role: user.role,
        disabled: user.disabled,
        created_at: user.created_at,
        updated_at: user.updated_at,
        last_login_at: user.last_login_at,
    }
}
