//! Raw disks in the file system: files and block devices.
//!
//! [`FileSource`] reads either, [`FileSink`] makes a new file, [`DeviceSink`] overwrites a block device, and
//! [`sniff`] tells whether something that is to be taken as raw looks like an image of another format. The
//! two sinks write through `writer`, past the page cache where that is possible.

mod device;
mod sink;
mod sniff;
mod source;
mod writer;

use crate::{Error, Result};
use std::path::Path;

pub use device::DeviceSink;
pub use sink::{FileSink, Overwrite};
pub use sniff::sniff;
pub use source::FileSource;

/// An error where `length` bytes from `offset` are not all on a disk of `size` bytes.
fn check_range(path: &Path, size: u64, offset: u64, length: u64) -> Result<()> {
    match offset.checked_add(length) {
        Some(end) if end <= size => Ok(()),
        _ => Err(Error::Usage {
            name: path.display().to_string(),
            reason: format!("{length} bytes from {offset} on a disk of {size} bytes"),
        }),
    }
}
