//! A group: the physical volumes that are there, the newest metadata of any of them, and the logical volumes that can be
//! put together from both.

use super::Physical;
use super::metadata::{LogicalVolume, Metadata, PhysicalVolume, Segment, SegmentKind};
use crate::device::Device;
use crate::layers::mapped::{Mapped, Target};
use crate::volume::Content;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// A volume group over the disks of a point.
pub struct Group<'a> {
    /// Its name.
    pub name: String,
    /// Its identity.
    pub uuid: String,
    /// Its newest metadata.
    metadata: &'a Metadata,
    /// What is there of it, by the identities of the physical volumes: several are copies of each other.
    present: HashMap<&'a str, Vec<&'a Physical>>,
    /// Whether two areas describe different things under one number.
    contradicts: bool,
}

/// A logical volume.
pub struct Logical {
    /// Its name.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Its bytes; or what the volume is instead.
    pub device: Result<Device, Content>,
}

/// The groups that the physical volumes belong to, in the order in which they were met.
pub fn groups(physical: &[Physical]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for metadata in physical.iter().flat_map(|physical| &physical.label.groups) {
        match groups.iter_mut().find(|group| group.uuid == metadata.uuid) {
            None => groups.push(Group {
                name: metadata.name.clone(),
                uuid: metadata.uuid.clone(),
                metadata,
                present: HashMap::new(),
                contradicts: false,
            }),
            Some(group) if metadata.seqno > group.metadata.seqno => {
                group.name = metadata.name.clone();
                group.metadata = metadata;
                group.contradicts = false;
            }
            Some(group) if metadata.seqno == group.metadata.seqno => {
                group.contradicts |= metadata != group.metadata;
            }
            Some(_) => {}
        }
    }
    let mut by_uuid: HashMap<&str, Vec<&Physical>> = HashMap::new();
    for physical in physical {
        by_uuid.entry(&physical.label.uuid).or_default().push(physical);
    }
    for group in &mut groups {
        for part in &group.metadata.physical {
            if let Some(there) = by_uuid.get(part.uuid.as_str()) {
                group.present.insert(&part.uuid, there.clone());
            }
        }
    }
    groups
}

impl<'a> Group<'a> {
    /// Whether no physical volume is missing.
    pub fn is_whole(&self) -> bool {
        self.metadata.physical.iter().all(|part| self.present.contains_key(part.uuid.as_str()))
    }

    /// Layers below, of the highest physical volume.
    pub fn depth(&self) -> usize {
        self.present.values().flatten().map(|physical| physical.depth).max().unwrap_or(0)
    }

    /// The first disk that it lies on.
    pub fn disk(&self) -> u32 {
        self.present.values().flatten().map(|physical| physical.disk).min().unwrap_or(0)
    }

    /// What each physical volume is, for the listing.
    pub fn describe(&self) -> Vec<(String, String)> {
        let named = self
            .metadata
            .physical
            .iter()
            .filter_map(|part| Some((part, self.present.get(part.uuid.as_str())?)));
        named
            .flat_map(|(part, there)| there.iter().map(move |physical| (part, physical)))
            .map(|(part, physical)| {
                let outdated = if part.missing { "an outdated" } else { "a" };
                (physical.id.clone(), format!("{outdated} physical volume of the LVM group {}", self.name))
            })
            .collect()
    }

    /// Why nothing of the group is put together, where that is so.
    fn refused(&self) -> Option<Content> {
        if let Some(copies) = self.present.values().find(|there| there.len() > 1) {
            let names: Vec<&str> = copies.iter().map(|physical| physical.id.as_str()).collect();
            return Some(Content::Refused(format!(
                "a volume of an LVM group of which {} are the same physical volume: one disk is a copy of another",
                names.join(" and ")
            )));
        }
        self.contradicts.then(|| {
            Content::Refused("a volume of an LVM group whose disks contradict each other about it".into())
        })
    }

    /// The logical volumes that a guest would see.
    pub fn volumes(&self) -> Vec<Logical> {
        let mut snapshots: HashMap<&str, Content> = HashMap::new();
        let mut hidden: HashSet<&str> = HashSet::new();
        for logical in &self.metadata.logical {
            for segment in &logical.segments {
                let SegmentKind::Snapshot { origin, store, merging } = &segment.kind else { continue };
                hidden.insert(&logical.name);
                snapshots.insert(store, Content::Refused(format!("an LVM snapshot (of {origin})")));
                if *merging {
                    snapshots.insert(
                        origin,
                        Content::Refused(format!(
                            "an LVM volume that the snapshot {store} is being merged into"
                        )),
                    );
                }
            }
        }
        let refused = self.refused();
        // A snapshot is the volume with its changed chunks, which LVM itself hides behind one without a name.
        let is_shown = |logical: &&LogicalVolume| {
            let name = logical.name.as_str();
            (logical.visible || snapshots.contains_key(name)) && !hidden.contains(name)
        };
        let shown = self.metadata.logical.iter().filter(is_shown);
        shown
            .map(|logical| {
                let extents = logical.segments.iter().fold(0u64, |sum, s| sum.saturating_add(s.extents));
                let refused = refused.clone().or_else(|| snapshots.get(logical.name.as_str()).cloned());
                Logical {
                    name: logical.name.clone(),
                    size: extents.saturating_mul(self.metadata.extent),
                    device: match refused {
                        Some(content) => Err(content),
                        None => self.open(logical),
                    },
                }
            })
            .collect()
    }

