//! Listing a folder for the kernel: positions, `.` and `..`, and entries whose data can't be read.
//!
//! The kernel's position 1 is after `.`, 2 after `..`, and `n + 2` after the entry whose own next position is `n`.

use crate::inodes::Item;
use guestfs::FileKind;
use guestfs::tree::{Node, Tree};
use std::ops::ControlFlow;

/// How far positions are shifted by `.` and `..`.
const SHIFT: u64 = 2;
/// The longest name that the kernel takes (`FUSE_NAME_MAX`).
const MAX_NAME: usize = 1024;

/// An entry on its way to the kernel.
pub(crate) struct Listed<'a> {
    pub(crate) name: &'a [u8],
    /// `None` for `.` and `..`.
    pub(crate) item: Option<Item>,
    /// Where it is known without a look at it.
    pub(crate) kind: Option<FileKind>,
    /// The position after it.
    pub(crate) next: u64,
}

/// Visits `.` and `..`, as far as they come after `from`; true where `visit` has had enough.
pub(crate) fn dots(from: u64, visit: &mut dyn FnMut(Listed<'_>) -> ControlFlow<()>) -> bool {
    let dots: [(&[u8], u64); 2] = [(b".", 1), (b"..", 2)];
    for (name, next) in dots {
        let dot = Listed { name, item: None, kind: Some(FileKind::Directory), next };
        if from < next && visit(dot).is_break() {
            return true;
        }
    }
    false
}

/// Visits the entries of a folder of a tree from the kernel's position `from`.
///
/// # Errors
/// Why it can't be read on, after all that can be were visited.
pub(crate) fn of_tree(
    number: u32,
    tree: &Tree,
    dir: Node,
    from: u64,
    visit: &mut dyn FnMut(Listed<'_>) -> ControlFlow<()>,
) -> guestfs::Result<()> {
    tree.readdir(dir, from.saturating_sub(SHIFT), &mut |entry| {
        if entry.name.len() > MAX_NAME {
            tracing::warn!(bytes = entry.name.len(), "a name is longer than this system shows");
            return ControlFlow::Continue(());
        }
        visit(Listed {
            name: entry.name,
            item: Some(Item::Node(number, entry.node)),
            kind: entry.kind,
            next: entry.next.saturating_add(SHIFT),
        })
    })
}

/// The kernel's position after the entry of the top folder that has the name of that number.
pub(crate) fn after_name(number: u32) -> u64 {
    u64::from(number) + 1 + SHIFT
}
