//! NTFS, versions 1.2 to 3.1, as Windows and ntfs-3g write it.
//!
//! The model, from below: `boot` gives the sizes; `runs` and `stream` the bytes of an attribute, compressed ones
//! through `lznt1`; `record`, `list` and [`file`] what a file is made of; `index` its folder; `reparse` and
//! `node` what it is to whoever lists it; `tree` shows all that as a [`GuestFs`]. `log` replays a dirty
//! `$LogFile` in memory before.
//!
//! What is shown, and how:
//! - The file system's own files (`$MFT`, `$Extend` …) are not listed, as ntfs-3g does it; a lookup by name finds them.
//! - Short (DOS) names are not listed beside the long ones; a lookup finds them. `links` does not count them.
//! - An alternate stream is an extended attribute `user.NAME`, and a file that the lookup of `FILE:NAME` finds
//!   (`:NAME` for one of the folder itself).
//! - Junctions and symbolic links are links, in the guest's terms (`/C/Users`); one from the root of its own volume
//!   (`\a`) is shown from its folder (`../a`), so that it leads to the same file wherever the volume stands. The links of
//!   Linux (WSL) and Interix and their devices are shown as what they mean. Interix' pipes and sockets, which are system
//!   files of no or one byte, are shown as files: Windows has many such files that are none.
//! - Files that the Windows Overlay Filter compressed (CompactOS, `compact /exe`) are read, by `wof`.
//! - Any other reparse point whose content a driver makes (deduplication, cloud placeholders, WIMBoot …) is listed with its
//!   size; reading it is refused by the driver's name. A folder of OneDrive lists what is in it on the disk.
//! - A volume of a Windows that sleeps (hibernation, fast start) is shown with a warning, as ntfs-3g mounts it to be read.
//! - Owners and permissions are security descriptors, and are not shown.
//!
//! Not here: BitLocker (another signature: not recognised as NTFS), the content of files that EFS encrypted.

mod boot;
mod file;
mod fixup;
mod index;
mod list;
mod log;
mod lznt1;
mod name;
mod node;
mod record;
mod reparse;
mod runs;
mod stream;
mod time;
mod tree;
mod volume;
mod wof;

use crate::device::{Device, ReadAt, read_vec};
use crate::{Error, Fields, FsInfo, GuestFs, OpenOptions, Recognised, Result};
use boot::Geometry;
use log::Found;
use name::UpCase;
use record::{Form, Record, kind};
use std::sync::Arc;
use tree::Tree;
use volume::{Volume, number};

/// What the first sectors say; `None` where it is something else. A boot sector that is damaged or all zeros is made up
/// for by its copy at the end, where nothing else claims the beginning.
///
/// # Errors
/// Only those of reading.
pub fn recognise(device: &dyn ReadAt) -> Result<Option<Recognised>> {
    if device.size() < 4096 {
        return Ok(None);
    }
    let sector = read_vec(device, 0, 512)?;
    let geometry = match Geometry::parse(&sector) {
        Ok(geometry) => Some(geometry),
        Err(_) if boot::is_ntfs(&sector) || unclaimed(device, &sector)? => boot::backup(device)?,
        Err(_) => None,
    };
    Ok(geometry.map(|geometry| Recognised {
        kind: "ntfs",
        label: early_label(device, &geometry),
        uuid: Some(geometry.uuid()),
        size: geometry.size,
    }))
}

/// Whether the first sector is zeros and no other file system's mark follows it.
fn unclaimed(device: &dyn ReadAt, sector: &[u8]) -> Result<bool> {
    if sector.iter().any(|&byte| byte != 0) || device.size() < 0x1_1000 {
        return Ok(false);
    }
    let (ext, btrfs) = (read_vec(device, 0x438, 2)?, read_vec(device, 0x1_0040, 8)?);
    Ok(ext != [0x53, 0xef] && btrfs != *b"_BHRfS_M")
}

