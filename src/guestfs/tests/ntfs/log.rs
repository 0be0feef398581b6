//! Dirty logs. No program here writes one, so they are written by hand into real volumes; what the reader makes of them
//! is compared with what ntfsrecover makes of a copy.

use super::*;

const PAGE: usize = 4096;
/// Places in the tables of the checkpoint.
const MFT: u16 = 0x18;
const INDEX: u16 = 0x40;
const FIRST: u32 = 0x18;
const SECOND: u32 = 0x40;

/// A `$LogFile` under construction.
struct Writer {
    version: usize,
    bytes: Vec<u8>,
    /// Where the next record goes, in bytes, and the lap.
    at: usize,
    lap: u64,
    bits: u32,
    /// The last record of the log, and of each transaction.
    last: u64,
    previous: std::collections::HashMap<u32, u64>,
    checkpoint: u64,
}

/// What a record of the log does.
#[derive(Clone, Default)]
struct Change<'a> {
    redo: (u16, &'a [u8]),
    undo: (u16, &'a [u8]),
    attribute: u16,
    offsets: (usize, usize),
    vcn: u64,
    lcn: u64,
    cluster_offset: usize,
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

impl Writer {
    fn new(size: usize, version: usize) -> Self {
        let mut bytes = vec![0xff; size];
        let first = [4, 0x22][version - 1];
        let bits = usize::BITS - size.leading_zeros() - 3;
        bytes[first * PAGE..].fill(0);
        Writer {
            version,
            bytes,
            at: first * PAGE + 0x40,
            lap: 5,
            bits,
            last: 0,
            previous: Default::default(),
            checkpoint: 0,
        }
    }

    fn first(&self) -> usize {
        [4, 0x22][self.version - 1]
    }

    /// Goes to the beginning of the next page.
    fn next_page(&mut self) {
        let mut page = self.at.div_ceil(PAGE);
        if page * PAGE >= self.bytes.len() {
            (page, self.lap) = (self.first(), self.lap + 1);
        }
        self.at = page * PAGE + 0x40;
    }

    fn record(&mut self, kind: u32, transaction: u32, data: &[u8], undo_next: Option<u64>) -> u64 {
        if self.at.is_multiple_of(PAGE) || PAGE - self.at % PAGE < 0x30 {
            self.next_page();
        }
        let lsn = (self.lap << self.bits) | (self.at as u64 >> 3);
        let previous = self.previous.insert(transaction, lsn).unwrap_or(0);
        let mut header = [0; 0x30];
        put(&mut header, 0, &lsn.to_le_bytes());
        put(&mut header, 8, &previous.to_le_bytes());
        put(&mut header, 0x10, &undo_next.unwrap_or(previous).to_le_bytes());
        put(&mut header, 0x18, &(data.len() as u32).to_le_bytes());
        put(&mut header, 0x20, &kind.to_le_bytes());
        put(&mut header, 0x24, &transaction.to_le_bytes());
        let multi = self.at % PAGE + 0x30 + data.len() > PAGE;
        header[0x28] = u8::from(multi);
        put(&mut self.bytes, self.at, &header);
        self.page(self.at / PAGE, lsn, false);
        self.at += 0x30;
        let mut rest = data;
        loop {
            let part = rest.len().min(PAGE - self.at % PAGE);
            if self.at.is_multiple_of(PAGE) && !rest.is_empty() {
                self.next_page();
                continue;
            }
            put(&mut self.bytes, self.at, &rest[..part]);
            self.at += part;
            rest = &rest[part..];
            self.page((self.at - 1) / PAGE, lsn, rest.is_empty());
            if rest.is_empty() {
                break;
            }
        }
        self.at = self.at.next_multiple_of(8);
        self.last = lsn;
        lsn
    }

    /// Brings the header of a page up to date.
    fn page(&mut self, page: usize, lsn: u64, ends: bool) {
        let next = if self.at.div_ceil(PAGE) == page + 1 { self.at - page * PAGE } else { PAGE };
        let head = &mut self.bytes[page * PAGE..page * PAGE + 0x40];
        put(head, 0, b"RCRD\x28\0\x09\0");
        put(head, 8, &lsn.to_le_bytes());
        put(head, 0x14, &[1, 0, 1, 0]);
        if ends {
            head[0x10] |= 1;
            put(head, 0x18, &(next.next_multiple_of(8) as u16).to_le_bytes());
            put(head, 0x20, &lsn.to_le_bytes());
        }
        put(head, 0x28, &[7, 0]);
    }

    fn change(&mut self, transaction: u32, change: Change<'_>) -> u64 {
        let mut data = vec![0; 0x28];
        let padded = change.redo.1.len().next_multiple_of(8);
        let fields = [
            change.redo.0,
            change.undo.0,
            0x28,
            change.redo.1.len() as u16,
            0x28 + padded as u16,
            change.undo.1.len() as u16,
            change.attribute,
            u16::from(change.lcn != 0),
            change.offsets.0 as u16,
            change.offsets.1 as u16,
            (change.cluster_offset / 512) as u16,
            // Since Vista: on a record of $MFT, on a block of an index.
            if change.attribute == MFT { 2 } else { 8 },
        ];
        for (index, field) in fields.iter().enumerate() {
            put(&mut data, index * 2, &field.to_le_bytes());
        }
        put(&mut data, 0x18, &change.vcn.to_le_bytes());
        put(&mut data, 0x20, &change.lcn.to_le_bytes());
        data.extend(change.redo.1);
        data.resize(0x28 + padded, 0);
        data.extend(change.undo.1);
        data.resize(data.len().next_multiple_of(8), 0);
        self.record(1, transaction, &data, None)
    }

    /// The transaction is over.
    fn forget(&mut self, transaction: u32) {
        self.change(transaction, Change { redo: (0x1b, &[]), undo: (1, &[]), ..Change::default() });
        self.previous.remove(&transaction);
    }

    fn checkpoint(&mut self, index_file: u64) {
        let mut open = vec![0; 0x18];
        put(&mut open, 0, &[0x28, 0, 2, 0, 2, 0]);
        for (kind, block, reference) in [(0x80u32, 0u32, 1 << 48), (0xa0, 4096, index_file)] {
            let mut entry = vec![0; 0x28];
            put(&mut entry, 0, &[0xff; 4]);
            put(&mut entry, 4, &block.to_le_bytes());
            put(&mut entry, 8, &kind.to_le_bytes());
            put(&mut entry, 0x10, &reference.to_le_bytes());
            open.extend(entry);
        }
        let opened =
            self.change(FIRST, Change { redo: (0x1d, &open), undo: (0, &[]), ..Change::default() });
        let names: Vec<u8> =
            [vec![0x40, 0, 8, 0], "$I30\0".encode_utf16().flat_map(u16::to_le_bytes).collect(), vec![0; 4]].concat();
        let named =
            self.change(FIRST, Change { redo: (0x1e, &names), undo: (0, &[]), ..Change::default() });
        self.previous.clear();
        let mut area = vec![0; 0x40];
        put(&mut area, 0, &[1]);
        put(&mut area, 8, &opened.to_le_bytes());
        put(&mut area, 0x10, &opened.to_le_bytes());
        put(&mut area, 0x18, &named.to_le_bytes());
        put(&mut area, 0x30, &(open.len() as u32).to_le_bytes());
        put(&mut area, 0x34, &(names.len() as u32).to_le_bytes());
        self.checkpoint = self.record(2, 0, &area, Some(0));
        self.previous.clear();
    }

    /// The whole log, its pages protected; `torn` leaves the last page to its copies.
    fn finish(mut self, torn: bool) -> Vec<u8> {
        let last = (self.at - 1) / PAGE;
        for copy in if self.version == 1 { [2, 3] } else { [2, 0x12] } {
            self.bytes.copy_within(last * PAGE..(last + 1) * PAGE, copy * PAGE);
            let place = ((last * PAGE) as u64).to_le_bytes();
            if self.version == 1 {
                put(&mut self.bytes, copy * PAGE + 8, &place);
            } else {
                put(&mut self.bytes, copy * PAGE + 0x3c, &place[..4]);
            }
        }
        if torn {
            self.bytes[last * PAGE..(last + 1) * PAGE].fill(0);
        }
        let oldest = (5u64 << self.bits) | ((self.first() * PAGE + 0x40) as u64 >> 3);
        for page in 0..2 {
            let head = &mut self.bytes[page * PAGE..(page + 1) * PAGE];
            head.fill(0);
            put(head, 0, b"RSTR\x1e\0\x09\0");
            put(head, 0x10, &4096u32.to_le_bytes());
            put(head, 0x14, &4096u32.to_le_bytes());
            put(head, 0x18, &[0x30, 0, if self.version == 1 { 1 } else { 0 }, 0, self.version as u8, 0]);
            put(head, 0x1e, &[3, 0]);
            let area = &mut head[0x30..];
            put(area, 0, &self.checkpoint.to_le_bytes());
            put(area, 8, &[1, 0, 0xff, 0xff, 0, 0, 0, 0]);
            put(area, 0x10, &(64 - self.bits).to_le_bytes());
            put(area, 0x14, &[0xe0, 0, 0x40, 0]);
            put(area, 0x20, &0x40u32.to_le_bytes());
            put(area, 0x24, &[0x30, 0, 0x40, 0]);
            put(area, 0x40, &oldest.to_le_bytes());
            put(area, 0x48, &self.checkpoint.to_le_bytes());
            put(area, 0x50, &[0xff; 4]);
            put(area, 0x5c, &[8]);
            put(area, 0x60, b"N\0T\0F\0S\0");
            let size = self.bytes.len() as u64;
            put(&mut self.bytes[page * PAGE + 0x30..], 0x18, &size.to_le_bytes());
        }
        for page in self.bytes.chunks_exact_mut(PAGE) {
            if page.starts_with(b"RCRD") || page.starts_with(b"RSTR") {
                protect(page);
            }
        }
        self.bytes
    }
}

/// Puts a structure's update sequence in place.
fn protect(bytes: &mut [u8]) {
    let at = usize::from(u16::from_le_bytes([bytes[4], bytes[5]]));
    for index in 1..=bytes.len() / 512 {
        let tail = index * 512 - 2;
        bytes.copy_within(tail..tail + 2, at + 2 * index);
        bytes.copy_within(at..at + 2, tail);
    }
}

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
    let image = Image::new("24M", "-c 4096");
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
    log.checkpoint((u64::from(folder[0x10]) << 48) | d);
    // More than a page of what is over already.
    for _ in 0..60 {
        log.change(SECOND, Change { redo: (0, &[]), undo: (0, &[0; 100]), ..Change::default() });
    }
    log.forget(SECOND);

    // Another time of the content.
    let (_, record) = volume.record(kept);
    let (standard, data, name) = (attribute(&record, 0x10), attribute(&record, 0x80), attribute(&record, 0x30));
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
    put(&mut second, 0xe, &[9, 0]);
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
    log.change(FIRST, Change { redo: (0xe, &new_entry), undo: (0xf, &[]), offsets: (0, end), ..index.clone() });
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
    log.change(FIRST, Change { redo: (0xf, &[]), undo: (0xe, &old_entry), offsets: (0, at_gone), ..index.clone() });
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
    all.into_keys().map(|name| String::from_utf8(name).unwrap()).filter(|name| !name.starts_with("a file")).collect()
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
    refused(&|bytes| bytes[log(5) + 510] ^= 1, "gap");
    refused(&|bytes| bytes[log(4) + 510] ^= 1, "is not in it");
    // The folder's block is not what the log is about.
    let at = volume.fs.clone();
    let (_, folder) = volume.record(node(&*at, "d").inode);
    let pairs = attribute(&folder, 0xa0) + usize::from(folder[attribute(&folder, 0xa0) + 0x20]);
    let mut lcn = [0; 8];
    lcn[..usize::from(folder[pairs] >> 4)].copy_from_slice(&folder[pairs + 2..][..usize::from(folder[pairs] >> 4)]);
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
        for page in first..first + 4 {
            places.extend((0..8).map(|part| log(page) + part * 512 + 0x40..log(page) + part * 512 + 508));
        }
        let (opened, refused) = mutate(&volume.bytes, &places, 400);
        assert!(opened > 50 && refused > 50, "{opened} opened, {refused} refused");
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
