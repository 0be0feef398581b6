//! Chunks: where a range of the file system's own address space ("logical" addresses) lies on its devices.
//!
//! Source: `struct btrfs_chunk` of the kernel's `btrfs_tree.h`, and the mapping of `fs/btrfs/volumes.c`.

use super::key::Key;
use crate::{Error, Fields, Result};

const RAID0: u64 = 1 << 3;
const RAID1: u64 = 1 << 4;
const DUP: u64 = 1 << 5;
const RAID10: u64 = 1 << 6;
const RAID5: u64 = 1 << 7;
const RAID6: u64 = 1 << 8;
const RAID1C3: u64 = 1 << 9;
const RAID1C4: u64 = 1 << 10;
/// What is not a profile: data, system, metadata.
const CONTENT: u64 = 7;

/// The bytes of a chunk item before its stripes.
const HEAD: usize = 48;

/// The bytes of a stripe in a chunk item.
const STRIPE: usize = 32;

/// How a chunk is spread over its stripes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Every stripe is a whole copy: single, DUP, RAID1, RAID1C3, RAID1C4.
    Copies,
    Raid0,
    /// Groups of so many stripes are copies of each other.
    Raid10(u64),
    /// So many stripes of each row are parity.
    Parity(u64),
}

/// A part of a chunk on one device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stripe {
    pub device_id: u64,
    /// The first byte on the device.
    pub offset: u64,
    pub device_uuid: [u8; 16],
}

/// A chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The first logical byte.
    pub start: u64,
    pub length: u64,
    pub profile: Profile,
    /// Bytes of one stripe's turn.
    pub stripe_length: u64,
    pub stripes: Vec<Stripe>,
}

/// Where a byte lies: on which stripe, at which byte of the device, and how many bytes follow there without a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub stripe: usize,
    pub physical: u64,
    pub length: u64,
}

impl Chunk {
    /// The chunk of an item, and how many bytes of `item` it takes.
    ///
    /// # Errors
    /// [`Error::Corrupt`] where it contradicts itself; [`Error::Unsupported`] for a profile that is not known.
    pub fn read(key: Key, item: &[u8]) -> Result<(Self, usize)> {
        let fields = Fields::new("a chunk item", item);
        let length = fields.le64(0)?;
        let stripe_length = fields.le64(16)?;
        let kind = fields.le64(24)?;
        let count = usize::from(fields.le16(44)?);
        let sub_stripes = u64::from(fields.le16(46)?);
        let (profile, fits) = match kind & !CONTENT {
            0 => (Profile::Copies, count == 1),
            DUP | RAID1 => (Profile::Copies, count == 2),
            RAID1C3 => (Profile::Copies, count == 3),
            RAID1C4 => (Profile::Copies, count == 4),
            RAID0 => (Profile::Raid0, count >= 1),
            RAID10 => {
                (Profile::Raid10(sub_stripes), sub_stripes == 2 && count >= 2 && count.is_multiple_of(2))
            }
            RAID5 => (Profile::Parity(1), count >= 2),
            RAID6 => (Profile::Parity(2), count >= 3),
            other => return Err(Error::unsupported(format!("the btrfs chunk profile {other:#x}"))),
        };
        if !fits {
            return Err(fields.corrupt(format!("{count} stripes do not fit its profile {kind:#x}")));
        }
        if length == 0 || key.offset.checked_add(length).is_none() {
            return Err(fields.corrupt(format!("{length} bytes at {}", key.offset)));
        }
        if !stripe_length.is_power_of_two() || !(4096..=1 << 30).contains(&stripe_length) {
            return Err(fields.corrupt(format!("stripes of {stripe_length} bytes")));
        }
        let mut stripes = Vec::with_capacity(count.min(64));
        for index in 0..count {
            let at = HEAD + index * STRIPE;
            let offset = fields.le64(at + 8)?;
            // No stripe is longer than the chunk, so that nothing below can overflow.
            if offset.checked_add(length).is_none() {
                return Err(fields.corrupt(format!("a stripe at {offset}")));
            }
            stripes.push(Stripe { device_id: fields.le64(at)?, offset, device_uuid: fields.array(at + 16)? });
        }
        let chunk = Chunk { start: key.offset, length, profile, stripe_length, stripes };
        Ok((chunk, HEAD + count * STRIPE))
    }

    /// The first logical byte after it.
    pub fn end(&self) -> u64 {
        self.start + self.length
    }

