//! Keys, and the lists of their subkeys.

use super::Hive;
use super::cell::MAX_CELL;
use crate::{Error, Fields, Result};

/// How many subkeys of one key are looked at.
const MAX_SUBKEYS: usize = 1 << 17;
/// The bytes of a key before its name.
const HEAD: usize = 76;
/// The longest name of a key, in bytes: 255 UTF-16 units.
const MAX_NAME: usize = 512;
/// No cell.
pub(super) const NONE: u32 = u32::MAX;

/// A key of a hive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its name as it is stored; unpaired surrogates as U+FFFD.
    pub name: String,
    subkeys: u32,
    list: u32,
    pub(super) values: u32,
    pub(super) value_list: u32,
}

/// A list's entry: a key's offset, and the hash of its name in an `lh`.
struct Listed {
    key: u32,
    hash: Option<u32>,
}

impl Hive {
    pub(super) fn key_at(&self, offset: u32) -> Result<Key> {
        let cell = self.cell(offset, HEAD + MAX_NAME)?;
        let fields = Fields::new("a key of the hive", &cell);
        if fields.bytes(0, 2)? != b"nk" {
            return Err(fields.corrupt(format!("at {offset:#x}, it does not begin with `nk`")));
        }
        let ascii = fields.le16(2)? & 0x20 != 0;
        let length = usize::from(fields.le16(72)?);
        let name = name(fields.bytes(HEAD, length)?, ascii);
        Ok(Key {
            name,
            subkeys: fields.le32(20)?,
            list: fields.le32(28)?,
            values: fields.le32(36)?,
            value_list: fields.le32(40)?,
        })
    }

    /// The subkey `name` of a key; case does not count.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is none; [`Error::Corrupt`] where the key or its list is damaged.
    pub fn subkey(&self, key: &Key, name: &str) -> Result<Key> {
        let listed = self.listed(key)?;
        let hash = hash(name);
        // The hash is a hint: what it points to first, all others after.
        let (likely, others): (Vec<&Listed>, Vec<&Listed>) =
            listed.iter().partition(|listed| listed.hash == Some(hash));
        let mut damaged = None;
        for listed in likely.into_iter().chain(others) {
            match self.key_at(listed.key) {
                Ok(found) if same(&found.name, name) => return Ok(found),
                Ok(_) => {}
                Err(error) => damaged = Some(error),
            }
        }
        Err(damaged.unwrap_or(Error::NotFound))
    }

    /// The names of the subkeys of a key.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where the key or one of them is damaged.
    pub fn subkeys(&self, key: &Key) -> Result<Vec<String>> {
        self.listed(key)?.iter().map(|listed| Ok(self.key_at(listed.key)?.name)).collect()
    }

    fn listed(&self, key: &Key) -> Result<Vec<Listed>> {
        let mut listed = Vec::new();
        if key.subkeys > 0 && key.list != NONE {
            self.list(key.list, true, &mut listed)?;
        }
        Ok(listed)
    }

    /// Adds the entries of a list; an `ri` names lists that are no `ri` themselves.
    fn list(&self, offset: u32, outer: bool, listed: &mut Vec<Listed>) -> Result<()> {
        let cell = self.cell(offset, MAX_CELL)?;
        let fields = Fields::new("a list of subkeys of the hive", &cell);
        let count = usize::from(fields.le16(2)?);
        let kind = fields.bytes(0, 2)?;
        if kind == b"ri" && !outer {
            return Err(fields.corrupt("an `ri` is in an `ri`"));
        }
        for entry in 0..count {
            match kind {
                b"ri" => self.list(fields.le32(4 + 4 * entry)?, false, listed)?,
                b"li" => listed.push(Listed { key: fields.le32(4 + 4 * entry)?, hash: None }),
                b"lf" => listed.push(Listed { key: fields.le32(4 + 8 * entry)?, hash: None }),
                b"lh" => {
                    let hash = Some(fields.le32(8 + 8 * entry)?);
                    listed.push(Listed { key: fields.le32(4 + 8 * entry)?, hash });
                }
                other => return Err(fields.corrupt(format!("it begins with {other:?}"))),
            }
            if listed.len() > MAX_SUBKEYS {
                return Err(Error::Limit(format!("a key has more than {MAX_SUBKEYS} subkeys")));
            }
        }
        Ok(())
    }
}

/// A name in Latin-1, or in UTF-16.
pub(super) fn name(bytes: &[u8], ascii: bool) -> String {
    if ascii {
        return bytes.iter().map(|&byte| char::from(byte)).collect();
    }
    utf16(bytes)
}

/// UTF-16 text, little endian, without NULs at its end.
pub(super) fn utf16(bytes: &[u8]) -> String {
    let units = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    let text: String =
        char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
    text.trim_end_matches('\0').to_owned()
}

/// Whether two names are one, whatever their case.
pub(super) fn same(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b) || a.to_uppercase() == b.to_uppercase()
}

/// The hash of a name in an `lh`.
fn hash(name: &str) -> u32 {
    let units = name.to_uppercase().encode_utf16().collect::<Vec<u16>>();
    units.iter().fold(0u32, |hash, &unit| hash.wrapping_mul(37).wrapping_add(u32::from(unit)))
}
