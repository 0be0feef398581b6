//! An array: its members sorted out, and its bytes put together (Linux `drivers/md/{md,raid0,raid1,md-linear}.c`).

use super::mirror::{Leg, Mirror};
use super::superblock::{Role, Superblock};
use super::{Identity, Member};
use crate::device::{Device, Window};
use crate::layers::mapped::{Mapped, Target};
use crate::volume::Content;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

/// The members of one array.
pub struct Array<'a> {
    /// Which array.
    pub identity: Identity,
    members: Vec<&'a Member>,
    /// One of those with the most events.
    newest: &'a Member,
}

/// Sorts members by their arrays, in the order in which they were met.
pub fn arrays(members: &[Member]) -> Vec<Array<'_>> {
    let mut arrays: Vec<Array<'_>> = Vec::new();
    for member in members {
        match arrays.iter_mut().find(|array| array.identity == member.superblock.array) {
            Some(array) => array.add(member),
            None => arrays.push(Array {
                identity: member.superblock.array,
                members: vec![member],
                newest: member,
            }),
        }
    }
    arrays
}

impl<'a> Array<'a> {
    fn add(&mut self, member: &'a Member) {
        self.members.push(member);
        if member.superblock.events > self.newest.superblock.events {
            self.newest = member;
        }
    }

    fn superblock(&self) -> &'a Superblock {
        &self.newest.superblock
    }

    /// Whether no leg is missing or behind.
    pub fn is_whole(&self) -> bool {
        self.current().is_ok_and(|legs| legs.len() as u64 >= u64::from(self.superblock().legs))
    }

    /// The first 8 hexadecimal digits of the identity, as `mdadm` writes it.
    pub fn short_id(&self) -> String {
        self.long_id().chars().take(8).collect()
    }

    /// The whole identity as `mdadm` writes it: four groups of 8 digits.
    pub fn long_id(&self) -> String {
        let mut id = String::with_capacity(35);
        for (index, byte) in self.identity.iter().enumerate() {
            if index > 0 && index % 4 == 0 {
                id.push(':');
            }
            // Version 0.90 writes its four numbers, which the machine stores little-endian.
            let byte = match self.superblock().version {
                "0.90" => &self.identity[index / 4 * 4 + 3 - index % 4],
                _ => byte,
            };
            // Writing to a string can't fail.
            let _ = write!(id, "{byte:02x}");
        }
        id
    }

    /// Layers below, of the highest member.
    pub fn depth(&self) -> usize {
        self.members.iter().map(|member| member.depth).max().unwrap_or(0)
    }

    /// The first disk that it lies on.
    pub fn disk(&self) -> u32 {
        self.members.iter().map(|member| member.disk).min().unwrap_or(0)
    }

    /// Bytes of the array, as far as its superblocks say.
    pub fn size(&self) -> u64 {
        match self.superblock().level {
            1 => self.superblock().used,
            _ => self
                .members
                .iter()
                .fold(0, |sum: u64, member| sum.saturating_add(member.superblock.data_size)),
        }
    }

    /// What each member is, for the listing.
    pub fn describe(&self) -> Vec<(String, String)> {
        let newest = self.superblock().events;
        let level = level_name(self.superblock().level);
        let of = |member: &Member| {
            let of = format!("md/{} ({level}, superblock {})", self.short_id(), member.superblock.version);
            match member.superblock.role() {
                Role::Active(leg) if is_behind(member, newest) => {
                    format!("an outdated member {leg} of {of}")
                }
                Role::Active(leg) => format!("member {leg} of {of}"),
                Role::Spare => format!("a spare of {of}"),
                Role::Faulty => format!("a failed member of {of}"),
                Role::Journal => format!("the journal of {of}"),
            }
        };
        self.members.iter().map(|member| (member.id.clone(), of(member))).collect()
    }

    /// The legs that are up to date, by their numbers; or why that can't be told.
    fn current(&self) -> Result<BTreeMap<u32, &'a Member>, Content> {
        let superblock = self.superblock();
        let mut legs: BTreeMap<u32, &'a Member> = BTreeMap::new();
        for &member in &self.members {
            let own = &member.superblock;
            let Role::Active(leg) = own.role() else { continue };
            if is_behind(member, superblock.events) || own.recovering || leg >= superblock.legs {
                continue;
            }
            // What the newest members say of each other counts.
            if superblock.roles.get(own.number as usize) != Some(&Role::Active(leg)) {
                if own.events == superblock.events {
                    return Err(Content::Refused(
                        "an md array whose members contradict each other: each was used without the other"
                            .into(),
                    ));
                }
                continue;
            }
            let same = |a: &Superblock, b: &Superblock| {
                (a.level, a.layout, a.chunk, a.legs, a.used) == (b.level, b.layout, b.chunk, b.legs, b.used)
            };
            if !same(own, superblock) {
                return Err(Content::Damaged("the superblocks of its members contradict each other".into()));
            }
            if let Some(other) = legs.insert(leg, member) {
                return Err(Content::Refused(format!(
                    "an md array of which {} and {} both are member {leg}: one is a copy of the other",
                    other.id, member.id
                )));
            }
        }
        Ok(legs)
    }

    /// The array's bytes; or what the volume is instead.
    pub fn open(&self) -> Result<Device, Content> {
        let superblock = self.superblock();
        if let Some(reason) = self.members.iter().find_map(|member| member.superblock.refused.clone()) {
            return Err(Content::Refused(reason));
        }
        if !matches!(superblock.level, -1..=1) {
            return Err(Content::Refused(format!("md {}", level_name(superblock.level))));
        }
        let legs = self.current()?;
        for member in legs.values() {
            let own = &member.superblock;
            let end = own.data_offset.checked_add(if own.level == 1 { own.used } else { own.data_size });
            if end.is_none_or(|end| end > member.device.size()) {
                return Err(Content::Damaged(format!(
                    "its member {} is shorter than its superblock says",
                    member.id
                )));
            }
        }
        if superblock.level == 1 {
            return mirror(superblock, &legs);
        }
        let missing: Vec<String> = (0..superblock.legs.min(4096))
            .filter(|leg| !legs.contains_key(leg))
            .map(|leg| leg.to_string())
            .collect();
        if !missing.is_empty() || superblock.legs == 0 {
            return Err(Content::Refused(format!(
                "md {} without member {} of {}: no disk of this point holds it",
                level_name(superblock.level),
                missing.join(", "),
                superblock.legs
            )));
        }
        let members: Vec<&Member> = legs.into_values().collect();
        let mapped = if superblock.level == 0 {
            striped(superblock, &members)?
        } else {
            linear(superblock, &members)?
        };
        Ok(Arc::new(mapped))
    }
}

