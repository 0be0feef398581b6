//! Tests: hives made cell by cell, with all kinds of lists, and damaged ones.

use super::{Hive, Kind, Value};
use crate::{Error, MemoryDevice};
use proptest::prelude::*;
use std::sync::Arc;

/// How the subkeys of a key are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lists {
    Li,
    Lf,
    Lh,
    /// `ri` over lists of the three kinds.
    Ri,
}

/// A hive while it is made.
pub(crate) struct Maker {
    cells: Vec<u8>,
    lists: Lists,
}

/// A key with its values and subkeys.
#[derive(Default)]
pub(crate) struct Made {
    pub(crate) name: String,
    pub(crate) values: Vec<(String, u32, Vec<u8>)>,
    pub(crate) subkeys: Vec<Made>,
}

impl Made {
    pub(crate) fn new(name: &str) -> Self {
        Made { name: name.into(), ..Made::default() }
    }

    pub(crate) fn value(mut self, name: &str, kind: u32, data: &[u8]) -> Self {
        self.values.push((name.into(), kind, data.to_vec()));
        self
    }

    pub(crate) fn text(self, name: &str, text: &str) -> Self {
        let data: Vec<u8> = text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
        self.value(name, 1, &data)
    }

    pub(crate) fn key(mut self, key: Made) -> Self {
        self.subkeys.push(key);
        self
    }

    /// The bytes of a hive with this root key.
    pub(crate) fn hive(&self, lists: Lists) -> Vec<u8> {
        // The first 32 bytes are the header of the bin.
        let mut maker = Maker { cells: vec![0; 32], lists };
        let root = maker.key(self);
        while !maker.cells.len().is_multiple_of(4096) {
            maker.cells.push(0);
        }
        let size = maker.cells.len() as u32;
        maker.cells[..4].copy_from_slice(b"hbin");
        maker.cells[8..12].copy_from_slice(&size.to_le_bytes());
        let mut bytes = vec![0; 4096];
        bytes[..4].copy_from_slice(b"regf");
        for (at, value) in [(4, 7u32), (8, 7), (20, 1), (24, 5), (32, 1), (36, root), (40, size), (44, 1)] {
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        seal(&mut bytes);
        bytes.extend(maker.cells);
        bytes
    }
}

/// Puts the checksum of the base block in its place.
pub(crate) fn seal(bytes: &mut [u8]) {
    let words = bytes[..508].chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap()));
    let sum = words.fold(0, |sum, word| sum ^ word);
    bytes[508..512].copy_from_slice(&sum.to_le_bytes());
}

impl Maker {
    fn cell(&mut self, content: &[u8]) -> u32 {
        let offset = self.cells.len() as u32;
        let length = (content.len() + 4).next_multiple_of(8);
        self.cells.extend((-(length as i32)).to_le_bytes());
        self.cells.extend(content);
        self.cells.resize(offset as usize + length, 0xee);
        offset
    }

