//! Whether two files of one size have the same content, with as little reading as it takes.

use super::{Side, Unchanged, all_unchanged};
use crate::tree::{Node, Tree};
use crate::{Device, Error, GuestFs, NodeId, Origin, Place, Result, Run};
use std::ops::ControlFlow;
use std::sync::Arc;

/// The longest stretch of which it is asked at once whether it is unchanged.
const STRETCH: u64 = 16 << 20;
/// The shortest piece that is read by itself: what is known of disks is known of pieces of this size.
const PIECE: u64 = 64 << 10;
/// What is read at once.
const CHUNK: usize = 256 << 10;

/// Whether two regular files have the same content; `None` where `progress`, which is told the bytes that were read of both
/// together, has ended it.
///
/// # Errors
/// Why one of them can't be read.
pub fn same_content(
    (before, one): (&Tree, Node),
    (after, other): (&Tree, Node),
    known: &dyn Unchanged,
    progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<Option<bool>> {
    let (first, second) = (Opened::new(before, one)?, Opened::new(after, other)?);
    let size = before.stat(one)?.size;
    if size != after.stat(other)?.size {
        return Ok(Some(false));
    }
    let outcome = Work::new(known, progress).compare(&first, &second, size).map_err(|(_, error)| error)?;
    Ok(match outcome {
        Outcome::Same => Some(true),
        Outcome::Different => Some(false),
        Outcome::Stopped => None,
    })
}

/// A file that is open for the comparison.
pub(super) struct Opened {
    fs: Arc<dyn GuestFs>,
    node: NodeId,
    device: Option<Device>,
}

impl Opened {
    pub(super) fn new(tree: &Tree, node: Node) -> Result<Self> {
        let (fs, id) = tree.file(node)?;
        let device = tree.volume_of(node).and_then(|volume| volume.devices.first()).cloned();
        Ok(Opened { fs, node: id, device })
    }

    fn run(&self, offset: u64) -> Result<Run> {
        let short = || Error::corrupt("the file", "it ends before its size");
        self.fs.map(self.node, offset)?.filter(|run| run.length > 0).ok_or_else(short)
    }

    fn fill(&self, place: Place, mut offset: u64, mut buf: &mut [u8]) -> Result<()> {
        if place == Place::Hole {
            buf.fill(0);
            return Ok(());
        }
        while !buf.is_empty() {
            let read = self.fs.read_at(self.node, offset, buf)?;
            if read == 0 {
                return Err(Error::corrupt("the file", "it ends before its size"));
            }
            offset += read as u64;
            buf = &mut buf[read..];
        }
        Ok(())
    }
}

/// What a comparison of contents works with.
pub(super) struct Work<'a> {
    /// What is known of the disks.
    pub(super) known: &'a dyn Unchanged,
    /// Told the bytes that were read, both files together; may end it.
    pub(super) progress: &'a mut dyn FnMut(u64) -> ControlFlow<()>,
    buffers: [Vec<u8>; 2],
    origins: [Vec<Origin>; 2],
}

/// How a comparison ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Same,
    Different,
    Stopped,
}

impl<'a> Work<'a> {
    pub(super) fn new(known: &'a dyn Unchanged, progress: &'a mut dyn FnMut(u64) -> ControlFlow<()>) -> Self {
        Work { known, progress, buffers: Default::default(), origins: Default::default() }
    }

    /// Compares two files of `size` bytes.
    ///
    /// # Errors
    /// Which of the two can't be read, and why.
    pub(super) fn compare(
        &mut self,
        before: &Opened,
        after: &Opened,
        size: u64,
    ) -> Result<Outcome, (Side, Error)> {
        let mut offset = 0;
        while offset < size {
            let one = before.run(offset).map_err(|error| (Side::Before, error))?;
            let other = after.run(offset).map_err(|error| (Side::After, error))?;
            let mut length = one.length.min(other.length).min(size - offset);
            if (one.place, other.place) != (Place::Hole, Place::Hole) {
                length = length.min(STRETCH);
                let outcome = self.stretch(before, after, (one.place, other.place), offset, length)?;
                if outcome != Outcome::Same {
                    return Ok(outcome);
                }
            }
            offset += length;
        }
        Ok(Outcome::Same)
    }

    /// Compares `length` bytes, which are one run in each file; halves what is not unchanged as a whole.
    fn stretch(
        &mut self,
        before: &Opened,
        after: &Opened,
        places: (Place, Place),
        offset: u64,
        length: u64,
    ) -> Result<Outcome, (Side, Error)> {
        if let (Place::Device(one), Place::Device(other)) = places
            && let (Some(first), Some(second)) = (&before.device, &after.device)
        {
            self.origins.iter_mut().for_each(Vec::clear);
            if first.origins(one, length, &mut self.origins[0])
                && second.origins(other, length, &mut self.origins[1])
                && self.origins[0] == self.origins[1]
            {
                if all_unchanged(&self.origins[0], self.known) {
                    return Ok(Outcome::Same);
                }
                if length > PIECE {
                    let half = (length / 2).next_multiple_of(PIECE).min(length - 1);
                    let first = self.stretch(before, after, places, offset, half)?;
                    if first != Outcome::Same {
                        return Ok(first);
                    }
                    let places = (Place::Device(one + half), Place::Device(other + half));
                    return self.stretch(before, after, places, offset + half, length - half);
                }
            }
        }
        self.read(before, after, places, offset, length)
    }

    fn read(
        &mut self,
        before: &Opened,
        after: &Opened,
        places: (Place, Place),
        mut offset: u64,
        length: u64,
    ) -> Result<Outcome, (Side, Error)> {
        let end = offset + length;
        let [one, other] = &mut self.buffers;
        while offset < end {
            let now = (end - offset).min(CHUNK as u64) as usize;
            one.resize(one.len().max(now), 0);
            other.resize(other.len().max(now), 0);
            before.fill(places.0, offset, &mut one[..now]).map_err(|error| (Side::Before, error))?;
            after.fill(places.1, offset, &mut other[..now]).map_err(|error| (Side::After, error))?;
            let read = [places.0, places.1].iter().filter(|place| **place != Place::Hole).count();
            if (self.progress)((read * now) as u64).is_break() {
                return Ok(Outcome::Stopped);
            }
            if one[..now] != other[..now] {
                return Ok(Outcome::Different);
            }
            offset += now as u64;
        }
        Ok(Outcome::Same)
    }
}
