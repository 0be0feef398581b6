//! Volume descriptors (ECMA-119, 8; Joliet specification, 1995).

use super::both::both16;
use crate::device::{ReadAt, read_exact};
use crate::{Fields, Result};

/// A sector of a disc.
pub(super) const SECTOR: u64 = 2048;

/// The sector of the first descriptor.
const FIRST: u64 = 16;

/// How many descriptors are looked at.
const MAX: u64 = 64;

/// The two trees of a disc.
#[derive(Debug, Clone)]
pub(super) struct Volume {
    pub(super) primary: Descriptor,
    pub(super) joliet: Option<Descriptor>,
}

/// A primary or supplementary volume descriptor.
#[derive(Debug, Clone)]
pub(super) struct Descriptor {
    /// Bytes of a logical block, in which places are counted.
    pub(super) block: u32,
    /// Blocks of the volume.
    pub(super) blocks: u32,
    /// This volume's number, where it is one of a set of several.
    pub(super) volume: Option<u16>,
    /// The record of the root folder.
    pub(super) root: [u8; 34],
    /// The name of the volume as it stands there.
    name: [u8; 32],
    /// The dates of creation and last change, as digits.
    dates: [[u8; 17]; 2],
}

impl Volume {
    /// Looks through the descriptors. `None` where there is no primary one.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io).
    pub(super) fn find(device: &dyn ReadAt) -> Result<Option<Volume>> {
        let mut primary = None;
        let mut joliet = None;
        let mut sector = [0; SECTOR as usize];
        for number in FIRST..FIRST + MAX {
            if device.size() < (number + 1) * SECTOR {
                break;
            }
            read_exact(device, &mut sector, number * SECTOR)?;
            if sector[1..6] != *b"CD001" {
                break;
            }
            match sector[0] {
                1 if primary.is_none() => primary = Descriptor::parse(&sector).ok(),
                // UCS-2 of level 1, 2 or 3.
                2 if joliet.is_none() && matches!(sector[88..91], [0x25, 0x2F, 0x40 | 0x43 | 0x45]) => {
                    joliet = Descriptor::parse(&sector).ok();
                }
                255 => break,
                _ => {}
            }
        }
        Ok(primary.map(|primary| Volume { primary, joliet }))
    }

    /// The name of the volume: that of Joliet, with what did not fit into it.
    pub(super) fn label(&self) -> Option<String> {
        let plain = String::from_utf8_lossy(&self.primary.name);
        let plain = plain.trim_matches(['\0', ' ']);
        let joliet = self.joliet.as_ref().map(|joliet| {
            let units = joliet.name.as_chunks().0.iter().map(|unit| u16::from_be_bytes(*unit));
            char::decode_utf16(units)
                .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
                .collect::<String>()
        });
        let joliet = joliet.as_deref().map(|joliet| joliet.trim_matches(['\0', ' '])).unwrap_or_default();
        let label = match plain.get(joliet.len()..) {
            Some(rest) if plain[..joliet.len()].eq_ignore_ascii_case(joliet) => format!("{joliet}{rest}"),
            _ if joliet.is_empty() => plain.to_owned(),
            _ => joliet.to_owned(),
        };
        (!label.is_empty()).then_some(label)
    }

    /// The identity as `blkid` makes it up: the date of the last change, or else of the creation.
    pub(super) fn uuid(&self) -> Option<String> {
        let [created, modified] = &self.primary.dates;
        let date = [modified, created].into_iter().find(|date| super::time::long(**date).is_some())?;
        let digits = String::from_utf8_lossy(&date[..16]);
        let parts: Vec<&str> = [0..4, 4..6, 6..8, 8..10, 10..12, 12..14, 14..16]
            .into_iter()
            .filter_map(|range| digits.get(range))
            .collect();
        Some(parts.join("-"))
    }

    /// Bytes of the volume.
    pub(super) fn size(&self) -> u64 {
        u64::from(self.primary.blocks) * u64::from(self.primary.block)
    }
}

impl Descriptor {
    fn parse(sector: &[u8; SECTOR as usize]) -> Result<Descriptor> {
        let fields = Fields::new("a volume descriptor", sector);
        let block = u32::from(both16(&fields, 128)?);
        if !matches!(block, 512 | 1024 | 2048) {
            return Err(fields.corrupt(format!("blocks of {block} bytes")));
        }
        // Of these the second is not always right: programs that change a disc's size later leave it.
        let (blocks, set, number) = (fields.le32(80)?, fields.le16(120)?, fields.le16(124)?);
        Ok(Descriptor {
            block,
            blocks,
            volume: (set > 1).then_some(number),
            root: fields.array(156)?,
            name: fields.array(40)?,
            dates: [fields.array(813)?, fields.array(830)?],
        })
    }
}
