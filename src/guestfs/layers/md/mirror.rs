//! A leg that knows its bad blocks, and other legs that hold the same.

use crate::device::{self, Device, ReadAt};
use std::io;
use std::ops::Range;

/// The legs of a mirror, in the order in which they are asked. One leg alone is a device with bad blocks.
pub struct Mirror {
    legs: Vec<Leg>,
    size: u64,
}

/// One copy of the bytes.
pub struct Leg {
    /// The member.
    pub device: Device,
    /// Where its data begins.
    pub start: u64,
    /// What of the member is known to be bad.
    pub bad: Vec<Range<u64>>,
}

impl Mirror {
    /// `size` bytes, the same on all legs.
    pub fn new(legs: Vec<Leg>, size: u64) -> Self {
        Mirror { legs, size }
    }
}

impl Leg {
    fn is_good(&self, range: &Range<u64>) -> bool {
        self.bad.iter().all(|bad| bad.end <= range.start || range.end <= bad.start)
    }
}

impl ReadAt for Mirror {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        device::check_range(offset, buf.len(), self.size)?;
        for leg in &self.legs {
            let Some(start) = leg.start.checked_add(offset) else { continue };
            let Some(end) = start.checked_add(buf.len() as u64) else { continue };
            if leg.is_good(&(start..end)) {
                return leg.device.read_at(buf, start);
            }
        }
        Err(io::Error::other(format!("{} bytes at {offset} are among the known bad blocks", buf.len())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryDevice;
    use std::sync::Arc;

    #[test]
    fn bad_blocks_are_read_from_another_leg_or_not_at_all() {
        let leg = |byte: u8, bad: &[Range<u64>]| {
            let device = Arc::new(MemoryDevice(vec![byte; 100]));
            Leg { device, start: 10, bad: bad.to_vec() }
        };
        let mirror =
            Mirror::new(vec![leg(1, std::slice::from_ref(&(20..30))), leg(2, &[25..40, 60..61])], 80);
        let mut buf = [0; 5];
        mirror.read_at(&mut buf, 0).unwrap();
        assert_eq!(buf, [1; 5]);
        mirror.read_at(&mut buf, 8).unwrap();
        assert_eq!(buf, [2; 5]);
        assert!(mirror.read_at(&mut buf, 16).is_err());
        assert!(mirror.read_at(&mut buf, 76).is_err());
    }
}
