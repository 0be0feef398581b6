//! What a mount shows: one tree, or many by their names.

use guestfs::tree::Tree;
use guestfs::{Result, Timestamp};
use std::sync::Arc;

/// A tree, and whatever keeps it: held for as long as somebody has a file of it open.
pub trait Plant: Send + Sync + 'static {
    /// The tree.
    fn tree(&self) -> &Tree;

    /// Somebody has asked for something of it.
    fn used(&self);
}

/// Many trees, each in a folder of its name.
///
/// A name that stands for a tree once stands for the same tree, with the same nodes, for as long as the forest lives:
/// a tree may be closed in between, and is then opened again by whoever asks for what is in it.
pub trait Forest: Send + Sync + 'static {
    /// The folders as they are now, in the order in which they are to be listed.
    ///
    /// # Errors
    /// Where that can't be told.
    fn groves(&self) -> Result<Vec<Grove>>;

    /// The tree of that name.
    ///
    /// # Errors
    /// [`NotFound`](guestfs::Error::NotFound) where there is none any more; why it can't be opened.
    fn open(&self, name: &str) -> Result<Arc<dyn Plant>>;
}

/// An entry of the top folder of a [`Forest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grove {
    /// One component of a path.
    pub name: String,
    /// The time that its folder is shown with.
    pub time: Timestamp,
    /// The name that it is a symbolic link to, where it is one.
    pub link: Option<String>,
}

/// What a mount shows.
#[derive(Clone)]
pub enum Shown {
    /// One tree.
    One(Arc<dyn Plant>),
    /// Many, by their names.
    Many(Arc<dyn Forest>),
}
