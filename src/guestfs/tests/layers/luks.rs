//! Containers that cryptsetup and qemu made, with known content.

use super::*;
use crate::fixture::sh;
use guestfs::Error;

/// Bytes of the content that is put into containers.
const SIZE: u64 = 1 << 20;

/// An image with the pattern.
fn plain(folder: &Path) {
    let image = File::create(folder.join("plain")).unwrap();
    image.set_len(SIZE).unwrap();
    fill(&image, "secret", 0, SIZE, 0);
    std::fs::write(folder.join("key"), "correct horse").unwrap();
}

/// The pattern encrypted by cryptsetup's offline reencryption, which needs no device-mapper. It moves the data up by a
/// header of 1 MiB and more, so that the image is longer by that.
fn cryptsetup(folder: &Path, options: &str) -> Device {
    sh(&format!(
        "cd '{}'; cp plain luks; truncate -s +16M luks
         cryptsetup reencrypt --encrypt -q --reduce-device-size 16M --key-file key {options} luks",
        folder.display()
    ));
    file(&folder.join("luks"))
}

const QUICK: &str = "--pbkdf pbkdf2 --pbkdf-force-iterations 1000";

/// Checks that the container holds the pattern at its beginning.
#[track_caller]
fn assert_content(found: &Inventory, kind: &str, size: u64) {
    assert_eq!(content(found, "disk0"), format!("member: an opened {kind} container"));
    let volume = found.volume("disk0/luks").unwrap();
    assert!(volume.size >= size, "{}", volume.size);
    let inside = guestfs::Window::new(volume.devices[0].clone(), 0, size);
    assert_pattern_of(&Volume { size, devices: vec![Arc::new(inside)], ..volume.clone() }, "secret");
}

/// Containers of 16 KiB that qemu made, because neither this machine's cryptsetup nor its kernel has these ciphers; 128
/// bits, because the material of longer keys does not compress:
/// `qemu-img convert -O luks -o cipher-alg=serpent-128,cipher-mode=cbc,ivgen-alg=plain,hash-alg=ripemd160` and
/// `cipher-alg=twofish-128,cipher-mode=cbc,ivgen-alg=plain64,hash-alg=sha512`, with `iter-time=10`.
#[test]
fn luks1_of_qemu_with_other_ciphers() {
    for bytes in [&include_bytes!("luks1-serpent.zst")[..], include_bytes!("luks1-twofish.zst")] {
        let disks = fixture_disks(bytes, &[532]);
        let found = discover_with(disks, &[b"wrong", b"correct horse"]);
        assert_content(&found, "LUKS1", 16384);
        assert_eq!(found.volume("disk0/luks").unwrap().size, 16384);
    }
}

#[test]
fn luks1_of_cryptsetup() {
    if !testkit::require("cryptsetup") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    plain(folder.path());
    for options in ["", "--cipher aes-cbc-essiv:sha256 --key-size 256 --hash sha1", "--hash whirlpool"] {
        assert_content(
            &discover_with(vec![luks1(folder.path(), options)], &[b"correct horse"]),
            "LUKS1",
            SIZE,
        );
    }
}

/// A container of cryptsetup that it turned from LUKS2 into LUKS1, because it encrypts the older one only with
/// device-mapper.
fn luks1(folder: &Path, options: &str) -> Device {
    let disk = cryptsetup(folder, &format!("--type luks2 --sector-size 512 {QUICK} {options}"));
    sh(&format!("cryptsetup convert -q --type luks1 '{}'", folder.join("luks").display()));
    disk
}

#[test]
fn luks2_of_cryptsetup_with_every_derivation_and_sector_size() {
    if !testkit::require("cryptsetup") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    plain(folder.path());
    let argon = "--pbkdf-memory 32768 --pbkdf-force-iterations 4 --pbkdf-parallel 3";
    for options in [
        format!("--pbkdf argon2id {argon}"),
        format!("--pbkdf argon2i {argon} --sector-size 4096"),
        format!("{QUICK} --sector-size 1024 --hash sha512"),
        format!("{QUICK} --sector-size 2048 --cipher aes-cbc-essiv:sha256 --key-size 128"),
        format!("{QUICK} --sector-size 512 --key-size 256"),
    ] {
        let disk = cryptsetup(folder.path(), &format!("--type luks2 {options}"));
        let found = discover_with(vec![disk], &[b"correct horse"]);
        assert_content(&found, "LUKS2", SIZE);
    }
}

