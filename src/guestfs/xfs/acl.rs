//! Access control lists: stored as an attribute of the root's name space, shown by the kernel in its own form besides.

use crate::xfs::inode::Inode;
use crate::{Fields, Result};

/// The version of the kernel's form, `POSIX_ACL_XATTR_VERSION`.
const VERSION: u32 = 2;
/// Tags of entries that name a user or a group; all others have no id.
const USER: u32 = 0x02;
const GROUP: u32 = 0x08;
const TAGS: [u32; 6] = [0x01, USER, 0x04, GROUP, 0x10, 0x20];
const NO_ID: u32 = u32::MAX;
/// Bytes of a stored entry.
const ENTRY: usize = 12;

/// What the kernel calls the list that is stored as `name`.
pub(super) fn name(name: &[u8]) -> Option<&'static [u8]> {
    match name {
        b"SGI_ACL_FILE" => Some(b"system.posix_acl_access"),
        b"SGI_ACL_DEFAULT" => Some(b"system.posix_acl_default"),
        _ => None,
    }
}

/// The kernel's form of a stored list: a little-endian version, and entries of tag, permissions and id.
pub(super) fn value(inode: &Inode, stored: &[u8]) -> Result<Vec<u8>> {
    let f = Fields::new("an access control list", stored);
    let count = f.be32(0)? as usize;
    let entries = stored[4..].as_chunks::<ENTRY>().0;
    if count > entries.len() {
        return Err(
            inode.corrupt(format!("an access control list of {count} entries in {} bytes", stored.len()))
        );
    }
    let mut value = VERSION.to_le_bytes().to_vec();
    for entry in &entries[..count] {
        let f = Fields::new("an entry of an access control list", entry);
        let (tag, id, permissions) = (f.be32(0)?, f.be32(4)?, f.be16(8)?);
        if !TAGS.contains(&tag) {
            return Err(inode.corrupt(format!("an entry of an access control list for {tag:#x}")));
        }
        value.extend_from_slice(&(tag as u16).to_le_bytes());
        value.extend_from_slice(&permissions.to_le_bytes());
        let id = if matches!(tag, USER | GROUP) { id } else { NO_ID };
        value.extend_from_slice(&id.to_le_bytes());
    }
    Ok(value)
}
