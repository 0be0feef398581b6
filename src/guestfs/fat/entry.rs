//! The entries of a folder: short names, and the entries before them that hold a long one (*FAT32 File System
//! Specification* 1.03, "FAT Directory Structure" and "Long Directory Entries").

use super::code_page;
use super::time::dos_time;
use crate::names::one;
use crate::{Timestamp, wtf8};

const READ_ONLY: u8 = 0x01;
const LABEL: u8 = 0x08;
const FOLDER: u8 = 0x10;
const LONG_NAME: u8 = 0x0F;

/// What the 32 bytes of a slot are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// Nothing, and nothing after it.
    End,
    /// Deleted.
    Free,
    /// A part of a long name.
    Long(LongPart),
    /// The volume's label.
    Label([u8; 11]),
    /// A file or folder.
    Short(Short),
}

impl Slot {
    pub(super) fn parse(bytes: &[u8; 32]) -> Slot {
        match (bytes[0], bytes[11]) {
            (0, _) => Slot::End,
            (0xE5, _) => Slot::Free,
            (_, attributes) if attributes & 0x3F == LONG_NAME => Slot::Long(LongPart::parse(bytes)),
            (_, attributes) if attributes & LABEL != 0 => {
                let mut label = [0; 11];
                label.copy_from_slice(&bytes[..11]);
                Slot::Label(label)
            }
            _ => Slot::Short(Short { bytes: *bytes }),
        }
    }
}

/// A short entry: all that is known of a file but its long name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Short {
    bytes: [u8; 32],
}

impl Short {
    fn le16(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.bytes[at], self.bytes[at + 1]])
    }

    pub(super) fn is_folder(&self) -> bool {
        self.bytes[11] & FOLDER != 0
    }

    pub(super) fn is_read_only(&self) -> bool {
        self.bytes[11] & READ_ONLY != 0
    }

    /// Whether it is one of `.` and `..`.
    pub(super) fn is_dot(&self) -> bool {
        matches!(&self.bytes[..11], b".          " | b"..         ")
    }

    /// The first cluster; 0 where there is none. The upper half of it is something else before FAT32.
    pub(super) fn first_cluster(&self, is_32: bool) -> u32 {
        let upper = if is_32 { u32::from(self.le16(20)) } else { 0 };
        (upper << 16 | u32::from(self.le16(26))) & 0x0FFF_FFFF
    }

    pub(super) fn size(&self) -> u32 {
        u32::from(self.le16(28)) | u32::from(self.le16(30)) << 16
    }

    pub(super) fn modified(&self) -> Timestamp {
        dos_time(self.le16(24), self.le16(22), 0)
    }

    /// Only a date.
    pub(super) fn accessed(&self) -> Timestamp {
        dos_time(self.le16(18), 0, 0)
    }

    /// `None` where nothing was written there, as DOS did.
    pub(super) fn created(&self) -> Option<Timestamp> {
        let date = self.le16(16);
        (date != 0).then(|| dos_time(date, self.le16(14), self.bytes[13].min(199)))
    }

    /// What every part of a long name repeats.
    fn checksum(&self) -> u8 {
        self.bytes[..11].iter().fold(0u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte))
    }

    /// The short name as it is shown: in UTF-8, in small letters where the flags of Windows NT say so. `None` where it
    /// is no name.
    pub(super) fn name(&self) -> Option<Vec<u8>> {
        let mut base = [0; 8];
        base.copy_from_slice(&self.bytes[..8]);
        // 0xE5 would mean that the entry is deleted.
        if base[0] == 0x05 {
            base[0] = 0xE5;
        }
        let mut name = String::new();
        decode(&base, self.bytes[12] & 0x08 != 0, &mut name)?;
        if name.is_empty() {
            return None;
        }
        let before = name.len();
        name.push('.');
        decode(&self.bytes[8..11], self.bytes[12] & 0x10 != 0, &mut name)?;
        if name.len() == before + 1 {
            name.truncate(before);
        }
        (name != "." && name != "..").then(|| name.into_bytes())
    }
}

/// Appends a part of a short name, without the spaces that fill it.
fn decode(bytes: &[u8], small: bool, name: &mut String) -> Option<()> {
    let length = bytes.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
    for &byte in &bytes[..length] {
        if byte < b' ' || byte == b'/' || byte == 0x7F {
            return None;
        }
        let character = code_page::character(byte);
        match (small, one(character.to_lowercase())) {
            (true, Some(small)) => name.push(small),
            _ => name.push(character),
        }
    }
    Some(())
}

