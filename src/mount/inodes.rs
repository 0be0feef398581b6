//! Inode numbers: which file of which tree the kernel means.
//!
//! Almost every number is made of what it names: a *space* (a view of a tree, and a subvolume in it) in the upper bits
//! and the guest's own inode number in the lower 48. Such numbers cost no memory, and are still right after a tree was
//! closed and opened again. The first space is 0, so that the files of a guest's root file system have the inode numbers
//! that they have there. What does not fit (an exFAT file's place, the root of a view) is in a table with the kernel's
//! count of lookups, and leaves it when the kernel forgets the last of them.
//!
//! Both tables are bounded: beyond their bounds a lookup is an error.

use guestfs::tree::Node;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The number of the top folder, by the protocol.
pub(crate) const TOP: u64 = 1;
/// Numbers of entries that were listed and not looked up, where looking up would cost an entry of the table.
pub(crate) const UNKNOWN: u64 = 0xffff_ffff;

/// Bits of the guest's own number.
const GUEST_BITS: u32 = 48;
const GUEST_MASK: u64 = (1 << GUEST_BITS) - 1;
/// How many spaces there can be: the numbers of the table begin above.
const MAX_SPACES: usize = 1 << 15;
/// The first number of the table.
const FIRST_IN_TABLE: u64 = 1 << 63;
/// The most files that the kernel may hold that are in the table.
const MAX_TABLE: usize = 1 << 20;
/// The most trees that one mount has ever shown.
const MAX_TREES: usize = 1 << 20;

/// What a number means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Item {
    /// The top folder of a forest.
    Top,
    /// The folder or link of a name in a forest, by the number of that name.
    Grove(u32),
    /// A node of a tree, by the number of the tree's name; 0 where there is one tree only.
    Node(u32, Node),
}

/// A part of a tree whose inode numbers are unique.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Space {
    tree: u32,
    view: u32,
    subvolume: u64,
}

#[derive(Default)]
struct State {
    spaces: Vec<Space>,
    numbers: HashMap<Space, u16>,
    table: HashMap<u64, Entry>,
    by_item: HashMap<Item, u64>,
    next: u64,
    names: Vec<String>,
    name_numbers: HashMap<String, u32>,
}

struct Entry {
    item: Item,
    lookups: u64,
}

/// All numbers of a mount.
#[derive(Default)]
pub(crate) struct Inodes {
    state: Mutex<State>,
}