/// The label, without looking for the whole master file table: its first records are where it begins.
fn early_label(device: &dyn ReadAt, geometry: &Geometry) -> Option<String> {
    let at = (geometry.mft << geometry.cluster_bits) + number::VOLUME * geometry.record_size as u64;
    let mut bytes = read_vec(device, at, geometry.record_size).ok()?;
    fixup::apply(&mut bytes, b"FILE", &String::new).ok()?;
    let record = Record::new(number::VOLUME, bytes).ok()?;
    let name = record.attributes().ok()?.into_iter().find(|header| header.kind == kind::VOLUME_NAME)?;
    match name.form {
        Form::Resident(units) if !units.is_empty() => Some(name::to_text(&name::units(units))),
        _ => None,
    }
}

/// Opens it read-only; a dirty `$LogFile` is replayed in memory.
///
/// # Errors
/// [`Error::Corrupt`] where the boot sector and its copy, or the first records of `$MFT` and their copies are damaged;
/// [`Error::Unsupported`] for a version that is not known; [`Error::Untrusted`] where the log can't be replayed.
pub fn open(device: Device, options: &OpenOptions) -> Result<Arc<dyn GuestFs>> {
    let mut warnings = Vec::new();
    let sector = read_vec(&*device, 0, 512)?;
    let geometry = Geometry::parse(&sector).or_else(|error| {
        let copy = boot::backup(&*device)?.ok_or(error)?;
        warnings.push("the boot sector is damaged, its copy at the end of the volume is used".into());
        Ok::<_, Error>(copy)
    })?;
    let mut volume = Volume::open(device, geometry, options, &mut warnings)?;
    match log::recover(&volume, options) {
        Ok(Found::Clean) => {}
        Ok(Found::Replayed(replayed)) if replayed.overlay.is_empty() => {}
        Ok(Found::Replayed(replayed)) => {
            volume = Volume::open(Arc::new(replayed.overlay), geometry, options, &mut Vec::new())?;
            volume.replayed = replayed.ranges;
        }
        Err(Error::Untrusted(reason)) if options.ignore_journal => {
            warnings.push(format!("{reason}; what it holds is not seen"));
        }
        Err(error) => return Err(error),
    }
    let label = identify(&volume, &mut warnings)?;
    let table = volume.file(number::UPCASE)?;
    let upcase = UpCase::new(&volume.whole(&table, kind::DATA, UpCase::MAX_BYTES)?)?;
    let info = FsInfo {
        kind: "ntfs",
        label,
        uuid: Some(geometry.uuid()),
        size: geometry.size,
        block_size: geometry.cluster_size() as u32,
        has_owners: false,
        warnings,
    };
    let mut tree = Tree::new(info, volume, upcase, options.cache_bytes / 8);
    // A root folder that can't be read says so by itself.
    match tree.look_for_hibernation() {
        Err(error @ Error::Io { .. }) => Err(error),
        Err(_) | Ok(()) => Ok(Arc::new(tree)),
    }
}

/// The label out of `$Volume`; its version and flags are looked at.
fn identify(volume: &Volume, warnings: &mut Vec<String>) -> Result<Option<String>> {
    let file = volume.file(number::VOLUME)?;
    let information = volume.whole(&file, kind::VOLUME_INFORMATION, 4096)?;
    let fields = Fields::new("$VOLUME_INFORMATION", &information);
    let (major, minor, flags) = (fields.u8(8)?, fields.u8(9)?, fields.le16(10)?);
    if !matches!((major, minor), (1, 1..=2) | (2, _) | (3, 0..=1)) {
        return Err(Error::unsupported(format!("NTFS version {major}.{minor}")));
    }
    if flags & 1 != 0 {
        warnings.push("the volume is marked dirty: Windows would check it".into());
    }
    let label = match file.find(kind::VOLUME_NAME, &[]) {
        Some(_) => name::to_text(&name::units(&volume.whole(&file, kind::VOLUME_NAME, 4096)?)),
        None => String::new(),
    };
    Ok(Some(label).filter(|label| !label.is_empty()))
}
