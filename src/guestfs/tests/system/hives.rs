//! Hives that hivex and chntpw wrote.

use crate::fixture::sh;
use guestfs::Error;
use guestfs::FileDevice;
use guestfs::system::registry::{Hive, Kind};
use std::path::Path;
use std::sync::Arc;

/// An empty hive: a root key with a security descriptor, which hivex needs to add others.
pub fn empty() -> Vec<u8> {
    let cell = |content: &[u8]| {
        let length = (content.len() + 4).next_multiple_of(8);
        let mut cell = (-(length as i32)).to_le_bytes().to_vec();
        cell.extend(content);
        cell.resize(length, 0);
        cell
    };
    let mut bin = b"hbin\0\0\0\0\0\x10\0\0".to_vec();
    bin.resize(32, 0);
    let mut key = vec![0; 76];
    key[..4].copy_from_slice(b"nk\x2c\0");
    let security = 32 + 84 + 4u32;
    for (at, value) in
        [(16, u32::MAX), (28, u32::MAX), (32, u32::MAX), (40, u32::MAX), (44, security), (48, u32::MAX)]
    {
        key[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    key[72] = 4;
    key.extend(b"ROOT");
    bin.extend(cell(&key));
    assert_eq!(bin.len() as u32, security);
    let mut descriptor = b"sk\0\0".to_vec();
    for value in [security, security, 1, 20, 0x8004_0001, 0, 0, 0, 0] {
        descriptor.extend(value.to_le_bytes());
    }
    bin.extend(cell(&descriptor));
    let free = 4096 - bin.len() as u32;
    bin.extend(free.to_le_bytes());
    bin.resize(4096, 0);
    let mut head = vec![0; 4096];
    head[..4].copy_from_slice(b"regf");
    for (at, value) in [(4, 1u32), (8, 1), (20, 1), (24, 3), (32, 1), (36, 32), (40, 4096), (44, 1)] {
        head[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    let words = head[..508].chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap()));
    let sum = words.fold(0, |sum, word| sum ^ word);
    head[508..512].copy_from_slice(&sum.to_le_bytes());
    head.extend(bin);
    head
}

/// Writes a hive at `path`, filled by these commands of hivexsh.
pub fn hivexsh(path: &Path, commands: &str) {
    std::fs::write(path, empty()).unwrap();
    let script = path.with_extension("commands");
    std::fs::write(&script, format!("{commands}\ncommit\n")).unwrap();
    sh(&format!("hivexsh -w -f '{}' '{}'", script.display(), path.display()));
}

pub fn open(path: &Path) -> Result<Hive, Error> {
    Hive::open(Arc::new(FileDevice::open(path).unwrap()))
}

#[test]
fn a_hive_of_hivex_is_read() {
    if !testkit::require("hivexsh") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hive");
    let mut commands = String::new();
    for number in 0..300 {
        commands += &format!(
            "cd \\ \nadd Key{number}\ncd Key{number}\nsetval 2\nNumber\ndword:{number}\nText\nstring:n {number}\n"
        );
    }
    commands += "cd \\ \nadd Größe\ncd Größe\nadd Below\ncd Below\nsetval 2\n@\nhex:3:01,02,03,04,05\nText\nhex:1:6e,00,f6,00,00,00\ncd \\ \nadd 漢字\n";
    hivexsh(&path, &commands);
    let hive = open(&path).unwrap();
    assert!(!hive.dirty());
    assert_eq!(hive.subkeys(&hive.root().unwrap()).unwrap().len(), 302);
    for number in 0..300u32 {
        let key = hive.key(&format!("KEY{number}")).unwrap();
        let value = hive.value(&key, "number").unwrap();
        assert_eq!((value.kind, value.data), (Kind::Number, number.to_le_bytes().to_vec()));
        assert_eq!(hive.value(&key, "TEXT").unwrap().text().unwrap(), format!("n {number}"));
        assert_eq!(hive.values(&key).unwrap().len(), 2);
    }
    let below = hive.key(r"größe\BELOW").unwrap();
    assert_eq!(hive.value(&below, "").unwrap().data, [1, 2, 3, 4, 5]);
    assert_eq!(hive.value(&below, "text").unwrap().text().unwrap(), "nö");
    assert!(hive.key("漢字").is_ok());
    assert!(matches!(hive.key("Key300"), Err(Error::NotFound)));
}

#[test]
fn a_hive_that_chntpw_changed_is_read() {
    if !["hivexsh", "reged"].iter().all(|program| testkit::require(program)) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hive");
    hivexsh(&path, "add Setup");
    let mut registry = String::from("Windows Registry Editor Version 5.00\r\n\r\n");
    for number in 0..200 {
        registry += &format!(
            "[HKEY_LOCAL_MACHINE\\SYS\\Setup\\Key{number}]\r\n\"Number\"=dword:{number:08x}\r\n\"Text\"=\"n {number}\"\r\n\r\n"
        );
    }
    let import = folder.path().join("import.reg");
    std::fs::write(&import, registry).unwrap();
    // 2 says that something was changed.
    sh(&format!(
        "reged -I -C '{}' 'HKEY_LOCAL_MACHINE\\SYS' '{}' || [ $? = 2 ]",
        path.display(),
        import.display()
    ));
    let hive = open(&path).unwrap();
    assert_eq!(hive.subkeys(&hive.key("Setup").unwrap()).unwrap().len(), 200);
    for number in 0..200u32 {
        let key = hive.key(&format!(r"setup\key{number}")).unwrap();
        assert_eq!(hive.value(&key, "number").unwrap().data, number.to_le_bytes());
        assert_eq!(hive.value(&key, "text").unwrap().text().unwrap(), format!("n {number}"));
    }
}

#[test]
fn every_flipped_byte_of_a_hive_is_an_error_at_worst() {
    if !testkit::require("hivexsh") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hive");
    hivexsh(
        &path,
        "add A\ncd A\nadd B\ncd B\nsetval 2\nx\nstring:hello\ny\nhex:3:01,02,03,04,05\ncd \\ \nadd C",
    );
    let good = std::fs::read(&path).unwrap();
    let used = good.iter().rposition(|&byte| byte != 0).unwrap();
    let mut opened = 0;
    let mut whole = 0;
    for at in (0..48).chain(4096..used + 1) {
        for bit in [1u8, 0x10, 0x80] {
            let mut bytes = good.clone();
            bytes[at] ^= bit;
            let words = bytes[..508].chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap()));
            let sum = words.fold(0, |sum, word| sum ^ word);
            bytes[508..512].copy_from_slice(&sum.to_le_bytes());
            let Ok(hive) = Hive::open(Arc::new(guestfs::MemoryDevice(bytes))) else { continue };
            opened += 1;
            if let Ok(root) = hive.root() {
                let _ = hive.subkeys(&root);
            }
            if let Ok(key) = hive.key(r"a\b") {
                let values = hive.values(&key).unwrap_or_default();
                whole += usize::from(values.iter().flatten().count() == 2);
            }
        }
    }
    assert!(opened > 1000 && whole > 500, "{opened} {whole}");
}
