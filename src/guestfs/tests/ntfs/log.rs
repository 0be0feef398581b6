//! Dirty logs. No program here writes one, so they are written by hand into real volumes; what the reader makes of them
//! is compared with what ntfsrecover makes of a copy.

use super::hostile::mutate;
use super::logfile::{Change, FIRST, INDEX, MFT, PAGE, SECOND, Writer, protect, put};
use super::*;

/// And takes it away.
fn restore(bytes: &mut [u8]) {
    let at = usize::from(u16::from_le_bytes([bytes[4], bytes[5]]));
    for index in 1..=bytes.len() / 512 {
        bytes.copy_within(at + 2 * index..at + 2 * index + 2, index * 512 - 2);
    }
}

/// A volume whose structures are changed by hand.
struct Volume {
    bytes: Vec<u8>,
    fs: Arc<dyn GuestFs>,
}

impl Volume {
    fn new(image: &Image) -> Self {
        Volume { bytes: fs::read(&image.path).unwrap(), fs: image.open() }
    }

    /// Where a byte of a file's content lies.
    fn place(&self, file: NodeId, offset: u64) -> usize {
        match self.fs.map(file, offset).unwrap().unwrap().place {
            Place::Device(at) => at as usize,
            other => panic!("{other:?}"),
        }
    }

    /// A record of $MFT: where it lies, and its bytes.
    fn record(&self, number: u64) -> (usize, Vec<u8>) {
        let at = self.place(NodeId { tree: 0, inode: 0 }, number * 1024);
        let mut bytes = self.bytes[at..at + 1024].to_vec();
        assert!(bytes.starts_with(b"FILE"));
        restore(&mut bytes);
        (at, bytes)
    }

    fn change(&self, number: u64) -> Change<'static> {
        let at = self.record(number).0;
        Change {
            attribute: MFT,
            vcn: number / 4,
            lcn: at as u64 / 4096,
            cluster_offset: at % 4096,
            ..Change::default()
        }
    }

    /// Puts the log where it belongs.
    fn log(&mut self, log: &[u8]) {
        for (index, page) in log.chunks(PAGE).enumerate() {
            let at = self.place(NodeId { tree: 0, inode: 2 }, (index * PAGE) as u64);
            put(&mut self.bytes, at, page);
        }
    }

    fn log_size(&self) -> usize {
        let size = self.fs.stat(NodeId { tree: 0, inode: 2 }).unwrap().size as usize;
        size - size % PAGE
    }
}

/// Where the attribute of a type begins in a record.
fn attribute(record: &[u8], kind: u32) -> usize {
    let number = |at: usize| u32::from_le_bytes(record[at..at + 4].try_into().unwrap());
    let mut at = usize::from(record[0x14]);
    while number(at) != kind {
        assert_ne!(number(at), u32::MAX, "no attribute {kind:#x}");
        at += number(at + 4) as usize;
    }
    at
}

/// The entries of an index block: where each begins, its file, and its name.
fn entries(block: &[u8]) -> Vec<(usize, u64, String)> {
    let mut at = 0x18 + usize::from(u16::from_le_bytes([block[0x18], block[0x19]]));
    let mut all = Vec::new();
    loop {
        let length = usize::from(u16::from_le_bytes([block[at + 8], block[at + 9]]));
        let last = block[at + 12] & 2 != 0;
        let name = if last { 0 } else { usize::from(block[at + 0x50]) };
        let units: Vec<u16> = (0..name)
            .map(|unit| at + 0x52 + unit * 2)
            .map(|unit| u16::from_le_bytes([block[unit], block[unit + 1]]))
            .collect();
        let file = u64::from_le_bytes(block[at..at + 8].try_into().unwrap());
        all.push((at, file, String::from_utf16(&units).unwrap()));
        if last {
            return all;
        }
        at += length;
    }
}

