//! Content that lies in the inode itself ("Inline Data"): sixty bytes in `i_block`, the rest in the attribute
//! `system.data`.

use super::inode::{BLOCK_LENGTH, Inode};
use super::volume::Volume;
use super::xattr;
use crate::Result;

/// The attribute's name: the index of `system.`, and what comes after it.
const INDEX: u8 = 7;
const NAME: &[u8] = b"data";
/// An inline folder begins with the number of its parent.
const PARENT: usize = 4;

impl Volume {
    /// All bytes that an inode holds, at most one inode's length of them.
    ///
    /// # Errors
    /// `Corrupt` where there is no `system.data`: the kernel always writes one.
    pub(super) fn inline_data(&self, inode: &Inode) -> Result<Vec<u8>> {
        let mut bytes = inode.block().to_vec();
        bytes.extend_from_slice(self.inline_rest(inode)?);
        Ok(bytes)
    }

    fn inline_rest<'a>(&self, inode: &'a Inode) -> Result<&'a [u8]> {
        for entry in xattr::inside(inode)? {
            let entry = entry?;
            if entry.index == INDEX && entry.name == NAME {
                return entry.value();
            }
        }
        Err(inode.corrupt("its content is inside of it, but system.data is not there"))
    }

    /// The two lists of entries of an inline folder, each with the position of its first byte.
    ///
    /// # Errors
    /// As [`inline_data`](Self::inline_data).
    pub(super) fn inline_folder<'a>(&self, inode: &'a Inode) -> Result<[(u64, &'a [u8]); 2]> {
        let rest = self.inline_rest(inode)?;
        Ok([(PARENT as u64, &inode.block()[PARENT..]), (BLOCK_LENGTH as u64, rest)])
    }
}
