//! Finding a name in a folder that its file system keeps unsorted: an index of hashes, built by one pass over it; and
//! how names are compared where nothing else says so.

use std::hash::{DefaultHasher, Hasher};

/// Hashes of a folder's names, each with the position where its entry begins.
///
/// It only narrows down: whoever asks reads the entry and compares the name.
pub(crate) struct NameIndex {
    /// Sorted by hash, then by position.
    names: Vec<(u32, u32)>,
    /// How many of the entries are folders.
    pub(crate) folders: u32,
}

impl NameIndex {
    /// The index of `names`, pairs of [`hash`] and position.
    pub(crate) fn new(mut names: Vec<(u32, u32)>, folders: u32) -> Self {
        names.sort_unstable();
        names.dedup();
        names.shrink_to_fit();
        NameIndex { names, folders }
    }

    /// The positions of entries whose name may be the one with this hash, in the folder's order.
    pub(crate) fn positions(&self, hash: u32) -> impl Iterator<Item = u32> + '_ {
        let first = self.names.partition_point(|(other, _)| *other < hash);
        self.names[first..].iter().take_while(move |(other, _)| *other == hash).map(|(_, position)| *position)
    }

    /// What it costs to hold, in bytes.
    pub(crate) fn cost(&self) -> usize {
        self.names.len() * size_of::<(u32, u32)>() + 64
    }
}

/// The hash of a name, folded as its file system compares names.
pub(crate) fn hash(folded: &[u8]) -> u32 {
    let mut hasher = DefaultHasher::new();
    hasher.write(folded);
    hasher.finish() as u32
}

/// The only character of a case mapping, where it is one.
pub(crate) fn one(mut mapped: impl Iterator<Item = char>) -> Option<char> {
    mapped.next().filter(|_| mapped.next().is_none())
}

/// A name in capitals, letter by letter: letters whose capital is more than one character stay.
pub(crate) fn fold(name: &[u8]) -> Vec<u8> {
    let mut folded = Vec::with_capacity(name.len());
    let mut buf = [0; 4];
    for chunk in name.utf8_chunks() {
        for character in chunk.valid().chars() {
            let capital = one(character.to_uppercase()).unwrap_or(character);
            folded.extend_from_slice(capital.encode_utf8(&mut buf).as_bytes());
        }
        folded.extend_from_slice(chunk.invalid());
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_all_positions_of_a_hash() {
        let index = NameIndex::new(vec![(7, 3), (1, 1), (7, 2), (9, 4), (7, 2)], 0);
        assert_eq!(index.positions(7).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(index.positions(9).collect::<Vec<_>>(), [4]);
        assert_eq!(index.positions(8).count(), 0);
        assert_eq!(index.cost(), 4 * 8 + 64);
        assert_ne!(hash(b"a"), hash(b"b"));
    }

    #[test]
    fn names_are_compared_in_capitals() {
        assert_eq!(fold("Straße ÄÖü.txt".as_bytes()), "STRAßE ÄÖÜ.TXT".as_bytes());
        assert_eq!(fold(b"a\xffb"), b"A\xffB");
    }
}