/// A volume with a folder `d` of one index block and files in it, and a log over it that deletes `d/gone`, gives `d/kept`
/// another content, time and name, and leaves a second transaction unfinished where `unfinished`, of which the disk has
/// the change.
fn dirty(version: usize, torn: bool, unfinished: bool) -> (Image, Volume) {
    let image = Image::new("6M", "-c 4096");
    image.fill(
        "",
        r#"
mkdir d; for n in $(seq 12); do echo $n > "d/a file with a name, number $n"; done
printf 'hello\n' > d/kept; echo gone > d/gone; printf 'old content' > d/undone
"#,
    );
    let mut volume = Volume::new(&image);
    let fs = volume.fs.clone();
    let number = |path: &str| node(&*fs, path).inode;
    let (d, kept, gone, undone) = (number("d"), number("d/kept"), number("d/gone"), number("d/undone"));
    let (_, folder) = volume.record(d);
    let allocation = attribute(&folder, 0xa0);
    let pairs = allocation + usize::from(folder[allocation + 0x20]);
    // One run of one cluster: a byte of length, and the place.
    let width = usize::from(folder[pairs] >> 4);
    assert_eq!((folder[pairs] & 15, folder[pairs + 1]), (1, 1), "one block");
    let mut lcn = [0; 8];
    lcn[..width].copy_from_slice(&folder[pairs + 2..pairs + 2 + width]);
    let lcn = u64::from_le_bytes(lcn);
    let at = lcn as usize * 4096;
    let mut block = volume.bytes[at..at + 4096].to_vec();
    restore(&mut block);
    let listed = entries(&block);
    let entry = |name: &str| listed.iter().find(|(_, _, one)| one == name).unwrap().0;
    let index = Change { attribute: INDEX, vcn: 0, lcn, ..Change::default() };

    let mut log = Writer::new(volume.log_size(), version);
    // Some pages of what is over already, before the checkpoint and behind it.
    let over = |log: &mut Writer| {
        for _ in 0..60 {
            log.change(SECOND, Change { redo: (0, &[]), undo: (0, &[0; 100]), ..Change::default() });
        }
        log.forget(SECOND);
    };
    over(&mut log);
    over(&mut log);
    log.checkpoint((u64::from(folder[0x10]) << 48) | d);
    over(&mut log);

    // Another time of the content.
    let (_, record) = volume.record(kept);
    let (standard, data, name) =
        (attribute(&record, 0x10), attribute(&record, 0x80), attribute(&record, 0x30));
    let time = 0x01d0_0000_0000_0000u64.to_le_bytes();
    let old_time = record[standard + 0x20..standard + 0x28].to_vec();
    log.change(
        FIRST,
        Change { redo: (7, &time), undo: (7, &old_time), offsets: (standard, 0x20), ..volume.change(kept) },
    );
    // A longer content.
    let content = b"hello, this is a longer content than before\n\0\0\0\0";
    log.change(
        FIRST,
        Change {
            redo: (7, &content[..44]),
            undo: (7, b"hello\n"),
            offsets: (data, 0x18),
            ..volume.change(kept)
        },
    );
    // A second name: the attribute goes before the data, and an entry at the end of the block.
    let new_name: Vec<u8> = "zz a second name".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut key = record[name + 0x18..name + 0x18 + 0x42].to_vec();
    key[0x40] = (new_name.len() / 2) as u8;
    key[0x41] = 0;
    key.extend(&new_name);
    let mut second = record[name..name + 0x18].to_vec();
    put(&mut second, 4, &((0x18 + key.len()).next_multiple_of(8) as u32).to_le_bytes());
    put(&mut second, 0xe, &record[0x28..0x2a]);
    put(&mut second, 0x10, &(key.len() as u32).to_le_bytes());
    second.extend(&key);
    second.resize(second.len().next_multiple_of(8), 0);
    let behind_names = {
        let length = u32::from_le_bytes(record[name + 4..name + 8].try_into().unwrap()) as usize;
        name + length
    };
    log.change(
        FIRST,
        Change { redo: (5, &second), undo: (6, &[]), offsets: (behind_names, 0), ..volume.change(kept) },
    );
    let mut new_entry = vec![0; 16];
    put(&mut new_entry, 0, &listed.iter().find(|one| one.2 == "kept").unwrap().1.to_le_bytes());
    put(&mut new_entry, 8, &((16 + key.len()).next_multiple_of(8) as u16).to_le_bytes());
    put(&mut new_entry, 10, &(key.len() as u16).to_le_bytes());
    new_entry.extend(&key);
    new_entry.resize(new_entry.len().next_multiple_of(8), 0);
    let end = listed.last().unwrap().0;
    log.change(
        FIRST,
        Change { redo: (0xe, &new_entry), undo: (0xf, &[]), offsets: (0, end), ..index.clone() },
    );
    // The size of `kept` in its first name.
    let mut duplicate = block[entry("kept") + 0x18..entry("kept") + 0x50].to_vec();
    let old_duplicate = duplicate.clone();
    put(&mut duplicate, 0x28, &44u64.to_le_bytes());
    log.change(
        FIRST,
        Change {
            redo: (0x14, &duplicate),
            undo: (0x14, &old_duplicate),
            offsets: (0, entry("kept")),
            ..index.clone()
        },
    );
    // One file less.
    let at_gone = entry("gone");
    let length = usize::from(block[at_gone + 8]);
    let old_entry = block[at_gone..at_gone + length].to_vec();
    log.change(
        FIRST,
        Change { redo: (0xf, &[]), undo: (0xe, &old_entry), offsets: (0, at_gone), ..index.clone() },
    );
    let (_, old_record) = volume.record(gone);
    log.change(FIRST, Change { redo: (3, &[]), undo: (2, &old_record[..0x200]), ..volume.change(gone) });
    log.forget(FIRST);

    if unfinished {
        let (place, mut record) = volume.record(undone);
        let data = attribute(&record, 0x80);
        let lsn = log.change(
            SECOND,
            Change {
                redo: (7, b"new content"),
                undo: (7, b"old content"),
                offsets: (data, 0x18),
                ..volume.change(undone)
            },
        );
        // It has reached the disk.
        put(&mut record, data + 0x18, b"new content");
        put(&mut record, 8, &lsn.to_le_bytes());
        protect(&mut record);
        put(&mut volume.bytes, place, &record);
    }
    let log = log.finish(torn);
    volume.log(&log);
    fs::write(&image.path, &volume.bytes).unwrap();
    (image, volume)
}