/// Whether a member missed changes. One event of difference is that of superblocks being written one after another.
fn is_behind(member: &Member, newest: u64) -> bool {
    let events = member.superblock.events;
    match member.superblock.level {
        1 => events < newest,
        _ => events.saturating_add(1) < newest,
    }
}

fn level_name(level: i32) -> String {
    match level {
        -1 => "linear".into(),
        -4 => "multipath".into(),
        level => format!("RAID {level}"),
    }
}

fn mirror(superblock: &Superblock, legs: &BTreeMap<u32, &Member>) -> Result<Device, Content> {
    let leg = |member: &&Member| Leg {
        device: member.device.clone(),
        start: member.superblock.data_offset,
        bad: member.superblock.bad.clone(),
    };
    match legs.values().next() {
        None => Err(Content::Refused("md RAID 1 without a member that is up to date".into())),
        Some(first) if first.superblock.bad.is_empty() => {
            Ok(Arc::new(Window::new(first.device.clone(), first.superblock.data_offset, superblock.used)))
        }
        Some(_) => Ok(Arc::new(Mirror::new(legs.values().map(leg).collect(), superblock.used))),
    }
}

/// A member's data as a device that begins at 0.
fn data(member: &Member) -> Device {
    let own = &member.superblock;
    let device = member.device.clone();
    if own.bad.is_empty() {
        return Arc::new(Window::new(device, own.data_offset, own.data_size));
    }
    let leg = Leg { device, start: own.data_offset, bad: own.bad.clone() };
    Arc::new(Mirror::new(vec![leg], own.data_size))
}

fn too_large() -> Content {
    Content::Damaged("the sizes of its members do not fit into 64 bits".into())
}

/// Members one after another, each rounded down to whole chunks where there are chunks.
fn linear(superblock: &Superblock, members: &[&Member]) -> Result<Mapped, Content> {
    let mut mapped = Mapped::new();
    for member in members {
        let size = member.superblock.data_size;
        let size = size - size.checked_rem(superblock.chunk).unwrap_or(0);
        if !mapped.push(size, Target::Linear(data(member), 0)) {
            return Err(too_large());
        }
    }
    Ok(mapped)
}

/// Chunks in turn; where members differ in size, in zones: the first over all of them up to the smallest, the next over
/// those that are larger, and so on.
fn striped(superblock: &Superblock, members: &[&Member]) -> Result<Mapped, Content> {
    let chunk = superblock.chunk;
    if chunk == 0 || !chunk.is_multiple_of(512) {
        return Err(Content::Damaged(format!("md RAID 0 with chunks of {chunk} bytes")));
    }
    let sizes: Vec<u64> =
        members.iter().map(|m| m.superblock.data_size - m.superblock.data_size % chunk).collect();
    let mut ends = sizes.clone();
    ends.sort_unstable();
    ends.dedup();
    // Linux 3.14 changed by accident which member a later zone begins with, so the layout is recorded since 5.4.
    let original = match (ends.len(), superblock.layout) {
        (1, _) | (_, Some(2)) => false,
        (_, Some(1)) => true,
        _ => {
            return Err(Content::Refused(
                "md RAID 0 over members of different sizes whose superblocks do not tell the layout".into(),
            ));
        }
    };
    let mut mapped = Mapped::new();
    let (mut zone, mut below) = (0u64, 0u64);
    for end in ends {
        let legs: Vec<(Device, u64)> = members
            .iter()
            .zip(&sizes)
            .filter(|(_, size)| **size >= end)
            .map(|(member, _)| (data(member), below))
            .collect();
        let count = legs.len() as u64;
        let length = (end - below).checked_mul(count).ok_or_else(too_large)?;
        // The original layout goes on counting chunks over the whole array.
        let first = if original { (zone / chunk % count) as usize } else { 0 };
        if !mapped.push(length, Target::Striped { legs, chunk, first }) {
            return Err(too_large());
        }
        zone += length;
        below = end;
    }
    Ok(mapped)
}
