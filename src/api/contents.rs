//! The contents of several files in one stream, as `POST /restore/{mount_id}/contents` sends them.
//!
//! A stream is frames: one byte that tells which, the length of what follows in four bytes (least significant first),
//! and that many bytes. For each file, in the order of the request, come frames with its bytes (1), and then either its
//! end (2, empty) or why it could not be read to its end (3, UTF-8). A stream that ends before the last file has ended
//! was cut off.

use bytes::{Buf, Bytes, BytesMut};

/// The media type.
pub const CONTENTS_TYPE: &str = "application/vnd.sendense.contents";
/// Bytes before what a frame holds.
pub const FRAME_HEAD: usize = 5;
/// The most bytes that a frame holds.
pub const MAX_FRAME: usize = 1 << 20;

/// The most bytes of a reason that are sent.
const MAX_REASON: usize = 4096;

const DATA: u8 = 1;
const END: u8 = 2;
const FAILED: u8 = 3;

/// The head of a frame of `length` bytes of a file.
pub fn data_head(length: u32) -> [u8; FRAME_HEAD] {
    head(DATA, length)
}

/// The frame that ends a file.
pub fn end_frame() -> [u8; FRAME_HEAD] {
    head(END, 0)
}

/// The frame that ends a file that can't be read.
pub fn failed_frame(why: &str) -> Vec<u8> {
    let why = String::from_utf8_lossy(&why.as_bytes()[..why.len().min(MAX_REASON)]);
    [&head(FAILED, why.len() as u32)[..], why.as_bytes()].concat()
}

fn head(kind: u8, length: u32) -> [u8; FRAME_HEAD] {
    let [a, b, c, d] = length.to_le_bytes();
    [kind, a, b, c, d]
}

/// A part of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Bytes of the file, not all of them at once.
    Data(Bytes),
    /// The file has ended; the next begins.
    End,
    /// It can't be read to its end, and why; the next begins.
    Failed(String),
}

/// What comes is not this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stream of contents is damaged")]
pub struct Damaged;

/// Takes a stream apart as it comes. Holds no more than what it was given last and one reason.
#[derive(Debug, Default)]
pub struct Frames {
    /// What was given and not read.
    given: Bytes,
    /// The beginning of a head or of a reason, whose rest has not come.
    kept: BytesMut,
    /// Bytes of the file that are still to come in this frame.
    left: usize,
}

impl Frames {
    /// Gives it the next bytes. What was given before must have been taken: until [`take`](Self::take) had nothing.
    pub fn give(&mut self, bytes: Bytes) {
        debug_assert!(self.given.is_empty());
        self.given = bytes;
    }

    /// The next part of what was given; `None` where more must come first.
    ///
    /// # Errors
    /// [`Damaged`].
    pub fn take(&mut self) -> Result<Option<Frame>, Damaged> {
        loop {
            if self.given.is_empty() {
                return Ok(None);
            }
            if self.left > 0 {
                let count = self.left.min(self.given.len());
                self.left -= count;
                return Ok(Some(Frame::Data(self.given.split_to(count))));
            }
            if !self.keep(FRAME_HEAD) {
                return Ok(None);
            }
            let [kind, a, b, c, d] =
                <[u8; FRAME_HEAD]>::try_from(&self.kept[..FRAME_HEAD]).map_err(|_| Damaged)?;
            let length = u32::from_le_bytes([a, b, c, d]) as usize;
            if length > MAX_FRAME {
                return Err(Damaged);
            }
            match kind {
                DATA => {
                    self.kept.clear();
                    self.left = length;
                }
                END if length == 0 => {
                    self.kept.clear();
                    return Ok(Some(Frame::End));
                }
                FAILED => {
                    if !self.keep(FRAME_HEAD + length) {
                        return Ok(None);
                    }
                    let why = String::from_utf8_lossy(&self.kept[FRAME_HEAD..]).into_owned();
                    self.kept.clear();
                    return Ok(Some(Frame::Failed(why)));
                }
                _ => return Err(Damaged),
            }
        }
    }

    /// Keeps so many bytes together, as far as they have come.
    fn keep(&mut self, count: usize) -> bool {
        let take = count.saturating_sub(self.kept.len()).min(self.given.len());
        self.kept.extend_from_slice(&self.given[..take]);
        self.given.advance(take);
        self.kept.len() >= count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(stream: &[u8], step: usize) -> Result<Vec<Frame>, Damaged> {
        let mut frames = Frames::default();
        let mut read = Vec::new();
        for part in stream.chunks(step) {
            frames.give(Bytes::copy_from_slice(part));
            while let Some(frame) = frames.take()? {
                match (read.last_mut(), frame) {
                    (Some(Frame::Data(before)), Frame::Data(more)) => {
                        *before = [&before[..], &more[..]].concat().into()
                    }
                    (_, frame) => read.push(frame),
                }
            }
        }
        Ok(read)
    }

    #[test]
    fn a_stream_is_the_same_however_it_is_cut() {
        let mut stream = Vec::new();
        stream.extend(data_head(5));
        stream.extend(b"hello");
        stream.extend(end_frame());
        stream.extend(end_frame());
        stream.extend(failed_frame("it is damaged: ü"));
        stream.extend(data_head(3));
        stream.extend(b"abc");
        stream.extend(failed_frame(""));
        let expected = vec![
            Frame::Data(Bytes::from_static(b"hello")),
            Frame::End,
            Frame::End,
            Frame::Failed("it is damaged: ü".to_owned()),
            Frame::Data(Bytes::from_static(b"abc")),
            Frame::Failed(String::new()),
        ];
        for step in 1..=stream.len() {
            assert_eq!(read(&stream, step), Ok(expected.clone()), "in parts of {step}");
        }
        for bad in
            [&[0u8, 0, 0, 0, 0][..], &[2, 1, 0, 0, 0, 0], &[1, 0, 0, 0, 255], &[3, 0, 0, 0, 255], &[9; 9]]
        {
            assert_eq!(read(bad, 3), Err(Damaged), "{bad:?}");
        }
    }
}
