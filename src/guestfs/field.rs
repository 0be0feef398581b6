//! Numbers and bytes out of a structure that was read from a disk, every one checked against its end.

use crate::{Error, Result};

/// A structure's bytes, with its name for the error.
#[derive(Clone, Copy)]
pub struct Fields<'a> {
    bytes: &'a [u8],
    structure: &'static str,
}

macro_rules! numbers {
    ($($name:ident $type:ty, $from:ident;)*) => {$(
        #[doc = concat!("The `", stringify!($type), "` at byte `at` (", stringify!($from), ").")]
        ///
        /// # Errors
        /// [`Error::Corrupt`] past the end of the structure.
        pub fn $name(&self, at: usize) -> Result<$type> {
            Ok(<$type>::$from(self.array(at)?))
        }
    )*};
}

impl<'a> Fields<'a> {
    /// `bytes` as the structure that errors call `structure`.
    pub fn new(structure: &'static str, bytes: &'a [u8]) -> Self {
        Fields { bytes, structure }
    }

    /// All of it.
    pub fn as_slice(&self) -> &'a [u8] {
        self.bytes
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The `length` bytes at `at`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] past the end of the structure.
    pub fn bytes(&self, at: usize, length: usize) -> Result<&'a [u8]> {
        at.checked_add(length).and_then(|end| self.bytes.get(at..end)).ok_or_else(|| {
            Error::corrupt(
                self.structure,
                format!("{length} bytes at {at} of {} were expected", self.bytes.len()),
            )
        })
    }

    /// The `N` bytes at `at`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] past the end of the structure.
    pub fn array<const N: usize>(&self, at: usize) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(at, N)?);
        Ok(array)
    }

    /// The part of it at `at`, `length` bytes long, under the same name.
    ///
    /// # Errors
    /// [`Error::Corrupt`] past the end of the structure.
    pub fn part(&self, at: usize, length: usize) -> Result<Fields<'a>> {
        Ok(Fields { bytes: self.bytes(at, length)?, structure: self.structure })
    }

    numbers! {
        u8 u8, from_le_bytes;
        le16 u16, from_le_bytes;
        le32 u32, from_le_bytes;
        le64 u64, from_le_bytes;
        be16 u16, from_be_bytes;
        be32 u32, from_be_bytes;
        be64 u64, from_be_bytes;
    }

    /// An error about this structure.
    pub fn corrupt(&self, reason: impl Into<String>) -> Error {
        Error::corrupt(self.structure, reason)
    }
}
