//! Attribute lists: which records hold the attributes of a file that outgrew its own.

use super::record::{Form, Header, kind, split};
use super::runs::Runs;
use super::stream::{Content, Stream};
use super::volume::Volume;
use crate::{Error, Fields, Result};

/// The most bytes of an attribute list, which is Windows' own bound.
const MAX_LIST: usize = 256 << 10;

/// An attribute record elsewhere.
pub struct Place {
    /// The attribute's type.
    pub kind: u32,
    /// Its first cluster that is placed there.
    lowest: u64,
    /// The MFT record.
    pub number: u64,
    /// How often that was used before.
    pub sequence: u16,
    /// The attribute's id in that record.
    id: u16,
}

impl Place {
    /// Whether this is the attribute meant.
    pub fn is(&self, header: &Header<'_>) -> bool {
        let lowest = match header.form {
            Form::Resident(_) => 0,
            Form::NonResident { lowest, .. } => lowest,
        };
        (self.kind, self.id, self.lowest) == (header.kind, header.id, lowest)
    }
}

/// The places that the attribute list `header` of MFT record `number` names, in its order.
///
/// # Errors
/// [`Error::Corrupt`] where it contradicts itself, or why it can't be read.
pub fn places(volume: &Volume, number: u64, header: &Header<'_>) -> Result<Vec<Place>> {
    let bytes = match &header.form {
        Form::Resident(bytes) => bytes.to_vec(),
        Form::NonResident { lowest: 0, pairs, sizes: Some(sizes), .. } => {
            let mut runs = Runs::default();
            runs.extend(pairs, volume.geometry.clusters)?;
            let stream = Stream::new(runs, sizes, header.flags, volume.geometry.cluster_bits)?;
            volume.read_all((number, usize::MAX), &Content::Clusters(stream), MAX_LIST)?
        }
        Form::NonResident { .. } => {
            let reason = "its attribute list has no beginning";
            return Err(Error::corrupt(format!("MFT record {number}"), reason));
        }
    };
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> Result<Vec<Place>> {
    let fields = Fields::new("an attribute list", bytes);
    let (mut at, mut places) = (0, Vec::new());
    // It may end with less than an entry.
    while at + 0x1a <= bytes.len() {
        let kind = fields.le32(at)?;
        if kind == 0 || kind == kind::END {
            break;
        }
        let length = usize::from(fields.le16(at + 4)?);
        if length < 0x1a {
            return Err(fields.corrupt(format!("an entry of {length} bytes")));
        }
        let (number, sequence) = split(fields.le64(at + 0x10)?);
        places.push(Place {
            kind,
            lowest: fields.le64(at + 8)?,
            number,
            sequence,
            id: fields.le16(at + 0x18)?,
        });
        at += length;
    }
    Ok(places)
}
