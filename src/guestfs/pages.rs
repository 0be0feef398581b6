//! Small structures of a device, read through a bounded cache of pages.

use crate::device::{Device, read_vec};
use crate::{Cache, Error, Result};
use std::sync::Arc;

/// A range of a device in pages of one size, the ones used last held in memory.
///
/// For what is small and read often (tables, folder entries). The content of files is never read through it.
pub(crate) struct Pages {
    device: Device,
    base: u64,
    size: u64,
    page: usize,
    held: Cache<u64, Arc<[u8]>>,
}

impl Pages {
    /// The `size` bytes of `device` from byte `base` on, as far as they exist, in pages of `page` bytes (not 0), of
    /// which `budget` bytes may be held.
    pub(crate) fn new(device: Device, base: u64, size: u64, page: usize, budget: usize) -> Self {
        let size = size.min(device.size().saturating_sub(base));
        Pages { device, base, size, page, held: Cache::new(budget.max((page + 64) * 4)) }
    }

    /// The size of a page in bytes; the last one may be shorter.
    pub(crate) fn page_size(&self) -> usize {
        self.page
    }

    /// The page `number`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] past the end, because then a structure pointed there; [`Error::Io`].
    pub(crate) fn page(&self, number: u64) -> Result<Arc<[u8]>> {
        self.held.get_or(number, || {
            let start =
                number.checked_mul(self.page as u64).filter(|start| *start < self.size).ok_or_else(|| {
                    Error::corrupt(
                        "the volume",
                        format!("something points outside of it: page {number} of {} bytes", self.page),
                    )
                })?;
            let length = (self.size - start).min(self.page as u64) as usize;
            let bytes: Arc<[u8]> = read_vec(&*self.device, self.base + start, length)?.into();
            Ok((bytes, length + 64))
        })
    }

    /// Fills `buf` from byte `at` of the range.
    ///
    /// # Errors
    /// As [`page`](Self::page).
    pub(crate) fn read(&self, at: u64, buf: &mut [u8]) -> Result<()> {
        let mut done = 0;
        while done < buf.len() {
            let outside =
                || Error::corrupt("the volume", format!("something points outside of it: byte {at}"));
            let position = at.checked_add(done as u64).ok_or_else(outside)?;
            let page = self.page(position / self.page as u64)?;
            let within = (position % self.page as u64) as usize;
            let part = page.get(within..).filter(|part| !part.is_empty()).ok_or_else(outside)?;
            let length = part.len().min(buf.len() - done);
            buf[done..done + length].copy_from_slice(&part[..length]);
            done += length;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryDevice;

    #[test]
    fn reads_over_pages_and_ends_at_the_end() {
        let device: Device = Arc::new(MemoryDevice((0..=255).collect()));
        let pages = Pages::new(device, 16, 100, 30, 1000);
        let mut buf = [0; 70];
        pages.read(20, &mut buf).unwrap();
        assert_eq!(buf.to_vec(), (36..106).collect::<Vec<u8>>());
        assert!(matches!(pages.read(31, &mut buf), Err(Error::Corrupt { .. })));
        assert!(matches!(pages.read(u64::MAX, &mut buf), Err(Error::Corrupt { .. })));
        assert_eq!(pages.page(3).unwrap().len(), 10);
        assert!(pages.page(4).is_err());
    }
}
