//! Values of keys, and their data.

use super::Hive;
use super::cell::MAX_CELL;
use super::key::{Key, NONE, name, same, utf16};
use crate::{Error, Fields, Result};

/// How many values of one key are looked at.
const MAX_VALUES: usize = 4096;
/// The bytes of a value before its name.
const HEAD: usize = 20;
/// The longest name of a value, in bytes: 16383 UTF-16 units.
const MAX_NAME: usize = 32 << 10;
/// The most data of one value that is read, in bytes.
const MAX_DATA: usize = 1 << 20;
/// The bytes in one piece of large data.
const PIECE: usize = 16344;

/// What the data of a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text in UTF-16 (`REG_SZ`, `REG_EXPAND_SZ`).
    Text,
    /// Bytes (`REG_BINARY`).
    Binary,
    /// A number of 32 bits, little endian (`REG_DWORD`).
    Number,
    /// Anything else, by its number.
    Other(u32),
}

/// A value of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// Its name; empty for the key's default value.
    pub name: String,
    /// What its data is.
    pub kind: Kind,
    /// The data.
    pub data: Vec<u8>,
}

impl Value {
    /// The text of a value that is text.
    pub fn text(&self) -> Option<String> {
        (self.kind == Kind::Text).then(|| utf16(&self.data))
    }
}

impl Hive {
    /// The value `name` of a key; case does not count.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is none; [`Error::Corrupt`] where it, or a value before it, is damaged.
    pub fn value(&self, key: &Key, name: &str) -> Result<Value> {
        for offset in self.offsets(key)? {
            let head = self.head(offset)?;
            if same(&head.name, name) {
                return self.data(head);
            }
        }
        Err(Error::NotFound)
    }

    /// All values of a key. One that is damaged is an error in its place.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where the list of them is damaged.
    pub fn values(&self, key: &Key) -> Result<Vec<Result<Value>>> {
        Ok(self.offsets(key)?.into_iter().map(|offset| self.data(self.head(offset)?)).collect())
    }

    fn offsets(&self, key: &Key) -> Result<Vec<u32>> {
        if key.values == 0 || key.value_list == NONE {
            return Ok(Vec::new());
        }
        let count = usize::try_from(key.values).ok().filter(|&count| count <= MAX_VALUES);
        let count = count.ok_or_else(|| Error::Limit(format!("a key has more than {MAX_VALUES} values")))?;
        let cell = self.cell(key.value_list, count * 4)?;
        let fields = Fields::new("a list of values of the hive", &cell);
        (0..count).map(|entry| fields.le32(4 * entry)).collect()
    }

    fn head(&self, offset: u32) -> Result<Head> {
        let cell = self.cell(offset, HEAD + MAX_NAME)?;
        let fields = Fields::new("a value of the hive", &cell);
        if fields.bytes(0, 2)? != b"vk" {
            return Err(fields.corrupt(format!("at {offset:#x}, it does not begin with `vk`")));
        }
        let length = usize::from(fields.le16(2)?);
        let ascii = fields.le16(16)? & 1 != 0;
        Ok(Head {
            name: name(fields.bytes(HEAD, length)?, ascii),
            size: fields.le32(4)?,
            place: fields.array(8)?,
            kind: match fields.le32(12)? {
                1 | 2 => Kind::Text,
                3 => Kind::Binary,
                4 => Kind::Number,
                other => Kind::Other(other),
            },
        })
    }

    fn data(&self, head: Head) -> Result<Value> {
        let damaged = |what: String| Error::corrupt(format!("the value {} of the hive", head.name), what);
        let size = (head.size & !INSIDE) as usize;
        let offset = u32::from_le_bytes(head.place);
        let data = if head.size & INSIDE != 0 {
            head.place.get(..size).ok_or_else(|| damaged(format!("{size} bytes are inside of it")))?.to_vec()
        } else if size == 0 {
            Vec::new()
        } else if size > MAX_DATA {
            return Err(Error::Limit(format!("a value has more than {MAX_DATA} bytes")));
        } else if size > PIECE && self.pieces {
            self.pieces_of(offset, size)?
        } else {
            self.cell(offset, size)?
        };
        if data.len() != size {
            return Err(damaged(format!("{size} bytes are said, and {} are there", data.len())));
        }
        Ok(Value { name: head.name, kind: head.kind, data })
    }

    /// Data in pieces: a `db` with a list of cells.
    fn pieces_of(&self, offset: u32, size: usize) -> Result<Vec<u8>> {
        let cell = self.cell(offset, MAX_CELL)?;
        let fields = Fields::new("large data of the hive", &cell);
        if fields.bytes(0, 2)? != b"db" {
            return Err(fields.corrupt("it does not begin with `db`"));
        }
        let count = usize::from(fields.le16(2)?);
        if count != size.div_ceil(PIECE) {
            return Err(fields.corrupt(format!("{count} pieces for {size} bytes")));
        }
        let list = self.cell(fields.le32(4)?, count * 4)?;
        let list = Fields::new("the list of pieces of the hive", &list);
        let mut data = Vec::new();
        for piece in 0..count {
            data.extend(self.cell(list.le32(4 * piece)?, (size - data.len()).min(PIECE))?);
        }
        Ok(data)
    }
}

/// The bit of a value's size that says that its data is in place of the offset.
const INSIDE: u32 = 1 << 31;

struct Head {
    name: String,
    size: u32,
    place: [u8; 4],
    kind: Kind,
}
