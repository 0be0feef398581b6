//! A volume group as its metadata text describes it: physical volumes, logical volumes and their segments (lvm2
//! `lib/format_text/import_vsn1.c`).

use super::text::{Section, Value};
use crate::{Error, Result};

/// Bytes of LVM's unit.
const SECTOR: u64 = 512;
/// Physical volumes of a group.
const MAX_PHYSICAL: usize = 1024;
/// Logical volumes of a group, with the hidden ones.
const MAX_LOGICAL: usize = 16384;

/// A group at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// Its name.
    pub name: String,
    /// Its identity.
    pub uuid: String,
    /// Counts changes.
    pub seqno: u64,
    /// Bytes of an extent.
    pub extent: u64,
    /// Its physical volumes.
    pub physical: Vec<PhysicalVolume>,
    /// Its logical volumes, with hidden ones.
    pub logical: Vec<LogicalVolume>,
}

/// A physical volume as the group knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhysicalVolume {
    /// The name that segments use, `pv0`.
    pub name: String,
    /// Its identity without dashes, as labels have it.
    pub uuid: String,
    /// Where it was in the guest: a hint for a person.
    pub hint: Option<String>,
    /// Where its first extent begins, in bytes.
    pub start: u64,
    /// Its extents.
    pub extents: u64,
    /// Whether the group went on without it.
    pub missing: bool,
}

/// A logical volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogicalVolume {
    /// Its name.
    pub name: String,
    /// Whether it is one for users, not a part of another one.
    pub visible: bool,
    /// What it is made of, in order.
    pub segments: Vec<Segment>,
}

/// A part of a logical volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Its first extent.
    pub start: u64,
    /// Extents.
    pub extents: u64,
    /// Where they are.
    pub kind: SegmentKind,
}

/// Where the extents of a segment are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SegmentKind {
    /// On one or several physical volumes.
    Striped {
        /// The name of a physical (or a logical) volume and its extent, for each stripe.
        areas: Vec<(String, u64)>,
        /// Bytes of a stripe, 0 where there is only one area.
        stripe: u64,
    },
    /// Nowhere: they read as zeros.
    Zero,
    /// A snapshot: what it is one of, and the volume with the changed chunks.
    Snapshot {
        /// The volume that it is a snapshot of.
        origin: String,
        /// The volume that holds what was different.
        store: String,
        /// Whether it is being merged back.
        merging: bool,
    },
    /// Anything else, by LVM's name.
    Other(String),
}

/// The group that a parsed text describes: its only section that has an identity.
///
/// # Errors
/// [`Error::Corrupt`] for what is missing or contradicts itself; [`Error::Unsupported`] for LVM1.
pub fn read(text: &Section) -> Result<Metadata> {
    let (name, group) = text
        .sections
        .iter()
        .find(|(_, section)| section.text("id").is_ok())
        .ok_or_else(|| Error::corrupt("the LVM metadata", "no group is in it"))?;
    if let Ok(format) = group.text("format")
        && format != "lvm2"
    {
        return Err(Error::unsupported(format!("the volume group format {format}")));
    }
    let empty = Section::default();
    let mut physical = Vec::new();
    for (name, section) in &group.section("physical_volumes").unwrap_or(&empty).sections {
        physical.push(PhysicalVolume {
            name: name.clone(),
            uuid: section.text("id")?.replace('-', ""),
            hint: section.text("device").ok().map(str::to_owned),
            start: section.number("pe_start")?.checked_mul(SECTOR).ok_or_else(too_large)?,
            extents: section.number("pe_count")?,
            missing: section.has("status", "MISSING") || section.has("flags", "MISSING"),
        });
    }
    let mut logical = Vec::new();
    for (name, section) in &group.section("logical_volumes").unwrap_or(&empty).sections {
        logical.push(logical_volume(name, section)?);
    }
    if physical.len() > MAX_PHYSICAL || logical.len() > MAX_LOGICAL {
        return Err(Error::Limit(format!(
            "an LVM group of {} and {} volumes",
            physical.len(),
            logical.len()
        )));
    }
    let extent = group.number("extent_size")?.checked_mul(SECTOR).ok_or_else(too_large)?;
    if extent == 0 {
        return Err(Error::corrupt("the LVM metadata", "extents of no size"));
    }
    Ok(Metadata {
        name: name.clone(),
        uuid: group.text("id")?.to_owned(),
        seqno: group.number("seqno")?,
        extent,
        physical,
        logical,
    })
}

fn too_large() -> Error {
    Error::corrupt("the LVM metadata", "a size that does not fit into 64 bits")
}

fn logical_volume(name: &str, section: &Section) -> Result<LogicalVolume> {
    let mut segments = Vec::new();
    for (name, section) in &section.sections {
        // Beside the segments, there may be sections of other kinds in later versions.
        if !name.starts_with("segment") {
            continue;
        }
        segments.push(Segment {
            start: section.number("start_extent")?,
            extents: section.number("extent_count")?,
            kind: segment_kind(section)?,
        });
    }
    if section.number("segment_count")? != segments.len() as u64 {
        return Err(Error::corrupt("the LVM metadata", format!("segments of {name} are missing")));
    }
    segments.sort_by_key(|segment| segment.start);
    Ok(LogicalVolume { name: name.to_owned(), visible: section.has("status", "VISIBLE"), segments })
}

fn segment_kind(section: &Section) -> Result<SegmentKind> {
    match section.text("type")? {
        "striped" | "linear" => {
            let mut areas = Vec::new();
            for pair in section.list("stripes").chunks(2) {
                let [Value::Text(name), Value::Number(extent)] = pair else {
                    return Err(Error::corrupt("the LVM metadata", "stripes that are no pairs"));
                };
                let extent = u64::try_from(*extent)
                    .map_err(|_| Error::corrupt("the LVM metadata", "a stripe at a negative extent"))?;
                areas.push((name.clone(), extent));
            }
            if section.number("stripe_count")? != areas.len() as u64 || areas.is_empty() {
                return Err(Error::corrupt("the LVM metadata", "stripes are missing"));
            }
            let stripe = match areas.len() {
                1 => 0,
                _ => section.number("stripe_size")?.checked_mul(SECTOR).ok_or_else(too_large)?,
            };
            Ok(SegmentKind::Striped { areas, stripe })
        }
        "snapshot" => {
            let merging = section.text("merging_store").ok();
            Ok(SegmentKind::Snapshot {
                origin: section.text("origin")?.to_owned(),
                store: match merging {
                    Some(store) => store.to_owned(),
                    None => section.text("cow_store")?.to_owned(),
                },
                merging: merging.is_some(),
            })
        }
        "zero" => Ok(SegmentKind::Zero),
        other => Ok(SegmentKind::Other(other.to_owned())),
    }
}
