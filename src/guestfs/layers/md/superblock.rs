//! The superblocks of md members: 0.90, 1.0, 1.1 and 1.2 (Linux `include/uapi/linux/raid/md_p.h`).

use crate::device::{self, ReadAt};
use crate::{Fields, Result};

const MAGIC: u32 = 0xa92b_4efc;
/// The unit of all numbers in them.
pub const SECTOR: u64 = 512;
/// The superblock 0.90 lies in the last whole 64 KiB.
const RESERVED: u64 = 65536;
/// Roles of one superblock: what fits beside the 256 bytes into its 4 KiB.
const MAX_ROLES: usize = 1920;
/// Entries of a list of bad blocks.
const MAX_BAD_BLOCKS: usize = 4096;

/// What a member does for its array.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The leg of this number.
    Active(u32),
    /// Waits for another one to fail.
    Spare,
    /// Failed.
    Faulty,
    /// Holds the journal of a RAID 5.
    Journal,
}

/// A superblock, of any version, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superblock {
    /// The array's identity.
    pub array: [u8; 16],
    /// `0.90`, `1.0`, `1.1`, `1.2`.
    pub version: &'static str,
    /// The array's name, where it has one.
    pub name: String,
    /// RAID level: 0, 1, 4, 5, 6, 10, -1 for linear.
    pub level: i32,
    /// How the level lays out its data, where that is known.
    pub layout: Option<u32>,
    /// Bytes of a chunk, 0 where the level has none.
    pub chunk: u64,
    /// How many legs the array has.
    pub legs: u32,
    /// Bytes of each leg that a mirror uses.
    pub used: u64,
    /// Where this member's data begins.
    pub data_offset: u64,
    /// Bytes of data that this member has.
    pub data_size: u64,
    /// Counts changes: a member with fewer is not up to date.
    pub events: u64,
    /// Which of `roles` is this one's.
    pub number: u32,
    /// What each member does, as this one knows it.
    pub roles: Vec<Role>,
    /// Whether it is still being filled from the others.
    pub recovering: bool,
    /// What about it is not read, by name.
    pub refused: Option<String>,
    /// Ranges of the member that are known to be bad.
    pub bad: Vec<std::ops::Range<u64>>,
}

/// A superblock and its place.
pub struct Place {
    /// The byte where it stands.
    pub offset: u64,
    /// Whether that depends on the size of the device.
    pub at_end: bool,
    /// What it says, or how it is damaged.
    pub superblock: std::result::Result<Superblock, String>,
}

/// Looks for a superblock in the places of all versions. A good one wins over a damaged one.
///
/// # Errors
/// Those of the reader below.
pub fn find(device: &dyn ReadAt) -> Result<Option<Place>> {
    let size = device.size();
    let mut damaged = None;
    let end = (size / SECTOR).checked_sub(16).map(|sector| (sector & !7) * SECTOR);
    for (version, offset, at_end) in [("1.2", Some(4096), false), ("1.1", Some(0), false), ("1.0", end, true)]
    {
        let Some(offset) = offset.filter(|&offset| offset + 4096 <= size) else { continue };
        let bytes = device::read_vec(device, offset, 4096)?;
        if let Some(superblock) = version_1(device, &bytes, version, offset)? {
            let place = Place { offset, at_end, superblock };
            if place.superblock.is_ok() {
                return Ok(Some(place));
            }
            damaged = Some(place);
        }
    }
    if let Some(offset) = (size / RESERVED * RESERVED).checked_sub(RESERVED) {
        let bytes = device::read_vec(device, offset, 4096)?;
        if let Some(superblock) = version_0(&bytes, offset)? {
            return Ok(Some(Place { offset, at_end: true, superblock }));
        }
    }
    Ok(damaged)
}

/// The sum over 32-bit words, folded once: that of the kernel's `calc_sb_1_csum` and `calc_sb_csum`.
fn sum(bytes: &[u8], skipped: usize) -> u32 {
    let mut sum = 0u64;
    for (index, word) in bytes.chunks(4).enumerate() {
        if index * 4 != skipped {
            let mut whole = [0; 4];
            whole[..word.len()].copy_from_slice(word);
            sum += u64::from(u32::from_le_bytes(whole));
        }
    }
    ((sum & 0xffff_ffff) + (sum >> 32)) as u32
}

