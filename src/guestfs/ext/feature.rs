//! Feature bits of the superblock ("Super Block", `s_feature_*`), and what is refused of them.

use super::superblock::Superblock;
use crate::{Error, Result};

/// `s_feature_compat`: may be ignored by a reader.
pub(super) mod compat {
    pub const HAS_JOURNAL: u32 = 0x4;
    pub const DIR_INDEX: u32 = 0x20;
    pub const SPARSE_SUPER2: u32 = 0x200;
}

/// `s_feature_incompat`: must be understood.
pub(super) mod incompat {
    pub const COMPRESSION: u32 = 0x1;
    pub const FILETYPE: u32 = 0x2;
    pub const RECOVER: u32 = 0x4;
    pub const JOURNAL_DEV: u32 = 0x8;
    pub const META_BG: u32 = 0x10;
    pub const EXTENTS: u32 = 0x40;
    pub const WIDE: u32 = 0x80;
    pub const MMP: u32 = 0x100;
    pub const FLEX_BG: u32 = 0x200;
    pub const EA_INODE: u32 = 0x400;
    pub const DIRDATA: u32 = 0x1000;
    pub const CSUM_SEED: u32 = 0x2000;
    pub const LARGEDIR: u32 = 0x4000;
    pub const INLINE_DATA: u32 = 0x8000;
    pub const ENCRYPT: u32 = 0x1_0000;
    pub const CASEFOLD: u32 = 0x2_0000;

    /// All that this reader understands. Encryption is refused a file at a time.
    pub const READ: u32 = FILETYPE
        | RECOVER
        | META_BG
        | EXTENTS
        | WIDE
        | MMP
        | FLEX_BG
        | EA_INODE
        | CSUM_SEED
        | LARGEDIR
        | INLINE_DATA
        | ENCRYPT
        | CASEFOLD;
}

/// `s_feature_ro_compat`: may be ignored by who only reads.
pub(super) mod ro_compat {
    pub const SPARSE_SUPER: u32 = 0x1;
    pub const LARGE_FILE: u32 = 0x2;
    pub const BTREE_DIR: u32 = 0x4;
    pub const HUGE_FILE: u32 = 0x8;
    pub const GDT_CSUM: u32 = 0x10;
    pub const BIGALLOC: u32 = 0x200;
    pub const METADATA_CSUM: u32 = 0x400;
}

/// `i_flags`.
pub(super) mod inode_flag {
    pub const ENCRYPT: u32 = 0x800;
    pub const INDEX: u32 = 0x1000;
    pub const HUGE_FILE: u32 = 0x4_0000;
    pub const EXTENTS: u32 = 0x8_0000;
    pub const EA_INODE: u32 = 0x20_0000;
    pub const INLINE_DATA: u32 = 0x1000_0000;
    pub const CASEFOLD: u32 = 0x4000_0000;
}

/// Refuses, by name, what nothing here decodes.
pub(super) fn check(sb: &Superblock) -> Result<()> {
    let unknown = sb.incompat & !incompat::READ;
    if unknown & incompat::JOURNAL_DEV != 0 {
        return Err(Error::unsupported("an external journal of ext3 or ext4 as a file system"));
    }
    if unknown & incompat::COMPRESSION != 0 {
        return Err(Error::unsupported("the ext2 feature compression (e2compr)"));
    }
    if unknown & incompat::DIRDATA != 0 {
        return Err(Error::unsupported("the ext4 feature dirdata (Lustre)"));
    }
    if unknown != 0 {
        return Err(Error::unsupported(format!("ext4 with the incompatible features {unknown:#x}")));
    }
    Ok(())
}

/// The type as `blkid` names it: what a kernel of ext2, ext3 or ext4 alone could mount.
pub(super) fn kind(sb: &Superblock) -> &'static str {
    let old_ro = ro_compat::SPARSE_SUPER | ro_compat::LARGE_FILE | ro_compat::BTREE_DIR;
    let ext2 = incompat::FILETYPE | incompat::META_BG;
    if sb.incompat & incompat::JOURNAL_DEV != 0 {
        "jbd"
    } else if sb.ro_compat & !old_ro != 0 || sb.incompat & !(ext2 | incompat::RECOVER) != 0 {
        "ext4"
    } else if sb.compat & compat::HAS_JOURNAL != 0 {
        "ext3"
    } else {
        "ext2"
    }
}
