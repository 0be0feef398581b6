//! Writes a `$LogFile` by hand: pages, a checkpoint, records.

pub const PAGE: usize = 4096;
/// Places in the tables of the checkpoint.
pub const MFT: u16 = 0x18;
pub const INDEX: u16 = 0x40;
pub const FIRST: u32 = 0x18;
pub const SECOND: u32 = 0x40;

/// A `$LogFile` under construction.
pub struct Writer {
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
    /// The first record of the tables that the checkpoint wrote.
    oldest: u64,
}

/// What a record of the log does.
#[derive(Clone, Default)]
pub struct Change<'a> {
    pub redo: (u16, &'a [u8]),
    pub undo: (u16, &'a [u8]),
    pub attribute: u16,
    pub offsets: (usize, usize),
    pub vcn: u64,
    pub lcn: u64,
    pub cluster_offset: usize,
}

pub fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

impl Writer {
    pub fn new(size: usize, version: usize) -> Self {
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
            oldest: 0,
        }
    }

    pub fn first(&self) -> usize {
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

    pub fn change(&mut self, transaction: u32, change: Change<'_>) -> u64 {
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
    pub fn forget(&mut self, transaction: u32) {
        self.change(transaction, Change { redo: (0x1b, &[]), undo: (1, &[]), ..Change::default() });
        self.previous.remove(&transaction);
    }

    pub fn checkpoint(&mut self, index_file: u64) {
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
        let opened = self.change(FIRST, Change { redo: (0x1d, &open), undo: (0, &[]), ..Change::default() });
        self.oldest = opened;
        let names: Vec<u8> =
            [vec![0x40, 0, 8, 0], "$I30\0".encode_utf16().flat_map(u16::to_le_bytes).collect(), vec![0; 4]]
                .concat();
        let named = self.change(FIRST, Change { redo: (0x1e, &names), undo: (0, &[]), ..Change::default() });
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
    pub fn finish(mut self, torn: bool) -> Vec<u8> {
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
            put(area, 0x40, &self.oldest.to_le_bytes());
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
pub fn protect(bytes: &mut [u8]) {
    let at = usize::from(u16::from_le_bytes([bytes[4], bytes[5]]));
    for index in 1..=bytes.len() / 512 {
        let tail = index * 512 - 2;
        bytes.copy_within(tail..tail + 2, at + 2 * index);
        bytes.copy_within(at..at + 2, tail);
    }
}
