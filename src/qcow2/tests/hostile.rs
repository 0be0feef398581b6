//! Damaged and hostile images, in memory: an error or bytes, never a panic, an endless loop, or memory
//! beyond a fixed bound. `check` finds what QEMU's finds.

use block::{BlockSink, BlockSource, Result};
use proptest::prelude::*;
use qcow2::{
    Backing, BackingFormat, Chain, Compression, Create, Gate, MemoryStorage, Opened, Storage, Writer, check,
    check_storage,
};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use testkit::image::Rng;
use testkit::require;

/// Gives every name the same bytes: a chain that never ends.
struct Echo(Vec<u8>);

impl Gate for Echo {
    fn open(&self, _: &Path, name: &str) -> Result<Opened> {
        let storage = Arc::new(MemoryStorage::new(name, self.0.clone()));
        Ok(Opened { storage, path: name.into() })
    }
}

/// Opens `bytes` and does everything that can be done with them.
fn try_all(bytes: &[u8]) {
    let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new("hostile", bytes.to_vec()));
    let _ = check_storage(storage.as_ref());
    // A small base: 1000 copies of a large image are no test but a waste.
    let gate = Echo(vec![0x77; 100_000]);
    let Ok(chain) = Chain::from_storage(storage, Path::new("hostile"), &gate) else { return };
    let size = chain.size();
    let mut buf = vec![0; 1 << 20];
    let mut at = 0;
    // From the start as far as patience goes, and the end.
    for _ in 0..16 {
        let part = (size - at).min(buf.len() as u64) as usize;
        let _ = chain.read_at(&mut buf[..part], at);
        at += part as u64;
    }
    let part = size.min(buf.len() as u64);
    let _ = chain.read_at(&mut buf[..part as usize], size - part);
    let _ = chain.map(0..64 << 20);
    let mut at = 0;
    for _ in 0..16 {
        match chain.extents(at..size, None) {
            Ok(extents) if !extents.is_empty() => {
                assert_eq!(extents[0].offset, at);
                at = extents.last().unwrap().end();
                assert!(at <= size);
            }
            _ => break,
        }
        if at == size {
            break;
        }
    }
}

/// A small image with plain, zero and compressed clusters.
fn image(compression: Compression, backing: bool) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image.qcow2");
    let backing = backing.then(|| Backing { file_name: "base".into(), format: BackingFormat::Raw });
    let disk = testkit::image::mixed(1, (2 << 20) + 512);
    let options = Create { compression, backing, ..Create::new(disk.len() as u64) };
    let writer = Writer::create(&path, &options).unwrap();
    for (n, part) in disk.chunks(65536).enumerate() {
        let at = n as u64 * 65536;
        if n % 5 == 0 { writer.zero(at, part.len() as u64) } else { writer.write_at(part, at) }.unwrap();
    }
    writer.finish_at().unwrap();
    std::fs::read(&path).unwrap()
}

fn images() -> &'static [Vec<u8>; 3] {
    static IMAGES: OnceLock<[Vec<u8>; 3]> = OnceLock::new();
    IMAGES.get_or_init(|| {
        [
            image(Compression::None, true),
            image(Compression::Zstd { level: 1 }, false),
            image(Compression::Zlib { level: 1 }, true),
        ]
    })
}

/// Where something lies that decides where other things lie: the header, the tables.
fn metadata(image: &[u8], draw: u64) -> usize {
    let at = |offset: u64| image[offset as usize..][..8].try_into().map(u64::from_be_bytes).unwrap();
    let (l1, refcounts) = (at(40), at(48));
    let l2 = at(l1) & 0x00ff_ffff_ffff_fe00;
    let block = at(refcounts);
    let (base, length) =
        [(0, 600), (l1, 16), (refcounts, 16), (l2, 300), (l2, 300), (block, 120)][(draw % 6) as usize];
    (base + (draw >> 8) % length) as usize
}

