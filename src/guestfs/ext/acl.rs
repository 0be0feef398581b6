//! POSIX ACLs: ext stores them shorter than the kernel shows them in `system.posix_acl_access` and `_default`.

use crate::{Fields, Result};

/// `e_tag` of entries that name a user or a group.
const USER: u16 = 0x02;
const GROUP: u16 = 0x08;
/// Those that name nobody: owner, owning group, mask, others.
const SHORT: [u16; 4] = [0x01, 0x04, 0x10, 0x20];

/// From the stored form (version 1, `fs/ext4/acl.h`: entries of 8 bytes with an id, and of 4 without) to that of the
/// system calls (version 2, `posix_acl_xattr.h`: all of 8).
///
/// # Errors
/// `Corrupt` for anything else.
pub(super) fn convert(stored: &[u8]) -> Result<Vec<u8>> {
    let field = Fields::new("an ACL", stored);
    if field.le32(0)? != 1 {
        return Err(field.corrupt("it is not of version 1"));
    }
    let mut shown = 2u32.to_le_bytes().to_vec();
    let mut at = 4;
    while at < stored.len() {
        let tag = field.le16(at)?;
        shown.extend_from_slice(field.bytes(at, 4)?);
        if matches!(tag, USER | GROUP) {
            shown.extend_from_slice(field.bytes(at + 4, 4)?);
            at += 8;
        } else if SHORT.contains(&tag) {
            shown.extend_from_slice(&u32::MAX.to_le_bytes());
            at += 4;
        } else {
            return Err(field.corrupt(format!("an entry of the unknown kind {tag:#x}")));
        }
    }
    Ok(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_entries_get_the_id_of_nobody() {
        let stored = [1, 0, 0, 0, 1, 0, 6, 0, 2, 0, 4, 0, 0xe8, 3, 0, 0, 0x20, 0, 0, 0];
        let shown = convert(&stored).unwrap();
        assert_eq!(shown[..12], [2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255]);
        assert_eq!(shown[12..], [2, 0, 4, 0, 0xe8, 3, 0, 0, 0x20, 0, 0, 0, 255, 255, 255, 255]);
        assert!(convert(&stored[..10]).is_err() && convert(&[2, 0, 0, 0]).is_err());
        assert!(convert(&[1, 0, 0, 0, 3, 0, 0, 0]).is_err());
    }
}