    fn key(&mut self, key: &Made) -> u32 {
        let values: Vec<u8> = key.values.iter().flat_map(|value| self.value(value).to_le_bytes()).collect();
        let value_list = if values.is_empty() { u32::MAX } else { self.cell(&values) };
        let subkeys: Vec<(u32, &str)> =
            key.subkeys.iter().map(|below| (self.key(below), &below.name[..])).collect();
        let list = if subkeys.is_empty() { u32::MAX } else { self.list(&subkeys, self.lists) };
        let ascii = key.name.is_ascii();
        let name: Vec<u8> = if ascii {
            key.name.clone().into_bytes()
        } else {
            key.name.encode_utf16().flat_map(u16::to_le_bytes).collect()
        };
        let mut cell = vec![0; 76];
        cell[..2].copy_from_slice(b"nk");
        cell[2] = if ascii { 0x20 } else { 0 };
        for (at, value) in
            [(20, subkeys.len() as u32), (28, list), (36, key.values.len() as u32), (40, value_list)]
        {
            cell[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        cell[72..74].copy_from_slice(&(name.len() as u16).to_le_bytes());
        cell.extend(name);
        self.cell(&cell)
    }

    fn list(&mut self, keys: &[(u32, &str)], lists: Lists) -> u32 {
        let mut cell = Vec::new();
        let mut head = |kind: &[u8], count: usize| {
            cell.extend(kind);
            cell.extend((count as u16).to_le_bytes());
        };
        match lists {
            Lists::Li => {
                head(b"li", keys.len());
                keys.iter().for_each(|(key, _)| cell.extend(key.to_le_bytes()));
            }
            Lists::Lf | Lists::Lh => {
                head(if lists == Lists::Lf { b"lf" } else { b"lh" }, keys.len());
                for (key, name) in keys {
                    cell.extend(key.to_le_bytes());
                    let upper = name.to_uppercase();
                    let sum =
                        upper.encode_utf16().fold(0u32, |h, c| h.wrapping_mul(37).wrapping_add(c.into()));
                    cell.extend(sum.to_le_bytes());
                }
            }
            Lists::Ri => {
                let kinds = [Lists::Lh, Lists::Li, Lists::Lf];
                let parts: Vec<u32> = keys
                    .chunks(3)
                    .zip(kinds.into_iter().cycle())
                    .map(|(keys, kind)| self.list(keys, kind))
                    .collect();
                head(b"ri", parts.len());
                parts.iter().for_each(|part| cell.extend(part.to_le_bytes()));
            }
        }
        self.cell(&cell)
    }

    fn value(&mut self, (name, kind, data): &(String, u32, Vec<u8>)) -> u32 {
        let (size, place) = if data.len() <= 4 {
            let mut place = [0; 4];
            place[..data.len()].copy_from_slice(data);
            (data.len() as u32 | 1 << 31, place)
        } else if data.len() > 16344 {
            let pieces: Vec<u8> =
                data.chunks(16344).flat_map(|piece| self.cell(piece).to_le_bytes()).collect();
            let list = self.cell(&pieces);
            let count = (pieces.len() / 4) as u16;
            let large = [&b"db"[..], &count.to_le_bytes(), &list.to_le_bytes()].concat();
            (data.len() as u32, self.cell(&large).to_le_bytes())
        } else {
            (data.len() as u32, self.cell(data).to_le_bytes())
        };
        let mut cell = vec![0; 20];
        cell[..2].copy_from_slice(b"vk");
        cell[2..4].copy_from_slice(&(name.len() as u16).to_le_bytes());
        cell[4..8].copy_from_slice(&size.to_le_bytes());
        cell[8..12].copy_from_slice(&place);
        cell[12..16].copy_from_slice(&kind.to_le_bytes());
        cell[16] = 1;
        cell.extend(name.as_bytes());
        self.cell(&cell)
    }
}

fn open(bytes: Vec<u8>) -> Result<Hive, Error> {
    Hive::open(Arc::new(MemoryDevice(bytes)))
}

fn sample(lists: Lists) -> Vec<u8> {
    let large: Vec<u8> = (0..40_000u32).map(|n| n as u8).collect();
    let mut root = Made::new("CMI-CreateHive").key(Made::new("Größe").text("", "default"));
    for number in 0..20 {
        root = root.key(Made::new(&format!("Key{number}")).key(Made::new("Below").value(
            "n",
            4,
            &[number, 0, 0, 0],
        )));
    }
    let values = Made::new("Values")
        .value("large", 3, &large)
        .value("none", 0, &[])
        .text("Text", "äö")
        .value("odd", 7, &[1; 5]);
    root.key(values).hive(lists)
}

#[test]
fn keys_and_values_are_found_in_every_kind_of_list() {
    for lists in [Lists::Li, Lists::Lf, Lists::Lh, Lists::Ri] {
        let hive = open(sample(lists)).unwrap();
        assert!(!hive.dirty());
        assert_eq!(hive.root().unwrap().name, "CMI-CreateHive");
        assert_eq!(hive.subkeys(&hive.root().unwrap()).unwrap().len(), 22);
        for number in 0..20u8 {
            let key = hive.key(&format!(r"kEY{number}\below")).unwrap();
            let value = hive.value(&key, "N").unwrap();
            assert_eq!(value, Value { name: "n".into(), kind: Kind::Number, data: vec![number, 0, 0, 0] });
        }
        let named = hive.key("GRÖSSE");
        assert!(named.is_ok() || matches!(named, Err(Error::NotFound)), "ß has no capital letter of its own");
        let key = hive.key("größe").unwrap();
        assert_eq!(hive.value(&key, "").unwrap().text().unwrap(), "default");
        let values = hive.key("values").unwrap();
        let large = hive.value(&values, "LARGE").unwrap().data;
        assert!(large.len() == 40_000 && large.iter().zip(0u32..).all(|(byte, n)| *byte == n as u8));
        assert_eq!(hive.value(&values, "text").unwrap().text().unwrap(), "äö");
        let all: Vec<_> = hive.values(&values).unwrap().into_iter().map(|value| value.unwrap()).collect();
        assert_eq!(all.iter().map(|value| value.data.len()).collect::<Vec<_>>(), [40_000, 0, 6, 5]);
        assert_eq!((all[1].kind, all[3].kind), (Kind::Other(0), Kind::Other(7)));
        assert!(matches!(hive.key(r"Key1\Nothing"), Err(Error::NotFound)));
        assert!(matches!(hive.value(&values, "nothing"), Err(Error::NotFound)));
    }
}

#[test]
fn the_base_block_is_checked() {
    let good = sample(Lists::Lh);
    let changed = |at: usize, byte: u8, sealed: bool| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        if sealed {
            seal(&mut bytes);
        }
        open(bytes)
    };
    assert!(matches!(changed(0, b'x', true), Err(Error::Corrupt { .. })));
    assert!(matches!(changed(100, 1, false), Err(Error::Corrupt { .. })), "the checksum");
    assert!(matches!(changed(24, 99, true), Err(Error::Unsupported(_))));
    assert!(changed(4, 9, true).unwrap().dirty());
    assert!(matches!(open(vec![0; 100]), Err(Error::Corrupt { .. })));
    assert!(open(good[..5000].to_vec()).unwrap().key("Values").is_err());
}

#[test]
fn a_list_that_contains_itself_ends() {
    let mut bytes = sample(Lists::Ri);
    let list = bytes.windows(2).rposition(|two| two == b"ri").unwrap();
    let own = (list - 4 - 4096) as u32;
    bytes[list + 4..list + 8].copy_from_slice(&own.to_le_bytes());
    let hive = open(bytes).unwrap();
    assert!(matches!(hive.key("Key1"), Err(Error::Corrupt { .. })));
    // A key that is below itself is as deep as it is asked.
    let mut bytes = Made::new("root").key(Made::new("loop")).hive(Lists::Li);
    let hive = open(bytes.clone()).unwrap();
    let list = bytes.windows(2).rposition(|two| two == b"li").unwrap();
    bytes[list + 4..list + 8].copy_from_slice(&hive.root.to_le_bytes());
    let hive = open(bytes).unwrap();
    assert_eq!(hive.key(&r"root\".repeat(500)).unwrap().name, "root");
}

/// Everything that can be reached, as far as `steps` lead.
fn walk(hive: &Hive, key: &super::Key, steps: &mut u32, depth: u32) {
    for value in hive.values(key).into_iter().flatten().flatten() {
        let _ = value.text();
    }
    for name in hive.subkeys(key).unwrap_or_default() {
        *steps = steps.saturating_sub(1);
        if *steps == 0 || depth > 5 {
            return;
        }
        if let Ok(below) = hive.subkey(key, &name) {
            walk(hive, &below, steps, depth + 1);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]
    #[test]
    fn a_damaged_hive_is_an_error_at_worst(
        which in 0usize..4,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        length in any::<prop::sample::Index>(),
        cut in prop::bool::weighted(0.1),
    ) {
        let mut bytes = sample([Lists::Li, Lists::Lf, Lists::Lh, Lists::Ri][which]);
        // Most of it is the large value: what is around it is where it hurts.
        let interesting: Vec<usize> = (0..bytes.len()).filter(|at| !(4200..44_000).contains(at)).collect();
        for (at, byte) in changes {
            let at = *at.get(&interesting);
            bytes[at] = byte;
        }
        if cut {
            bytes.truncate(length.index(bytes.len()));
        }
        if bytes.len() >= 512 {
            seal(&mut bytes);
        }
        if let Ok(hive) = open(bytes) {
            let _ = hive.key(r"Values\x");
            if let Ok(root) = hive.root() {
                walk(&hive, &root, &mut 300, 0);
            }
        }
    }
}