    /// How many ways there are to read a byte of it.
    pub fn mirrors(&self) -> usize {
        match self.profile {
            Profile::Copies => self.stripes.len(),
            Profile::Raid0 => 1,
            Profile::Raid10(copies) => copies as usize,
            // Itself, and computed from the rest of its row.
            Profile::Parity(_) => 2,
        }
    }

    /// Where the byte `offset` of the chunk lies in the copy `mirror`, both inside of their bounds.
    pub fn place(&self, offset: u64, mirror: usize) -> Place {
        let (turn, within) = (offset / self.stripe_length, offset % self.stripe_length);
        let count = self.stripes.len() as u64;
        let (stripe, row) = match self.profile {
            Profile::Copies => {
                return Place {
                    stripe: mirror,
                    physical: self.stripes[mirror].offset + offset,
                    length: self.length - offset,
                };
            }
            Profile::Raid0 => (turn % count, turn / count),
            Profile::Raid10(copies) => {
                let groups = count / copies;
                (turn % groups * copies + mirror as u64, turn / groups)
            }
            Profile::Parity(parity) => {
                let data = count - parity;
                let row = turn / data;
                ((row % count + turn % data) % count, row)
            }
        };
        Place {
            stripe: stripe as usize,
            physical: self.stripes[stripe as usize].offset + row * self.stripe_length + within,
            length: (self.stripe_length - within).min(self.length - offset),
        }
    }

    /// For parity profiles: the places of all other data and of the first parity in the row of the byte `offset`. They
    /// all XORed give what [`place`](Self::place) holds.
    pub fn rest_of_row(&self, offset: u64) -> Vec<Place> {
        let Profile::Parity(parity) = self.profile else { return Vec::new() };
        let own = self.place(offset, 0);
        let count = self.stripes.len() as u64;
        let row = offset / self.stripe_length / (count - parity);
        // The last of the row is Q, where there are two parities.
        let second = (parity == 2).then(|| (row % count + count - 1) % count);
        (0..count)
            .filter(|&stripe| stripe != own.stripe as u64 && Some(stripe) != second)
            .map(|stripe| Place {
                stripe: stripe as usize,
                physical: self.stripes[stripe as usize].offset
                    + row * self.stripe_length
                    + offset % self.stripe_length,
                length: own.length,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(profile: Profile, stripes: usize) -> Chunk {
        let stripes = (0..stripes as u64)
            .map(|id| Stripe { device_id: id + 1, offset: id << 20, device_uuid: [0; 16] })
            .collect();
        Chunk { start: 1 << 30, length: 1 << 19, profile, stripe_length: 1 << 16, stripes }
    }

    fn stripes(chunk: &Chunk, mirror: usize) -> Vec<(usize, u64)> {
        (0..6)
            .map(|turn| {
                let place = chunk.place((turn << 16) + 5, mirror);
                assert!(place.length >= (1 << 16) - 5);
                (place.stripe, (place.physical & 0xf_ffff) >> 16)
            })
            .collect()
    }

    #[test]
    fn every_profile_has_its_order_of_stripes() {
        assert_eq!(stripes(&chunk(Profile::Copies, 2), 1)[..2], [(1, 0), (1, 1)]);
        assert_eq!(stripes(&chunk(Profile::Raid0, 3), 0), [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1)]);
        assert_eq!(
            stripes(&chunk(Profile::Raid10(2), 4), 1),
            [(1, 0), (3, 0), (1, 1), (3, 1), (1, 2), (3, 2)]
        );
        // Three devices: data on 0 and 1 with parity on 2; then it turns by one.
        let raid5 = chunk(Profile::Parity(1), 3);
        assert_eq!(stripes(&raid5, 0), [(0, 0), (1, 0), (1, 1), (2, 1), (2, 2), (0, 2)]);
        let rest: Vec<usize> = raid5.rest_of_row(2 << 16).iter().map(|place| place.stripe).collect();
        assert_eq!(rest, [0, 2]);
        let raid6 = chunk(Profile::Parity(2), 4);
        assert_eq!(stripes(&raid6, 0), [(0, 0), (1, 0), (1, 1), (2, 1), (2, 2), (3, 2)]);
        // Row 1: data on 1 and 2, P on 3, Q on 0.
        let rest: Vec<usize> = raid6.rest_of_row(2 << 16).iter().map(|place| place.stripe).collect();
        assert_eq!(rest, [2, 3]);
    }
}