/// The label in the root folder or the boot sector, where it is one.
pub(super) fn label(bytes: &[u8; 11]) -> Option<String> {
    let mut label = String::new();
    let mut bytes = *bytes;
    if bytes[0] == 0x05 {
        bytes[0] = 0xE5;
    }
    decode(&bytes, false, &mut label)?;
    (!label.is_empty() && label != "NO NAME").then_some(label)
}

/// Thirteen code units of a long name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LongPart {
    /// Its number from 1, and `0x40` in the last one, which comes first.
    order: u8,
    checksum: u8,
    units: [u16; 13],
}

impl LongPart {
    fn parse(bytes: &[u8; 32]) -> LongPart {
        let mut units = [0; 13];
        for (unit, at) in units.iter_mut().zip([1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30]) {
            *unit = u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        }
        LongPart { order: bytes[0], checksum: bytes[13], units }
    }
}

/// A long name that is being put together.
#[derive(Debug, Default)]
pub(super) struct LongName {
    units: Vec<u16>,
    /// The number of the part that came last; 0 where there was none, or they did not follow each other.
    last: u8,
    checksum: u8,
}

impl LongName {
    /// Whether this part begins a name.
    pub(super) fn begins(part: &LongPart) -> bool {
        part.order & 0x40 != 0
    }

    /// Forgets what came before: the parts were orphaned.
    pub(super) fn clear(&mut self) {
        self.last = 0;
    }

    /// The next part. Parts that don't follow each other are orphans of a name that is gone.
    pub(super) fn push(&mut self, part: &LongPart) {
        let number = part.order & 0x3F;
        if LongName::begins(part) {
            // At most 255 code units, in parts of 13.
            if !(1..=20).contains(&number) {
                return self.clear();
            }
            self.units = vec![0; usize::from(number) * 13];
            self.checksum = part.checksum;
        } else if self.last < 2 || number != self.last - 1 || part.checksum != self.checksum {
            return self.clear();
        }
        self.last = number;
        let at = (usize::from(number) - 1) * 13;
        self.units[at..at + 13].copy_from_slice(&part.units);
    }

    /// The long name of `short`, which follows the parts, and forgets it. `None` where the parts are not whole, belong
    /// to another entry, or make no name that can be shown: then the short name is the file's name.
    pub(super) fn take(&mut self, short: &Short) -> Option<Vec<u8>> {
        let whole = self.last == 1 && self.checksum == short.checksum();
        self.clear();
        if !whole {
            return None;
        }
        let length = self.units.iter().position(|unit| *unit == 0).unwrap_or(self.units.len());
        if length == 0 || length > 255 {
            return None;
        }
        let name = wtf8::from_utf16(self.units[..length].iter().copied());
        (!name.contains(&b'/') && name != b"." && name != b"..").then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(name: &[u8; 11], attributes: u8, flags: u8) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[..11].copy_from_slice(name);
        bytes[11] = attributes;
        bytes[12] = flags;
        bytes
    }

