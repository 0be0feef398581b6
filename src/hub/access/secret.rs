//! Tokens as whoever has them sees them.
//!
//! `sendense_` and 64 hexadecimal digits: 32 bytes of the system's randomness behind a word by which scanners for
//! leaked secrets can tell what it is.

use crate::{Error, Result};
use rustix::rand::{GetRandomFlags, getrandom};
use sha2::{Digest, Sha256};

const WORD: &str = "sendense_";
const BYTES: usize = 32;

/// A new token.
pub(super) struct Token(String);

impl Token {
    /// Makes one.
    ///
    /// # Errors
    /// As [`random`].
    pub(super) fn new() -> Result<Self> {
        Ok(Token(format!("{WORD}{}", hexadecimal(&random::<BYTES>()?))))
    }

    /// For whom it is made.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }

    /// As the catalog has it.
    pub(super) fn hash(&self) -> String {
        hexadecimal(&Sha256::digest(self.0.as_bytes()))
    }
}

/// What the catalog would have of a token; `None` where it can't be one.
pub(super) fn hash_of(token: &str) -> Option<String> {
    let digits = token.strip_prefix(WORD)?;
    let fits =
        digits.len() == 2 * BYTES && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    fits.then(|| hexadecimal(&Sha256::digest(token.as_bytes())))
}

/// The id of a token's row.
pub(super) fn id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// Bytes of the system's randomness.
///
/// # Errors
/// Where the system has none, which Linux always has.
pub(super) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        match getrandom(&mut bytes[filled..], GetRandomFlags::empty()) {
            Ok(count) => filled += count,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Error::Internal(format!("the system gives no random bytes: {error}"))),
        }
    }
    Ok(bytes)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_told_by_its_form_and_found_by_its_hash() {
        let (one, other) = (Token::new().unwrap(), Token::new().unwrap());
        assert_ne!(one.expose(), other.expose());
        assert_eq!(hash_of(one.expose()), Some(one.hash()));
        assert_ne!(one.hash(), other.hash());
        assert!(!one.hash().contains(&one.expose()[WORD.len()..]));
        let digits = &one.expose()[WORD.len()..];
        for wrong in [
            "",
            digits,
            &format!("{WORD}{digits}0"),
            &format!("{WORD}{}", &digits[1..]),
            &format!("{WORD}{}", "G".repeat(64)),
            &one.expose().to_uppercase(),
            &one.hash(),
        ] {
            assert_eq!(hash_of(wrong), None, "{wrong}");
        }
    }
}
