//! Changes of inodes: the core as it was in memory, and forks.

use crate::xfs::checksum::seal;
use crate::xfs::inode::{MAGIC, Which};
use crate::xfs::log::Replay;
use crate::xfs::log::transaction::Item;
use crate::{Error, Fields, Result};

/// Which fields and forks were changed.
mod changed {
    pub const DATA: u32 = 0x002;
    pub const EXTENTS: u32 = 0x004;
    pub const TREE: u32 = 0x008;
    pub const DEVICE: u32 = 0x010;
    pub const ATTRIBUTES: u32 = 0x040;
    pub const ATTRIBUTE_EXTENTS: u32 = 0x080;
    pub const ATTRIBUTE_TREE: u32 = 0x100;
    /// The blocks of the fork's tree were another inode's.
    pub const DATA_OWNER: u32 = 0x200;
    pub const ATTRIBUTE_OWNER: u32 = 0x400;
}

/// Bytes of the form; of one that a 32 bit machine of old wrote.
const FORM: usize = 56;
const FORM_32: usize = 52;
const FLAG2_BIGTIME: u64 = 1 << 3;
const FLAG2_BIG_COUNTERS: u64 = 1 << 4;
/// The largest number of writes of an inode of version 2, after which it begins again.
const MAX_FLUSHES: u16 = 0xffff;

/// The form of such an item.
struct Form {
    regions: u16,
    fields: u32,
    device: u32,
    inode: u64,
    sector: u64,
    sectors: u64,
    at: u64,
}

impl Form {
    fn parse(f: Fields<'_>) -> Result<Self> {
        let shift = match f.len() {
            FORM => 0,
            FORM_32 => 4,
            other => return Err(f.corrupt(format!("a change of an inode of {other} bytes"))),
        };
        let form = Form {
            regions: f.le16(2)?,
            fields: f.le32(4)?,
            inode: f.le64(16 - shift)?,
            device: f.le32(24 - shift)?,
            sector: f.le64(40 - shift)?,
            sectors: f.le32(48 - shift)?.into(),
            at: f.le32(52 - shift)?.into(),
        };
        if form.sector > i64::MAX as u64 >> 10 {
            return Err(f.corrupt(format!("inode {} at sector {}", form.inode, form.sector)));
        }
        Ok(form)
    }
}

impl Replay<'_> {
    pub(super) fn inode(&mut self, lsn: u64, item: &Item) -> Result<()> {
        let form = Form::parse(item.form()?)?;
        if self.cancelled.contains((form.sector, form.sectors)) {
            return Ok(());
        }
        let corrupt = |reason: &str| Error::corrupt(format!("the log's inode {}", form.inode), reason);
        let offset = (form.sector << 9) + form.at;
        let mut inode = self.read(offset, self.superblock.inode_size as usize)?;
        let source = item.region(1)?;
        let logged = Fields::new("an inode in the log", source);
        if inode[..2] != MAGIC.to_be_bytes() || logged.le16(0)? != MAGIC {
            return Err(corrupt("there is no inode where it belongs"));
        }
        if form.fields & changed::DATA_OWNER != 0 {
            self.distrust(form.inode, Which::Data);
        }
        if form.fields & changed::ATTRIBUTE_OWNER != 0 {
            self.distrust(form.inode, Which::Attributes);
        }
        let v5 = self.superblock.v5;
        let stored = Fields::new("an inode", &inode);
        if v5 {
            let last = stored.be64(112)?;
            if last != 0 && last != u64::MAX && last > lsn {
                return Ok(());
            }
        } else {
            let (newer, older) = (logged.le16(30)?, stored.be16(30)?);
            if newer < older && !(older == MAX_FLUSHES && newer < MAX_FLUSHES / 2) {
                return Ok(());
            }
        }
        write_core(logged, &mut inode, v5, lsn)?;
        let core = self.superblock.inode_core();
        let attributes_at = match usize::from(inode[82]) {
            0 => None,
            units => Some(core + units * 8).filter(|&at| at < inode.len()),
        };
        let data_end = attributes_at.unwrap_or(inode.len());
        if form.fields & changed::DEVICE != 0 {
            inode[core..core + 4].copy_from_slice(&form.device.to_be_bytes());
        }
        let mut next = 2;
        let data = form.fields & (changed::DATA | changed::EXTENTS | changed::TREE);
        if form.regions > 2 && data != 0 {
            let source = item.region(next)?;
            next += 1;
            let target = &mut inode[core..data_end];
            write_fork(source, target, data == changed::TREE, v5).ok_or_else(|| corrupt("its content"))?;
        }
        let attributes =
            form.fields & (changed::ATTRIBUTES | changed::ATTRIBUTE_EXTENTS | changed::ATTRIBUTE_TREE);
        if form.regions > 2 && attributes != 0 {
            let source = item.region(next)?;
            let target = attributes_at.and_then(|at| inode.get_mut(at..));
            target
                .and_then(|target| write_fork(source, target, attributes == changed::ATTRIBUTE_TREE, v5))
                .ok_or_else(|| corrupt("its attributes"))?;
        }
        if v5 {
            seal(&mut inode, 100);
        }
        self.overlay.write(offset, &inode)
    }

    fn distrust(&mut self, inode: u64, which: Which) {
        let reason = format!("the content of inode {inode} was exchanged in the log, which is not replayed");
        self.pending.distrusted.insert((inode, which), reason);
    }
}