fn names(fs: &dyn GuestFs) -> Vec<String> {
    let all = compare::entries(fs, node(fs, "d")).unwrap();
    all.into_keys()
        .map(|name| String::from_utf8(name).unwrap())
        .filter(|name| !name.starts_with("a file"))
        .collect()
}

#[test]
fn a_dirty_log_is_replayed_in_memory_as_ntfsrecover_replays_it() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    for (version, torn) in [(1, false), (1, true), (2, false), (2, true)] {
        let (image, volume) = dirty(version, torn, false);
        let fs = image.open();
        assert_eq!(fs.info().warnings, Vec::<String>::new());
        assert_eq!(names(&*fs), ["kept", "undone", "zz a second name"], "{version} {torn}");
        let kept = node(&*fs, "d/kept");
        assert_eq!(content(&*fs, kept), b"hello, this is a longer content than before\n");
        assert_eq!(node(&*fs, "d/zz a second name"), kept);
        let stat = fs.stat(kept).unwrap();
        assert_eq!((stat.links, stat.size, stat.modified.seconds), (2, 44, 1_415_965_319), "{stat:?}");
        // The disk itself was not touched, and says what it said.
        assert_eq!(fs::read(&image.path).unwrap(), volume.bytes);
        if !testkit::require("ntfsrecover") || torn {
            continue;
        }
        let fast = if version == 2 { "-k" } else { "" };
        sh(&format!("ntfsrecover {fast} {} 2>&1", image.path.display()));
        assert_ne!(fs::read(&image.path).unwrap(), volume.bytes, "ntfsrecover did something");
        let mounted = Served::new(&image, "ro");
        let device: Device = Arc::new(MemoryDevice(volume.bytes.clone()));
        let what = Compared { accessed: true, ..Compared::default() };
        // What the log changed is not on the device as it lies there; all else is.
        let count = compare::assert_same(&*fs, &*device, &mounted.at, what);
        assert_eq!((count.files, count.directories), (15, 2));
    }
}

#[test]
fn a_transaction_that_did_not_end_is_undone() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    for version in [1, 2] {
        let (image, _) = dirty(version, false, true);
        let fs = image.open();
        assert_eq!(content(&*fs, node(&*fs, "d/undone")), b"old content");
        assert_eq!(names(&*fs), ["kept", "undone", "zz a second name"]);
    }
}

