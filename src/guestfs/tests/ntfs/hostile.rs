//! Damaged volumes: errors, and nothing else.

use super::*;
use guestfs::ReadAt;

/// A volume with some bytes of it changed.
struct Damaged {
    whole: Arc<Vec<u8>>,
    changes: Vec<(usize, Vec<u8>)>,
}

impl ReadAt for Damaged {
    fn size(&self) -> u64 {
        self.whole.len() as u64
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> std::io::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.checked_add(buf.len()).filter(|&end| end <= self.whole.len());
        let Some(end) = end else { return Err(std::io::ErrorKind::UnexpectedEof.into()) };
        buf.copy_from_slice(&self.whole[start..end]);
        for (at, bytes) in &self.changes {
            for (index, byte) in
                bytes.iter().enumerate().filter(|(index, _)| (start..end).contains(&(at + index)))
            {
                buf[at + index - start] = *byte;
            }
        }
        Ok(())
    }
}

/// Changes `whole` in each of `rounds` ways, in `places`, and walks what then opens: how often it did, and how often not.
pub fn mutate(whole: &Arc<Vec<u8>>, places: &[std::ops::Range<usize>], rounds: u64) -> (u64, u64) {
    let (mut opened, mut refused) = (0, 0);
    let mut seed = 0x1234_5678_9abc_def1_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for _ in 0..rounds {
        let mut changes = Vec::new();
        for _ in 0..1 + random() % 4 {
            let place = &places[random() as usize % places.len()];
            let at = place.start + random() as usize % place.len();
            changes.push(match random() % 4 {
                0 => (at, vec![whole[at] ^ (1 << (random() % 8))]),
                1 => (at, vec![random() as u8]),
                2 => {
                    let values = [0, 1, u64::MAX, 1 << 63, random() % 4096, random() % 64];
                    (at & !7, values[random() as usize % 6].to_le_bytes().to_vec())
                }
                _ => {
                    let from = (place.start + random() as usize % place.len()) & !7;
                    let end = whole.len().min(from + (8 << (random() % 5)));
                    (at & !7, whole[from..end].to_vec())
                }
            });
        }
        let device: Device = Arc::new(Damaged { whole: whole.clone(), changes });
        let _ = ntfs::recognise(&*device).unwrap();
        let ignore = OpenOptions { ignore_journal: random() % 2 == 0, ..OpenOptions::default() };
        match ntfs::open(device, &ignore) {
            Ok(fs) => {
                crate::hostile::walk(&*fs);
                opened += 1;
            }
            Err(_) => refused += 1,
        }
    }
    (opened, refused)
}

#[test]
fn damaged_volumes_give_errors_and_nothing_else() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    let image = Image::new("3M", "-c 512 -C");
    image.fill(
        "compression",
        r#"
mkdir -p d/e; for n in $(seq 60); do echo $n > "d/a rather long name of a file $n"; done
seq 4000 > d/packed; head -c 30000 /dev/urandom > d/stored; truncate -s 300000 d/e/hole; echo x >> d/e/hole
ln -s d link; setfattr -n user.a -v b d; ln d/packed d/e/again
"#,
    );
    // What the Windows Overlay Filter would have compressed, of noise.
    let lzx = reparse(0x8000_0017, &[1u32, 2, 1, 1].map(u32::to_le_bytes).concat());
    let xpress = reparse(0x8000_0017, &[1u32, 2, 1, 0].map(u32::to_le_bytes).concat());
    image.fill(
        "streams_interface=windows",
        &format!(
            "for file in lzx xpress; do truncate -s 40000 $file; (printf '\\50\\0\\0\\0'; head -c 9000 /dev/urandom) > $file:WofCompressedData; done
             setfattr -h -n system.ntfs_reparse_data -v {lzx} lzx
             setfattr -h -n system.ntfs_reparse_data -v {xpress} xpress"
        ),
    );
    let whole = Arc::new(fs::read(&image.path).unwrap());
    let mft = u64::from_le_bytes(whole[0x30..0x38].try_into().unwrap()) as usize * 512;
    // The records of the table and of the index blocks, whose update sequences are left alone mostly, so that what is
    // behind them is met.
    let mut places =
        vec![mft..mft + 5 * 1024, mft + 5 * 1024..mft + 6 * 1024, mft + 24 * 1024..mft + 60 * 1024];
    let blocks: Vec<usize> =
        (0..whole.len() - 4096).step_by(512).filter(|&at| &whole[at..at + 4] == b"INDX").collect();
    assert!(blocks.len() >= 2);
    places.extend(blocks.into_iter().map(|at| at..at + 4096));
    places.push(0..512);
    let (opened, refused) = mutate(&whole, &places, 4000);
    assert!(opened > 2500 && refused > 20, "{opened} opened, {refused} refused");
    for length in [0, 511, 512, 4096, 5000, mft + 1024, 70_000, whole.len() / 2, whole.len() - 512] {
        let device: Device = Arc::new(MemoryDevice(whole[..length].to_vec()));
        let _ = ntfs::recognise(&*device).unwrap();
        if let Ok(fs) = ntfs::open(device, &OpenOptions::default()) {
            crate::hostile::walk(&*fs);
        }
    }
}