/// A superblock of version 1 that says to stand at `offset`.
fn version_1(
    device: &dyn ReadAt,
    bytes: &[u8],
    version: &'static str,
    offset: u64,
) -> Result<Option<std::result::Result<Superblock, String>>> {
    let fields = Fields::new("the md superblock", bytes);
    if fields.le32(0)? != MAGIC || fields.le32(4)? != 1 || fields.le64(144)? != offset / SECTOR {
        return Ok(None);
    }
    let members = fields.le32(220)? as usize;
    if members > MAX_ROLES {
        return Ok(Some(Err(format!("the md superblock claims {members} members"))));
    }
    if sum(&bytes[..256 + 2 * members], 216) != fields.le32(216)? {
        return Ok(Some(Err("the checksum of the md superblock does not match".into())));
    }
    let features = fields.le32(8)?;
    let refused = match features {
        _ if features & 4 != 0 => Some("an md array that is being reshaped".into()),
        _ if features & 256 != 0 => Some("a clustered md array".into()),
        _ if features & !0x1fff != 0 => {
            Some(format!("an md array with unknown features {:#x}", features & !0x1fff))
        }
        _ => None,
    };
    let level = fields.le32(72)? as i32;
    let mut roles = Vec::with_capacity(members);
    for index in 0..members {
        roles.push(match fields.le16(256 + 2 * index)? {
            0xffff => Role::Spare,
            0xfffe => Role::Faulty,
            0xfffd => Role::Journal,
            leg => Role::Active(u32::from(leg)),
        });
    }
    let name = fields.bytes(32, 32)?;
    let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
    Ok(Some(Ok(Superblock {
        array: fields.array(16)?,
        version,
        name: String::from_utf8_lossy(name).into_owned(),
        level,
        // Of a RAID 0 the layout is only known where the feature says that it was written.
        layout: (level != 0 || features & 4096 != 0).then_some(fields.le32(76)?),
        chunk: u64::from(fields.le32(88)?) * SECTOR,
        legs: fields.le32(92)?,
        used: fields.le64(80)?.saturating_mul(SECTOR),
        data_offset: fields.le64(128)?.saturating_mul(SECTOR),
        data_size: fields.le64(136)?.saturating_mul(SECTOR),
        events: fields.le64(200)?,
        number: fields.le32(160)?,
        roles,
        recovering: features & 2 != 0,
        refused,
        bad: if features & 8 != 0 { bad_blocks(device, &fields, offset)? } else { Vec::new() },
    })))
}

/// The list of bad blocks of a member of version 1.
fn bad_blocks(device: &dyn ReadAt, fields: &Fields<'_>, offset: u64) -> Result<Vec<std::ops::Range<u64>>> {
    let shift = u32::from(fields.u8(185)?);
    let length = usize::from(fields.le16(186)?) * SECTOR as usize;
    let distance = i64::from(fields.le32(188)? as i32) * SECTOR as i64;
    let start =
        offset.checked_add_signed(distance).ok_or_else(|| fields.corrupt("its bad blocks are outside"))?;
    let bytes = device::read_vec(device, start, length.min(MAX_BAD_BLOCKS * 8))?;
    let mut bad = Vec::new();
    for entry in bytes.chunks_exact(8) {
        let entry = Fields::new("a bad block of md", entry).le64(0)?;
        if entry == u64::MAX {
            return Ok(bad);
        }
        let scaled = |sectors: u64| {
            sectors
                .checked_shl(shift)
                .filter(|scaled| scaled >> shift == sectors)
                .and_then(|s| s.checked_mul(SECTOR))
        };
        let range = scaled(entry >> 10).zip(scaled(entry & 0x3ff));
        let range = range.and_then(|(start, length)| Some(start..start.checked_add(length)?));
        bad.push(range.ok_or_else(|| fields.corrupt("a bad block outside of everything"))?);
    }
    if length > MAX_BAD_BLOCKS * 8 {
        return Err(fields.corrupt("too long a list of bad blocks"));
    }
    Ok(bad)
}

/// A superblock of version 0.90, in the byte order of x86.
fn version_0(bytes: &[u8], offset: u64) -> Result<Option<std::result::Result<Superblock, String>>> {
    let fields = Fields::new("the md superblock 0.90", bytes);
    let word = |index: usize| fields.le32(index * 4);
    if fields.be32(0)? == MAGIC && fields.be32(4)? == 0 {
        return Ok(Some(Err("the md superblock 0.90 is one of a big-endian machine".into())));
    }
    if word(0)? != MAGIC || word(1)? != 0 || !matches!(word(2)?, 90 | 91) {
        return Ok(None);
    }
    if sum(bytes, 38 * 4) != word(38)? {
        return Ok(Some(Err("the checksum of the md superblock 0.90 does not match".into())));
    }
    let mut array = [0; 16];
    for (index, at) in [5, 13, 14, 15].into_iter().enumerate() {
        array[index * 4..index * 4 + 4].copy_from_slice(fields.bytes(at * 4, 4)?);
    }
    let level = word(7)? as i32;
    let mut roles = Vec::with_capacity(27);
    for disk in 0..27 {
        let at = 128 + disk * 32;
        let state = word(at + 4)?;
        roles.push(match state {
            _ if state & 1 != 0 => Role::Faulty,
            // Active, in sync, not removed.
            _ if state & 0b1110 == 0b0110 => Role::Active(word(at + 3)?),
            _ => Role::Spare,
        });
    }
    Ok(Some(Ok(Superblock {
        array,
        version: "0.90",
        name: String::new(),
        level,
        // The kernel takes the layout of a RAID 0 of this version for unknown.
        layout: if level == 0 { None } else { Some(word(64)?) },
        chunk: u64::from(word(65)?),
        legs: word(10)?,
        used: u64::from(word(8)?) * 1024,
        data_offset: 0,
        data_size: offset,
        events: u64::from(word(39)?) | u64::from(word(40)?) << 32,
        number: word(992)?,
        roles,
        recovering: false,
        refused: (word(2)? == 91).then(|| "an md array that is being reshaped".into()),
        bad: Vec::new(),
    })))
}

impl Superblock {
    /// What this member does, as it knows itself.
    pub fn role(&self) -> Role {
        self.roles.get(self.number as usize).copied().unwrap_or(Role::Spare)
    }
}
