//! Passwords: what may be one, and their hashes (Argon2id with 19 MiB and 2 passes, RFC 9106 and OWASP's smallest).
//!
//! A hash takes memory and tens of milliseconds, so [`AT_ONCE`] are made at a time, on threads that may block, and
//! [`WAITING`] may wait for their turn; more are refused. Where there is no such user, a hash that nobody has is
//! compared instead, so that the time tells nothing.

use super::secret;
use crate::{Error, Result};
use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use model::UserName;
use std::sync::{Arc, OnceLock};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many hashes are made at once.
const AT_ONCE: usize = 2;
/// How many may wait for that, at a few dozen a second.
const WAITING: usize = 64;
/// The shortest password, in characters.
const SHORTEST: usize = 12;
/// The longest one, in bytes.
const LONGEST: usize = 1024;

/// Makes and compares hashes, a few at a time.
#[derive(Debug)]
pub(super) struct Hasher {
    turns: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl Default for Hasher {
    fn default() -> Self {
        Hasher { turns: Arc::new(Semaphore::new(AT_ONCE)), waiting: Arc::new(Semaphore::new(WAITING)) }
    }
}

/// The right to make one hash.
pub(super) struct Turn {
    _held: (OwnedSemaphorePermit, OwnedSemaphorePermit),
}

impl Hasher {
    /// Waits for a turn.
    ///
    /// # Errors
    /// [`Error::TooManyLogins`] where too many wait.
    pub(super) async fn turn(&self) -> Result<Turn> {
        let busy = || Error::TooManyLogins { wait: 1, locked: false };
        let waiting = Arc::clone(&self.waiting).try_acquire_owned().map_err(|_| busy())?;
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| busy())?;
        Ok(Turn { _held: (turn, waiting) })
    }

    /// The hash of a new password, as a PHC string.
    ///
    /// # Errors
    /// As [`turn`](Hasher::turn).
    pub(super) async fn hash(&self, password: String) -> Result<String> {
        let turn = self.turn().await?;
        turn.run(move || make(&password)).await?
    }
}

impl Turn {
    /// Whether that is the password of the hash; never where there is none, after as much time.
    pub(super) async fn verify(self, password: String, hash: Option<String>) -> Result<bool> {
        self.run(move || {
            let known = hash.is_some();
            // Made with the first password that is looked at, whoever's: its making would tell, too.
            let nobody = nobody()?;
            let hash = hash.unwrap_or(nobody);
            let right = Argon2::default().verify_password(password.as_bytes(), hash.as_str());
            match right {
                Ok(()) => Ok(known),
                Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
                Err(error) => Err(Error::Internal(format!("a password's hash can't be compared: {error}"))),
            }
        })
        .await?
    }

    async fn run<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        // The turn goes with the work, also where nobody waits for it any more.
        let work = move || {
            let done = work();
            drop(self);
            done
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|error| Error::Internal(format!("a password could not be hashed: {error}")))
    }
}

fn make(password: &str) -> Result<String> {
    let salt: [u8; 16] = secret::random()?;
    let hash = Argon2::default().hash_password_with_salt(password.as_bytes(), &salt);
    let hash = hash.map_err(|error| Error::Internal(format!("a password could not be hashed: {error}")))?;
    Ok(hash.to_string())
}

/// The hash of a password that nobody knows.
fn nobody() -> Result<String> {
    static HASH: OnceLock<String> = OnceLock::new();
    if let Some(hash) = HASH.get() {
        return Ok(hash.clone());
    }
    let made = make(&format!("{:?}", secret::random::<32>()?))?;
    Ok(HASH.get_or_init(|| made).clone())
}

/// Whether a password may be one.
///
/// # Errors
/// [`Error::Invalid`] with what is wrong. The password is not in it.
pub(super) fn check(name: &UserName, password: &str, field: &'static str) -> Result<()> {
    let characters = password.chars().count();
    if characters < SHORTEST {
        return Err(Error::invalid(field, format!("a password has at least {SHORTEST} characters")));
    }
    if password.len() > LONGEST {
        return Err(Error::invalid(field, format!("a password has at most {LONGEST} bytes")));
    }
    if password.chars().any(char::is_control) {
        return Err(Error::invalid(field, "a password has no control characters"));
    }
    let first = password.chars().next();
    if password.eq_ignore_ascii_case(name.as_str()) || password.chars().all(|c| Some(c) == first) {
        return Err(Error::invalid(field, "that password is the first that anybody would try"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_hash_is_argon2id_salted_and_fits_its_password_only() {
        let hasher = Hasher::default();
        let hash = hasher.hash("correct horse battery".into()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_ne!(hash, hasher.hash("correct horse battery".into()).await.unwrap(), "the salt differs");
        for (password, hash, right) in [
            ("correct horse battery", Some(hash.clone()), true),
            ("correct horse batterx", Some(hash.clone()), false),
            ("", Some(hash), false),
            ("correct horse battery", None, false),
        ] {
            let turn = hasher.turn().await.unwrap();
            assert_eq!(turn.verify(password.into(), hash).await.unwrap(), right, "{password}");
        }
        let turn = hasher.turn().await.unwrap();
        assert!(turn.verify("x".into(), Some("no hash".into())).await.is_err());
    }

    #[tokio::test]
    async fn few_are_worked_on_and_a_bounded_number_waits() {
        let hasher = Arc::new(Hasher::default());
        let held = [hasher.turn().await.unwrap(), hasher.turn().await.unwrap()];
        let waiters: Vec<_> = (held.len()..WAITING)
            .map(|_| {
                let hasher = Arc::clone(&hasher);
                tokio::spawn(async move { hasher.turn().await.map(drop) })
            })
            .collect();
        while hasher.waiting.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(matches!(hasher.turn().await, Err(Error::TooManyLogins { locked: false, .. })));
        assert!(waiters.iter().all(|waiter| !waiter.is_finished()));
        drop(held);
        for waiter in waiters {
            waiter.await.unwrap().unwrap();
        }
    }

    #[test]
    fn short_long_and_obvious_passwords_are_refused_without_repeating_them() {
        let name = UserName::new("administrator").unwrap();
        for wrong in
            ["", "elevenchars", "Administrator", "aaaaaaaaaaaaaaaa", "with\na newline", &"x1".repeat(600)]
        {
            let error = check(&name, wrong, "password").unwrap_err().to_string();
            assert!(error.starts_with("password: "), "{error}");
            assert!(wrong.is_empty() || !error.contains(wrong), "{error}");
        }
        for right in ["twelve chars", "ünïcödé 🐘 pw", &"x1".repeat(512)] {
            check(&name, right, "password").unwrap();
        }
    }
}
