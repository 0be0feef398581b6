//! ISO 9660 discs: installation media, drivers, cloud-init seeds.
//!
//! The model (ECMA-119, which is ISO 9660): volume descriptors from sector 16 on, and folders of records that name one
//! piece of the disc each, or several for files of more than 4 GiB. On top of it stand Rock Ridge (IEEE P1282, by the
//! System Use Sharing Protocol IEEE P1281: owners, modes, links, long names, deep folders) and Joliet (a second tree
//! with names in UTF-16). As in Linux, Rock Ridge is preferred to Joliet, and Joliet to plain names, which are shown in
//! small letters and without their version.
//!
//! A record has no inode. A file's node is the place of its (first) record, a folder's is where it lies itself.
//!
//! - Of a disc with several sessions, the tree is that of the volume descriptors at sector 16: in an image of one track
//!   they are those of the last session where the program that wrote it keeps them there, as xorriso does; of the first
//!   one otherwise.
//! - A partition table before sector 16 (a hybrid disc) does not matter here.
//! - Numbers are stored in both byte orders. They have to be equal; only one that was left 0 is passed over.
//! - zisofs (version 1) is decoded. Interleaved and sparse files, those of another volume of a set, and zisofs 2 are
//!   refused by name.
//! - A disc that also holds a UDF file system has a warning, because that may show more. One that holds nothing but UDF
//!   is recognised by [`recognise_udf`], and not read.
//!
//! Not here: boot catalogs (El Torito), associated files and extended attribute records, the attributes and access
//! lists that xorriso stores (Linux shows none of them), High Sierra.

mod both;
mod descriptor;
mod folder;
mod name;
mod reader;
mod record;
mod rock_ridge;
mod susp;
mod time;
mod udf;
mod zisofs;

use crate::{Device, Error, GuestFs, OpenOptions, ReadAt, Recognised, Result};
use std::sync::Arc;

/// What the first sectors say; `None` where it is something else.
///
/// # Errors
/// [`Error::Io`].
pub fn recognise(device: &dyn ReadAt) -> Result<Option<Recognised>> {
    let Some(volume) = descriptor::Volume::find(device)? else { return Ok(None) };
    Ok(Some(Recognised { kind: "iso9660", label: volume.label(), uuid: volume.uuid(), size: volume.size() }))
}

/// Whether this is a UDF file system and nothing else, which is not read here.
///
/// # Errors
/// [`Error::Io`].
pub fn recognise_udf(device: &dyn ReadAt) -> Result<Option<Recognised>> {
    if !udf::is_there(device)? || descriptor::Volume::find(device)?.is_some() {
        return Ok(None);
    }
    Ok(Some(Recognised { kind: "udf", label: udf::label(device), uuid: None, size: device.size() }))
}

/// Opens a disc read-only.
///
/// # Errors
/// [`Error::Corrupt`] where the volume descriptor or the root folder is damaged; [`Error::Unsupported`] for UDF;
/// [`Error::Io`].
pub fn open(device: Device, options: &OpenOptions) -> Result<Arc<dyn GuestFs>> {
    match descriptor::Volume::find(&*device)? {
        Some(volume) => Ok(Arc::new(reader::Iso::open(device, &volume, options)?)),
        None if udf::is_there(&*device)? => Err(Error::unsupported("the file system UDF")),
        None => Err(Error::corrupt("the volume descriptors", "there is none of ISO 9660")),
    }
}