/// The tables are full.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Inodes {
    /// What a number means; `None` where the kernel was never given it, or has forgotten it.
    pub(crate) fn item(&self, number: u64) -> Option<Item> {
        let state = self.lock();
        if number >= FIRST_IN_TABLE {
            return state.table.get(&number).map(|entry| entry.item);
        }
        let space = state.spaces.get(usize::try_from(number >> GUEST_BITS).ok()?)?;
        let id = guestfs::NodeId { tree: space.subvolume, inode: number & GUEST_MASK };
        Some(Item::Node(space.tree, Node { fs: space.view, id }))
    }

    /// The number of what the kernel looks up: counted, where it is in the table.
    pub(crate) fn looked_up(&self, item: Item) -> Result<u64, Full> {
        let mut state = self.lock();
        if let Some(number) = state.packed(item) {
            return Ok(number);
        }
        if let Some(number) = state.by_item.get(&item).copied() {
            if let Some(entry) = state.table.get_mut(&number) {
                entry.lookups = entry.lookups.saturating_add(1);
            }
            return Ok(number);
        }
        if state.table.len() >= MAX_TABLE {
            return Err(Full);
        }
        let number = FIRST_IN_TABLE + state.next;
        state.next += 1;
        state.table.insert(number, Entry { item, lookups: 1 });
        state.by_item.insert(item, number);
        Ok(number)
    }

    /// The number of what is only listed.
    pub(crate) fn listed(&self, item: Item) -> u64 {
        let mut state = self.lock();
        state.packed(item).or_else(|| state.by_item.get(&item).copied()).unwrap_or(UNKNOWN)
    }

    /// The kernel gives so many lookups back.
    pub(crate) fn forget(&self, number: u64, lookups: u64) {
        let mut state = self.lock();
        let Some(entry) = state.table.get_mut(&number) else { return };
        entry.lookups = entry.lookups.saturating_sub(lookups);
        if entry.lookups == 0 {
            let item = entry.item;
            state.table.remove(&number);
            state.by_item.remove(&item);
        }
    }

    /// The number of a name of a forest: the same each time.
    pub(crate) fn name_number(&self, name: &str) -> Result<u32, Full> {
        let mut state = self.lock();
        if let Some(number) = state.name_numbers.get(name) {
            return Ok(*number);
        }
        let number = u32::try_from(state.names.len()).map_err(|_| Full)?;
        if state.names.len() >= MAX_TREES {
            return Err(Full);
        }
        state.names.push(name.to_owned());
        state.name_numbers.insert(name.to_owned(), number);
        Ok(number)
    }

    /// The name of that number.
    pub(crate) fn name(&self, number: u32) -> Option<String> {
        self.lock().names.get(number as usize).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in here would have left whole entries or none.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The number that is made of what it names.
    fn packed(&mut self, item: Item) -> Option<u64> {
        let Item::Node(tree, node) = item else { return None };
        if node.id.inode > GUEST_MASK {
            return None;
        }
        let space = Space { tree, view: node.fs, subvolume: node.id.tree };
        let index = match self.numbers.get(&space) {
            Some(index) => *index,
            None if self.spaces.len() >= MAX_SPACES => return None,
            None => {
                let index = u16::try_from(self.spaces.len()).ok()?;
                self.spaces.push(space);
                self.numbers.insert(space, index);
                index
            }
        };
        let number = u64::from(index) << GUEST_BITS | node.id.inode;
        // These two mean something else.
        (number > TOP && number != UNKNOWN).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use guestfs::NodeId;

    fn node(fs: u32, tree: u64, inode: u64) -> Item {
        Item::Node(0, Node { fs, id: NodeId { tree, inode } })
    }

    #[test]
    fn the_first_space_has_the_guests_own_numbers_and_all_numbers_lead_back() {
        let inodes = Inodes::default();
        assert_eq!(inodes.looked_up(node(0, 0, 12)), Ok(12));
        let items = [
            node(0, 0, 12),
            node(1, 0, 12),
            node(0, 5, 12),
            node(0, 0, GUEST_MASK),
            node(0, 0, GUEST_MASK + 1),
            node(0, 0, 0),
            node(0, 0, 1),
            node(0, 0, UNKNOWN),
            node(u32::MAX, u64::MAX, u64::MAX),
            Item::Grove(0),
            Item::Node(1, Node { fs: 0, id: NodeId { tree: 0, inode: 12 } }),
        ];
        let numbers: Vec<u64> = items.iter().map(|item| inodes.looked_up(*item).unwrap()).collect();
        for (number, item) in numbers.iter().zip(&items) {
            assert_eq!(inodes.item(*number), Some(*item));
            assert!(*number > TOP && *number != UNKNOWN, "{item:?}");
            assert_eq!(inodes.listed(*item), *number);
        }
        let mut unique = numbers.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), numbers.len());
    }

    #[test]
    fn what_is_in_the_table_leaves_it_with_its_last_lookup_and_its_number_is_never_used_again() {
        let inodes = Inodes::default();
        let item = node(0, 0, u64::MAX);
        assert_eq!(inodes.listed(item), UNKNOWN);
        let number = inodes.looked_up(item).unwrap();
        assert_eq!(inodes.looked_up(item), Ok(number));
        inodes.forget(number, 1);
        assert_eq!(inodes.item(number), Some(item));
        inodes.forget(number, 1);
        assert_eq!(inodes.item(number), None);
        assert_ne!(inodes.looked_up(item), Ok(number));
        // Nothing that was never given out means anything, and forgetting too often does no harm.
        inodes.forget(number, u64::MAX);
        for number in [0, 1 << 50, FIRST_IN_TABLE + 77, u64::MAX] {
            assert_eq!(inodes.item(number), None, "{number:x}");
        }
    }

    #[test]
    fn spaces_are_bounded_and_what_comes_after_goes_to_the_table() {
        let inodes = Inodes::default();
        for tree in 0..MAX_SPACES as u64 + 10 {
            let item = node(0, tree, 300);
            let number = inodes.looked_up(item).unwrap();
            assert_eq!(inodes.item(number), Some(item));
            assert_eq!(number >= FIRST_IN_TABLE, tree >= MAX_SPACES as u64);
        }
    }

    #[test]
    fn a_name_keeps_its_number() {
        let inodes = Inodes::default();
        assert_eq!(inodes.name_number("a"), Ok(0));
        assert_eq!(inodes.name_number("b"), Ok(1));
        assert_eq!(inodes.name_number("a"), Ok(0));
        assert_eq!(inodes.name(1).as_deref(), Some("b"));
        assert_eq!(inodes.name(2), None);
    }
}