#[test]
fn containers_without_their_key_are_locked_and_say_why() {
    if !testkit::require("cryptsetup") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    plain(folder.path());
    for kind in ["luks1", "luks2"] {
        let disk = match kind {
            "luks1" => luks1(folder.path(), ""),
            _ => cryptsetup(folder.path(), &format!("--type luks2 {QUICK}")),
        };
        let uuid = sh(&format!("cryptsetup luksUUID '{}'", folder.path().join("luks").display()));
        let label = kind.to_uppercase();
        for (keys, why) in
            [(vec![], "no key was given"), (vec![&b"wrong"[..], b""], "no key that was given fits")]
        {
            let found = discover_with(vec![disk.clone()], &keys);
            assert_eq!(listed(&found), [format!("disk0: locked {label}: {why}")]);
            let Content::Locked { uuid: found_uuid, .. } = &found.volumes[0].content else { panic!() };
            assert_eq!(found_uuid.as_deref(), Some(uuid.trim()));
            assert!(matches!(found.open("disk0", &Default::default()), Err(Error::Encrypted(_))));
        }
    }
}

#[test]
fn any_slot_and_either_header_of_luks2_opens_it() {
    if !testkit::require("cryptsetup") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    plain(folder.path());
    cryptsetup(folder.path(), &format!("--type luks2 {QUICK}"));
    let image = folder.path().join("luks");
    sh(&format!(
        "cd '{}'; printf second > two; cryptsetup luksAddKey -q --key-file key {QUICK} --key-slot 5 luks two
         cryptsetup config --key-slot 5 --priority prefer luks",
        folder.path().display()
    ));
    assert_content(&discover_with(vec![file(&image)], &[b"second"]), "LUKS2", SIZE);
    let whole = std::fs::read(&image).unwrap();
    // A bit of the first header's JSON, its magic number, all of it; then of the second header.
    for (from, to) in [(4200, 4201), (0, 6), (0, 16384), (16384 + 4200, 16384 + 4201), (16384, 32768)] {
        let mut damaged = whole.clone();
        for byte in &mut damaged[from..to] {
            *byte = if to - from == 1 { *byte ^ 1 } else { 0 };
        }
        assert_content(&discover_with(vec![memory(damaged.clone())], &[b"second"]), "LUKS2", SIZE);
        // With the other one gone too, nothing opens it.
        let other = if from < 16384 { 16384 + 5000 } else { 5000 };
        damaged[other] ^= 1;
        let found = discover_with(vec![memory(damaged)], &[b"second"]);
        assert_eq!(found.volumes.len(), 1);
        let expected =
            if to - from > 1 && from == 0 { "disk0: unknown" } else { "disk0: damaged: the LUKS2 header" };
        assert!(listed(&found)[0].starts_with(expected), "{from} {:?}", listed(&found));
    }
    // The key material damaged: the digest does not agree, and nothing is opened.
    let mut damaged = whole;
    for byte in &mut damaged[32768..1 << 20] {
        *byte ^= 0x40;
    }
    let found = discover_with(vec![memory(damaged)], &[b"second", b"correct horse"]);
    assert_eq!(listed(&found), ["disk0: locked LUKS2: no key that was given fits"]);
}

#[test]
fn reencryption_and_detached_headers_are_refused_by_name() {
    if !testkit::require("cryptsetup") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    plain(folder.path());
    let at = folder.path().display();
    let locked = |image: &str, kind: &str| {
        let found = discover_with(vec![file(&folder.path().join(image))], &[b"correct horse"]);
        let prefix = format!("disk0: locked {kind}: ");
        let listed = listed(&found).join("; ");
        listed.strip_prefix(&prefix).unwrap_or_else(|| panic!("{listed}")).to_owned()
    };
    sh(&format!(
        "cd '{at}'; cp plain begun; truncate -s +16M begun
         cryptsetup reencrypt --encrypt --init-only -q --type luks2 --reduce-device-size 16M --key-file key {QUICK} begun
         cp plain data; cryptsetup luksFormat -q --type luks2 --header detached2 --key-file key {QUICK} data
         cryptsetup luksFormat -q --type luks1 --header detached1 --key-file key --pbkdf-force-iterations 1000 data"
    ));
    assert_eq!(locked("begun", "LUKS2"), "it is being reencrypted");
    assert!(locked("detached2", "LUKS2").contains("detached"));
    assert!(locked("detached1", "LUKS1").contains("detached"));
}