    fn shown(name: &[u8; 11], flags: u8) -> Option<String> {
        match Slot::parse(&short(name, 0x20, flags)) {
            Slot::Short(short) => short.name().map(|name| String::from_utf8(name).unwrap()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn short_names_are_shown_as_linux_shows_them() {
        for (name, flags, expected) in [
            (b"README  TXT", 0, Some("README.TXT")),
            (b"README  TXT", 0x18, Some("readme.txt")),
            (b"README  TXT", 0x08, Some("readme.TXT")),
            (b"README  TXT", 0x10, Some("README.txt")),
            (b"NOEXT      ", 0, Some("NOEXT")),
            (b"A B     C  ", 0, Some("A B.C")),
            (b"\x9ABER    \x8E  ", 0, Some("ÜBER.Ä")),
            (b"\x9ABER    \x8E  ", 0x18, Some("über.ä")),
            (b"\x05BC        ", 0, Some("σBC")),
            (b"        TXT", 0, None),
            (b"A/B        ", 0, None),
            (b"A\x01B        ", 0, None),
            (b"..         ", 0, None),
        ] {
            assert_eq!(shown(name, flags).as_deref(), expected, "{name:?}");
        }
    }

    #[test]
    fn slots_are_told_apart() {
        assert_eq!(Slot::parse(&[0; 32]), Slot::End);
        assert_eq!(Slot::parse(&short(b"\xE5EADME  TXT", 0x20, 0)), Slot::Free);
        assert_eq!(Slot::parse(&short(b"MY DISK    ", 0x08, 0)), Slot::Label(*b"MY DISK    "));
        assert!(matches!(
            Slot::parse(&short(b"\x41\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", 0x0F, 0)),
            Slot::Long(_)
        ));
        assert_eq!(label(b"MY DISK    ").as_deref(), Some("MY DISK"));
        assert_eq!((label(b"NO NAME    "), label(b"           ")), (None, None));
    }

    #[test]
    fn numbers_of_an_entry() {
        let mut bytes = short(b"FILE       ", 0x31, 0);
        bytes[13..32].copy_from_slice(&[
            150, 0x20, 0x08, 0x21, 0, 0x22, 0, 0x34, 0xF2, 0x40, 0x08, 0x23, 0, 0x78, 0x56, 1, 2, 3, 4,
        ]);
        let Slot::Short(entry) = Slot::parse(&bytes) else { panic!() };
        assert!(entry.is_folder() && entry.is_read_only() && !entry.is_dot());
        assert_eq!((entry.first_cluster(true), entry.first_cluster(false)), (0x0234_5678, 0x5678));
        assert_eq!(entry.size(), 0x0403_0201);
        let day = |n: i64| 315_532_800 + n * 86400;
        assert_eq!(entry.created(), Some(Timestamp { seconds: day(0) + 3661, nanos: 500_000_000 }));
        assert_eq!(entry.accessed(), Timestamp { seconds: day(1), nanos: 0 });
        assert_eq!(entry.modified(), Timestamp { seconds: day(2) + 3720, nanos: 0 });
    }

    /// The slots of `name` for `short`, as Windows writes them.
    fn parts(name: &[u16], short: &Short) -> Vec<LongPart> {
        let mut units = name.to_vec();
        if !name.len().is_multiple_of(13) {
            units.push(0);
        }
        units.resize(name.len().div_ceil(13) * 13, 0xFFFF);
        let count = units.len() / 13;
        (1..=count)
            .rev()
            .map(|number| LongPart {
                order: number as u8 | if number == count { 0x40 } else { 0 },
                checksum: short.checksum(),
                units: units[(number - 1) * 13..number * 13].try_into().unwrap(),
            })
            .collect()
    }

    fn take(parts: &[LongPart], short: &Short) -> Option<String> {
        let mut name = LongName::default();
        parts.iter().for_each(|part| name.push(part));
        name.take(short).map(|name| String::from_utf8(name).unwrap())
    }

    #[test]
    fn long_names_belong_to_the_entry_behind_them() {
        let Slot::Short(entry) = Slot::parse(&short(b"LANGER~1TXT", 0x20, 0)) else { panic!() };
        let Slot::Short(other) = Slot::parse(&short(b"LANGER~2TXT", 0x20, 0)) else { panic!() };
        for length in [1, 12, 13, 14, 26, 254, 255] {
            let text: String = "é€x".chars().cycle().take(length).collect();
            let units: Vec<u16> = text.encode_utf16().collect();
            assert_eq!(take(&parts(&units, &entry), &entry), Some(text));
        }
        let units: Vec<u16> = "a name of three parts, nearly".encode_utf16().collect();
        assert_eq!(take(&parts(&units, &entry), &other), None, "another checksum");
        let mut gap = parts(&units, &entry);
        gap.remove(1);
        assert_eq!(take(&gap, &entry), None, "a part is missing");
        let mut end = parts(&units, &entry);
        end.pop();
        assert_eq!(take(&end, &entry), None, "the first part is missing");
        let mut start = parts(&units, &entry);
        start.remove(0);
        assert_eq!(take(&start, &entry), None, "the beginning is missing");
        let mut twice = parts(&[0x41; 20], &entry);
        twice.extend(parts(&units, &entry));
        assert_eq!(
            take(&twice, &entry).as_deref(),
            Some("a name of three parts, nearly"),
            "orphans before it"
        );
        for name in ["..", ".", "a/b"] {
            assert_eq!(
                take(&parts(&name.encode_utf16().collect::<Vec<_>>(), &entry), &entry),
                None,
                "{name}"
            );
        }
        assert_eq!(take(&parts(&[0x41; 256], &entry), &entry), None, "too long");
    }
}