fn cases() -> u32 {
    std::env::var("SENDENSE_PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(400)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn flipped_bits_cost_an_error_at_most(which in 0usize..3, flips in prop::collection::vec(any::<(u64, u8)>(), 1..6)) {
        let mut bytes = images()[which].clone();
        for (draw, value) in flips {
            let at = metadata(&images()[which], draw);
            bytes[at] ^= value | 1;
        }
        try_all(&bytes);
    }

    #[test]
    fn overwritten_words_cost_an_error_at_most(which in 0usize..3, words in prop::collection::vec(any::<(u64, u64, u8)>(), 1..4)) {
        let mut bytes = images()[which].clone();
        for (draw, word, kind) in words {
            let at = metadata(&images()[which], draw) & !7;
            let word = match kind % 5 {
                0 => word,
                1 => word % bytes.len() as u64,
                2 => word % 64 * 65536,
                3 => u64::MAX - word % 1024,
                _ => 1 << (word % 64),
            };
            bytes[at..at + 8].copy_from_slice(&word.to_be_bytes());
        }
        try_all(&bytes);
    }

    #[test]
    fn truncated_images_cost_an_error_at_most(which in 0usize..3, part in 0.0f64..1.0) {
        let bytes = &images()[which];
        try_all(&bytes[..(bytes.len() as f64 * part) as usize]);
    }
}

#[test]
fn a_chain_without_end_is_refused() {
    let endless = image(Compression::None, true);
    let patched = {
        // "raw" becomes the format of its backing file: "qcow2" needs its own length.
        let mut bytes = endless.clone();
        let name_at = u64::from_be_bytes(bytes[8..16].try_into().unwrap()) as usize;
        let mut header = bytes[..112].to_vec();
        header.extend(0xe279_2acau32.to_be_bytes());
        header.extend(5u32.to_be_bytes());
        header.extend(b"qcow2\0\0\0");
        header.extend([0; 8]);
        let end = header.len() as u64;
        header[8..16].copy_from_slice(&end.to_be_bytes());
        header.extend(b"base");
        assert!(header.len() < name_at);
        bytes[..header.len()].copy_from_slice(&header);
        bytes[header.len()..65536].fill(0);
        bytes.truncate(3 << 16);
        bytes
    };
    let storage = Arc::new(MemoryStorage::new("top", patched.clone()));
    let error = match Chain::from_storage(storage, Path::new("top"), &Echo(patched)) {
        Ok(_) => panic!("opened"),
        Err(error) => error.to_string(),
    };
    assert!(error.contains("1024 files deep"), "{error}");
}

#[test]
fn what_qemu_s_check_finds_ours_finds() {
    if !require("qemu-img") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image.qcow2");
    std::fs::write(folder.path().join("base"), [0; 1 << 20]).unwrap();
    let mut rng = Rng::new(4711);
    let (mut both, mut neither, mut ours_only) = (0, 0, 0);
    for round in 0..200 {
        let original = &images()[round % 3];
        let mut bytes = original.clone();
        let at = metadata(original, rng.next_u64());
        // The name of the backing file, and of its format, is not ours to check.
        if (8..20).contains(&at) || (112..65536).contains(&at) {
            continue;
        }
        bytes[at] ^= 1 << rng.below(8);
        std::fs::write(&path, &bytes).unwrap();
        let theirs = std::process::Command::new("qemu-img")
            .args(["check", "-f", "qcow2", "-U", &path.display().to_string()])
            .output()
            .unwrap();
        // 2: corrupt, 3: leaks only, 1: it can't be opened.
        let said = theirs.clone();
        let theirs = !matches!(theirs.status.code(), Some(0 | 3));
        let ours = check(&path).map_or(true, |report| !report.is_sound());
        match (theirs, ours) {
            (true, false) => {
                panic!("flipping bits of byte {at} of image {} goes unnoticed: {said:?}", round % 3)
            }
            (true, true) => both += 1,
            (false, true) => ours_only += 1,
            (false, false) => neither += 1,
        }
    }
    eprintln!("found by both {both}, by neither {neither}, by ours only {ours_only}");
    assert!(both > 40, "{both}");
}

#[test]
fn a_file_cut_anywhere_is_noticed() {
    for bytes in images() {
        for cut in [1, 512, 4096, 65536, 65537, bytes.len() / 2] {
            let short = MemoryStorage::new("short", bytes[..bytes.len() - cut].to_vec());
            let sound = check_storage(&short).is_ok_and(|report| report.is_sound());
            assert!(!sound, "{cut} bytes are missing at the end");
        }
    }
}