    /// The bytes of a logical volume.
    fn open(&self, logical: &LogicalVolume) -> Result<Device, Content> {
        let mut mapped = Mapped::new();
        let mut next = 0u64;
        for segment in &logical.segments {
            if segment.start != next {
                return Err(Content::Damaged(format!(
                    "the LVM metadata of {} has a gap or an overlap",
                    logical.name
                )));
            }
            let end = segment.start.checked_add(segment.extents);
            next = end.ok_or_else(|| damaged("it ends outside of everything"))?;
            let (length, target) = self.segment(segment)?;
            if !mapped.push(length, target) {
                return Err(damaged("its size or a stripe is impossible"));
            }
        }
        Ok(Arc::new(mapped))
    }

    fn segment(&self, segment: &Segment) -> Result<(u64, Target), Content> {
        let (areas, stripe) = match &segment.kind {
            SegmentKind::Striped { areas, stripe } => (areas, *stripe),
            SegmentKind::Zero => {
                let length = segment.extents.checked_mul(self.metadata.extent);
                return Ok((length.ok_or_else(|| damaged("its size is impossible"))?, Target::Zero));
            }
            SegmentKind::Other(kind) => {
                return Err(Content::Refused(format!("an LVM volume of the type {kind}")));
            }
            SegmentKind::Snapshot { .. } => return Err(Content::Refused("an LVM snapshot".into())),
        };
        let count = areas.len() as u64;
        if !segment.extents.is_multiple_of(count) {
            return Err(damaged("its stripes are of different sizes"));
        }
        let each = segment.extents / count;
        let share =
            each.checked_mul(self.metadata.extent).ok_or_else(|| damaged("its size is impossible"))?;
        let length = share.checked_mul(count).ok_or_else(|| damaged("its size is impossible"))?;
        let mut legs = Vec::with_capacity(areas.len());
        for (name, extent) in areas {
            legs.push(self.area(name, *extent, each)?);
        }
        if let [(device, start)] = &legs[..] {
            return Ok((length, Target::Linear(device.clone(), *start)));
        }
        if stripe == 0 || !share.is_multiple_of(stripe) {
            return Err(damaged("its stripes are no part of its extents"));
        }
        Ok((length, Target::Striped { legs, chunk: stripe, first: 0 }))
    }

    /// The device that holds `extents` extents of the physical volume `name`, and where.
    fn area(&self, name: &str, extent: u64, extents: u64) -> Result<(Device, u64), Content> {
        let Some(part) = self.metadata.physical.iter().find(|part| part.name == name) else {
            return Err(match self.metadata.logical.iter().any(|logical| logical.name == name) {
                true => Content::Refused(format!("an LVM volume over another one ({name})")),
                false => damaged("it lies on a physical volume that is not listed"),
            });
        };
        let there = self.present.get(part.uuid.as_str()).and_then(|there| there.first());
        let Some(physical) = there else { return Err(missing(part)) };
        if part.missing {
            return Err(Content::Refused(format!(
                "an LVM volume on {}, which the group went on without: it is outdated",
                physical.id
            )));
        }
        let bytes = |extents: u64| extents.checked_mul(self.metadata.extent);
        let start = bytes(extent).and_then(|bytes| part.start.checked_add(bytes));
        let end = start.and_then(|start| start.checked_add(bytes(extents)?));
        match (start, end, extent.checked_add(extents)) {
            (Some(start), Some(end), Some(last)) if end <= physical.device.size() && last <= part.extents => {
                Ok((physical.device.clone(), start))
            }
            _ => Err(Content::Damaged(format!("it goes on outside of its physical volume {}", physical.id))),
        }
    }
}

fn damaged(reason: &str) -> Content {
    Content::Damaged(format!("the LVM metadata: {reason}"))
}

fn missing(part: &PhysicalVolume) -> Content {
    let hint = part.hint.as_ref().map(|hint| format!(", once {hint}")).unwrap_or_default();
    Content::Refused(format!(
        "an LVM volume on the missing physical volume {} ({}{hint}): no disk of this point holds it",
        part.name, part.uuid
    ))
}
