//! The contents of many files one after the other, for who takes them out of a session: one request instead of one a
//! file.
//!
//! Files are named by the numbers that a listing gave them. One that can't be read ends with why, and the next follows.

use super::Session;
use super::entry::node_of;
use crate::{Error, Hub, Result};
use api::{FRAME_HEAD, MAX_CONTENTS, MAX_FRAME, data_head, end_frame, failed_frame};
use guestfs::FileKind;
use guestfs::tree::Node;
use std::io;
use std::sync::Arc;

/// A frame is not made much smaller than that, where the file has so many bytes.
const WORTH_A_FRAME: usize = 16 << 10;

/// What takes a stream: it hands out the room for the next bytes, so that they are read to where they leave from.
pub trait Outlet {
    /// Room for at least `least` bytes, which are at most 64 KiB.
    ///
    /// # Errors
    /// Where nobody takes the stream any more.
    fn room(&mut self, least: usize) -> io::Result<&mut [u8]>;

    /// So many bytes of the room that was handed out last are filled.
    fn advance(&mut self, count: usize);
}

/// Files that are to be sent.
pub struct PreparedContents {
    session: Arc<Session>,
    nodes: Vec<Node>,
}

impl Hub {
    /// Prepares the contents of the files of those numbers.
    ///
    /// # Errors
    /// No such session; what is no number; too many.
    pub async fn contents(&self, id: &str, nodes: &[String]) -> Result<PreparedContents> {
        let session = self.session(id).await?;
        if nodes.len() > MAX_CONTENTS {
            return Err(Error::invalid("nodes", format!("nodes: at most {MAX_CONTENTS} files at once")));
        }
        let number = |text: &String| {
            node_of(text)
                .ok_or_else(|| Error::invalid("nodes", format!("nodes: {text} is no node of a listing")))
        };
        let nodes = nodes.iter().map(number).collect::<Result<Vec<_>>>()?;
        Ok(PreparedContents { session, nodes })
    }
}

impl PreparedContents {
    /// Sends them, as [`api::Frames`] reads them.
    ///
    /// # Errors
    /// Where nobody takes them any more.
    pub fn write(self, out: &mut dyn Outlet) -> io::Result<()> {
        for &node in &self.nodes {
            match send(&self.session, node, out)? {
                Ok(()) => put(out, &end_frame())?,
                Err(error) => put(out, &failed_frame(&error.to_string()))?,
            }
        }
        self.session.times().touch();
        Ok(())
    }
}

fn put(out: &mut dyn Outlet, bytes: &[u8]) -> io::Result<()> {
    out.room(bytes.len())?[..bytes.len()].copy_from_slice(bytes);
    out.advance(bytes.len());
    Ok(())
}

fn send(session: &Session, node: Node, out: &mut dyn Outlet) -> io::Result<guestfs::Result<()>> {
    let stat = match session.tree.stat(node) {
        Ok(stat) => stat,
        Err(error) => return Ok(Err(error)),
    };
    if stat.kind != FileKind::File {
        return Ok(Err(guestfs::Error::Unsupported("it is no regular file".into())));
    }
    let (fs, id) = match session.tree.file(node) {
        Ok(file) => file,
        Err(error) => return Ok(Err(error)),
    };
    let mut offset = 0;
    while offset < stat.size {
        let left = usize::try_from(stat.size - offset).unwrap_or(usize::MAX);
        let room = out.room(FRAME_HEAD + left.min(WORTH_A_FRAME))?;
        let count = left.min(room.len() - FRAME_HEAD).min(MAX_FRAME);
        let (head, rest) = room.split_at_mut(FRAME_HEAD);
        match fs.read_at(id, offset, &mut rest[..count]) {
            Ok(read) if read == count => {}
            Ok(_) => return Ok(Err(guestfs::Error::corrupt("the file", "it ends before its size"))),
            Err(error) => return Ok(Err(error)),
        }
        head.copy_from_slice(&data_head(count as u32));
        out.advance(FRAME_HEAD + count);
        offset += count as u64;
    }
    Ok(Ok(()))
}