#[test]
fn a_folder_without_its_index_is_damaged_and_still_a_folder() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    let image = Image::new("3M", "-c 512");
    image.fill("", "mkdir -p gone/in kept");
    let mut bytes = fs::read(&image.path).unwrap();
    let wide = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let has = |bytes: &[u8], text: &str| bytes.windows(wide(text).len()).any(|part| part == wide(text));
    let records = (0..bytes.len() - 1023).step_by(512).filter(|&at| bytes[at..].starts_with(b"FILE"));
    // In the root's record it is an entry, as the other one is; in its own it is the name.
    let is_own = |at: &usize| {
        let record = &bytes[*at..at + 1024];
        has(record, "gone") && !has(record, "kept")
    };
    let records: Vec<usize> = records.filter(is_own).collect();
    assert!(!records.is_empty());
    for at in records {
        let index = bytes[at..at + 1024].windows(8).position(|part| part == wide("$I30")).unwrap();
        bytes[at + index + 2] ^= 1;
    }
    let fs = ntfs::open(Arc::new(MemoryDevice(bytes)), &OpenOptions::default()).unwrap();
    let gone = node(&*fs, "gone");
    assert_eq!(fs.stat(gone).unwrap().kind, FileKind::Directory);
    let listed = fs.readdir(gone, 0, &mut |_| std::ops::ControlFlow::Continue(()));
    for error in [listed.unwrap_err(), fs.lookup(gone, b"in").unwrap_err()] {
        assert!(matches!(&error, Error::Corrupt { reason, .. } if reason.contains("no index")), "{error}");
    }
}

#[test]
fn a_damaged_boot_sector_and_a_damaged_table_have_copies() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    let image = Image::new("60M", "-L Größe");
    image.fill("", "echo here > file");
    let good = ntfs::recognise(&*image.device()).unwrap().unwrap();
    assert_eq!((good.kind, good.label.as_deref(), good.size), ("ntfs", Some("Größe"), (60 << 20) - 512));
    let uuid = sh(&format!("blkid -p -o value -s UUID {}", image.path.display()));
    assert_eq!(good.uuid.as_deref(), Some(uuid.trim()));
    let fs = image.open();
    assert_eq!(fs.info().warnings, Vec::<String>::new());
    assert_eq!((fs.info().label.as_deref(), &fs.info().uuid), (Some("Größe"), &good.uuid));
    assert_eq!((fs.info().block_size, fs.info().has_owners), (4096, false));

    let whole = fs::read(&image.path).unwrap();
    let opened = |bytes: Vec<u8>| -> (bool, Result<Arc<dyn GuestFs>, Error>) {
        let device: Device = Arc::new(MemoryDevice(bytes));
        let known = ntfs::recognise(&*device).unwrap().is_some();
        (known, ntfs::open(device, &OpenOptions::default()))
    };
    let warned = |bytes: Vec<u8>, known: bool, said: &str| {
        let (recognised, fs) = opened(bytes);
        assert_eq!(recognised, known, "{said}");
        let fs = fs.unwrap();
        assert!(fs.info().warnings.iter().any(|line| line.contains(said)), "{said}: {:?}", fs.info());
        assert_eq!(content(&*fs, node(&*fs, "file")), b"here\n");
    };
    let mut bytes = whole.clone();
    bytes[..512].fill(0);
    warned(bytes.clone(), true, "boot sector");
    bytes[0x438..0x43a].copy_from_slice(&[0x53, 0xef]);
    assert!(!opened(bytes).0, "an ext file system where a NTFS was");
    let mut bytes = whole.clone();
    bytes[0x0b..0x0e].fill(0xff);
    warned(bytes, true, "boot sector");
    let mut bytes = whole.clone();
    bytes[..512].fill(0x5a);
    warned(bytes, false, "boot sector");

    let mft = u64::from_le_bytes(whole[0x30..0x38].try_into().unwrap()) as usize * 4096;
    let mut bytes = whole.clone();
    bytes[mft..mft + 1024].fill(0);
    warned(bytes.clone(), true, "$MFTMirr");
    bytes[mft + 3 * 1024 + 510] ^= 1;
    bytes[mft + 2 * 1024 + 1022] ^= 1;
    warned(bytes.clone(), true, "$MFTMirr");
    // The sixth record has no copy.
    bytes[mft + 5 * 1024 + 510] ^= 1;
    let fs = opened(bytes).1.unwrap();
    assert!(matches!(fs.stat(fs.root()), Err(Error::Corrupt { .. })));

    // Dirty, hibernated, of an unknown version.
    sh(&format!("ntfsfix {} > /dev/null", image.path.display()));
    assert!(image.open().info().warnings[0].contains("marked dirty"));
}