/// Writes the core: the numbers of a little-endian machine become big-endian, the rest stays in its place.
fn write_core(logged: Fields<'_>, inode: &mut [u8], v5: bool, lsn: u64) -> Result<()> {
    let source = logged.bytes(0, if v5 { 176 } else { 96 })?;
    let mut copy = |at: usize, length: usize| {
        let target = &mut inode[at..at + length];
        target.copy_from_slice(&source[at..at + length]);
        target.reverse();
    };
    // mode, version, format, owner, group, links, project.
    for (at, length) in [(2, 2), (4, 1), (5, 1), (6, 2), (8, 4), (12, 4), (16, 4), (20, 2), (22, 2)] {
        copy(at, length);
    }
    let flags2 = if v5 { logged.le64(120)? } else { 0 };
    let time = if flags2 & FLAG2_BIGTIME != 0 { 8 } else { 4 };
    for at in (32..56).step_by(time) {
        copy(at, time);
    }
    // size, blocks, extent size, counts of extents, place and form of attributes, DMAPI, flags, generation.
    for (at, length) in
        [(56, 8), (64, 8), (72, 4), (76, 4), (80, 2), (82, 1), (83, 1), (84, 4), (88, 2), (90, 2), (92, 4)]
    {
        copy(at, length);
    }
    if flags2 & FLAG2_BIG_COUNTERS != 0 {
        copy(24, 8);
    } else {
        inode[24..32].fill(0);
    }
    if !v5 {
        // The count of links of version 1.
        inode[6..8].fill(0);
        return Ok(());
    }
    let mut copy = |at: usize, length: usize| {
        let target = &mut inode[at..at + length];
        target.copy_from_slice(&source[at..at + length]);
        target.reverse();
    };
    // changes, flags, size of copied extents, inode.
    for (at, length) in [(104, 8), (120, 8), (128, 4), (152, 8)] {
        copy(at, length);
    }
    for at in (144..152).step_by(time) {
        copy(at, time);
    }
    inode[112..120].copy_from_slice(&lsn.to_be_bytes());
    inode[132..144].fill(0);
    inode[160..176].copy_from_slice(&source[160..176]);
    Ok(())
}

/// Writes a fork. `None` where it does not fit.
fn write_fork(source: &[u8], target: &mut [u8], tree: bool, v5: bool) -> Option<()> {
    if !tree {
        target.get_mut(..source.len())?.copy_from_slice(source);
        return Some(());
    }
    // The root of a tree is logged as it is in memory: as a block with a whole header and as many places for keys, and
    // then for pointers, as its bytes have.
    let header = if v5 { 72 } else { 24 };
    let body = source.get(header..)?;
    let from_room = body.len() / 16;
    let to_room = target.len().checked_sub(4)? / 16;
    let count = usize::from(u16::from_be_bytes([source[6], source[7]]));
    if count > from_room || count > to_room {
        return None;
    }
    target[..4].copy_from_slice(&source[4..8]);
    let (keys, pointers) = target[4..].split_at_mut(to_room * 8);
    keys.get_mut(..count * 8)?.copy_from_slice(&body[..count * 8]);
    pointers.get_mut(..count * 8)?.copy_from_slice(&body[from_room * 8..][..count * 8]);
    Some(())
}