#[test]
fn a_log_that_does_not_fit_the_volume_is_not_trusted() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    let (_, volume) = dirty(1, false, true);
    let undone = node(&*volume.fs, "d/undone");
    let log = |page: usize| volume.place(NodeId { tree: 0, inode: 2 }, (page * PAGE) as u64);
    let open = |bytes: Vec<u8>, ignore_journal| {
        let options = OpenOptions { ignore_journal, ..OpenOptions::default() };
        ntfs::open(Arc::new(MemoryDevice(bytes)), &options)
    };
    let refused = |change: &dyn Fn(&mut Vec<u8>), said: &str| {
        let mut bytes = volume.bytes.clone();
        change(&mut bytes);
        match open(bytes.clone(), false) {
            Err(Error::Untrusted(reason)) => assert!(reason.contains(said), "{reason}"),
            Err(other) => panic!("{said}: {other}"),
            Ok(_) => panic!("{said}: opened"),
        }
        let fs = open(bytes, true).unwrap();
        assert!(fs.info().warnings.iter().any(|line| line.contains(said)), "{:?}", fs.info().warnings);
        assert_eq!(content(&*fs, undone), b"new content", "as it lies on the disk");
    };
    refused(&|bytes| [0, 1].iter().for_each(|&page| bytes[log(page) + 510] ^= 1), "restart pages");
    // A page in the middle, and its beginning.
    let checkpoint = u64::from_le_bytes(volume.bytes[log(0) + 0x78..log(0) + 0x80].try_into().unwrap());
    let bits = 64 - u32::from_le_bytes(volume.bytes[log(0) + 0x40..log(0) + 0x44].try_into().unwrap());
    let page = ((checkpoint & ((1 << bits) - 1)) << 3) as usize / PAGE;
    refused(&|bytes| bytes[log(page + 1) + 510] ^= 1, "gap");
    refused(&|bytes| bytes[log(page) + 510] ^= 1, "is not in it");
    // The folder's block is not what the log is about.
    let at = volume.fs.clone();
    let (_, folder) = volume.record(node(&*at, "d").inode);
    let pairs = attribute(&folder, 0xa0) + usize::from(folder[attribute(&folder, 0xa0) + 0x20]);
    let mut lcn = [0; 8];
    lcn[..usize::from(folder[pairs] >> 4)]
        .copy_from_slice(&folder[pairs + 2..][..usize::from(folder[pairs] >> 4)]);
    let block = u64::from_le_bytes(lcn) as usize * 4096;
    refused(&|bytes| bytes[block] ^= 1, "damaged");
    refused(
        &|bytes| {
            // Its entries end earlier than the log says.
            let mut whole = bytes[block..block + 4096].to_vec();
            restore(&mut whole);
            let listed = entries(&whole);
            let last = listed[listed.len() - 3].0;
            put(&mut whole, 0x1c, &((last - 0x18) as u32).to_le_bytes());
            protect(&mut whole);
            put(bytes, block, &whole);
        },
        "does not fit",
    );
    // One restart page is enough.
    let mut bytes = volume.bytes.clone();
    bytes[log(0) + 510] ^= 1;
    assert!(open(bytes, false).is_ok());
    // Closed in order, or checked since: nothing is replayed.
    for (at, value) in [(0x3e, 2u8), (0x0, b'C')] {
        let mut bytes = volume.bytes.clone();
        for page in [0, 1] {
            bytes[log(page) + at] = value;
            if value == b'C' {
                put(&mut bytes, log(page), b"CHKD");
            }
        }
        let fs = open(bytes, false).unwrap();
        assert_eq!(content(&*fs, undone), b"new content");
    }
}

#[test]
fn damaged_logs_give_errors_and_nothing_else() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    for version in [1, 2] {
        let (_, volume) = dirty(version, false, true);
        let log = |page: usize| volume.place(NodeId { tree: 0, inode: 2 }, (page * PAGE) as u64);
        let first = if version == 1 { 4 } else { 0x22 };
        // Only what is in front of the last two bytes of each part, so that the pages stay whole.
        let mut places = vec![log(0) + 0x30..log(0) + 0xf0, log(1) + 0x30..log(1) + 0xf0];
        for page in first + 4..first + 8 {
            places.extend((0..8).map(|part| log(page) + part * 512 + 0x40..log(page) + part * 512 + 508));
        }
        let (opened, refused) = mutate(&Arc::new(volume.bytes.clone()), &places, 400);
        assert!(opened > 100 && refused > 20, "{opened} opened, {refused} refused");
    }
}

#[test]
fn a_hibernated_windows_is_said_in_every_listing() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    let image = Image::new("24M", "");
    image.fill("", "head -c 8192 /dev/zero > hiberfil.sys");
    assert_eq!(image.open().info().warnings.len(), 0);
    image.fill("", "printf HIBR | dd of=hiberfil.sys conv=notrunc status=none");
    assert!(image.open().info().warnings[0].contains("hibernated"));
}
