//! The volumes of a tree: each is opened when somebody enters it, at most once, and what went wrong is kept.

use crate::layers::Inventory;
use crate::{Content, Error, GuestFs, OpenOptions, Result, Volume};
use std::sync::{Arc, OnceLock};

/// Opens a volume's file system.
type Opener = Box<dyn Fn(&Volume) -> Result<Arc<dyn GuestFs>> + Send + Sync>;

/// All volumes of a point, and the file systems of those that were entered.
pub(crate) struct Volumes {
    list: Vec<Volume>,
    opener: Opener,
    opened: Vec<OnceLock<Result<Arc<dyn GuestFs>>>>,
}

impl Volumes {
    /// The volumes of an inventory, which are opened with `options`.
    pub(crate) fn new(inventory: Inventory, options: OpenOptions) -> Self {
        let list = inventory.volumes.clone();
        Volumes::with(list, Box::new(move |volume| inventory.open(&volume.id, &options)))
    }

    /// `list`, opened by `opener`.
    pub(crate) fn with(list: Vec<Volume>, opener: Opener) -> Self {
        let opened = list.iter().map(|_| OnceLock::new()).collect();
        Volumes { list, opener, opened }
    }

    /// All of them, in the inventory's order.
    pub(crate) fn list(&self) -> &[Volume] {
        &self.list
    }

    /// The position of the volume `id`.
    pub(crate) fn position(&self, id: &str) -> Option<usize> {
        self.list.iter().position(|volume| volume.id == id)
    }

    /// The file system of the volume at `position`, opened now if it was not before.
    ///
    /// # Errors
    /// Why it can't be opened: the same each time.
    pub(crate) fn open(&self, position: usize) -> Result<Arc<dyn GuestFs>> {
        let (Some(volume), Some(slot)) = (self.list.get(position), self.opened.get(position)) else {
            return Err(Error::NotFound);
        };
        let opened = slot.get_or_init(|| match &volume.content {
            Content::FileSystem(_) => (self.opener)(volume),
            other => Err(refusal(other)),
        });
        opened.as_ref().map(Arc::clone).map_err(Error::again)
    }

    /// What became of the volume at `position`; `None` where nobody has entered it.
    pub(crate) fn opened(&self, position: usize) -> Option<&Result<Arc<dyn GuestFs>>> {
        self.opened.get(position)?.get()
    }
}

/// Why there is no file system in what a volume holds.
pub(crate) fn refusal(content: &Content) -> Error {
    match content {
        Content::FileSystem(recognised) => Error::unsupported(recognised.kind),
        Content::Swap { .. } => {
            Error::unsupported("a swap space has no files, and reading it as a file system")
        }
        Content::Member(of) => {
            Error::unsupported(format!("it is a part of something else ({of}), and reading it alone"))
        }
        Content::Locked { kind, reason, .. } => Error::Encrypted(format!("{kind} ({reason}): the volume")),
        Content::Refused(what) => Error::unsupported(what),
        Content::Damaged(what) => Error::corrupt("the volume", what),
        Content::Unknown => Error::unsupported("the volume's content is not known, and reading it"),
    }
}
