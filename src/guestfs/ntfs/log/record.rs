//! A record of the log: what was done, how it is done again, and how it is undone.

use crate::{Fields, Result};
use std::borrow::Cow;

/// The operations, as they are numbered in the log.
pub mod op {
    pub const NOOP: u16 = 0x00;
    pub const COMPENSATION: u16 = 0x01;
    pub const INITIALIZE_RECORD: u16 = 0x02;
    pub const DEALLOCATE_RECORD: u16 = 0x03;
    pub const WRITE_END_OF_RECORD: u16 = 0x04;
    pub const CREATE_ATTRIBUTE: u16 = 0x05;
    pub const DELETE_ATTRIBUTE: u16 = 0x06;
    pub const UPDATE_RESIDENT: u16 = 0x07;
    pub const UPDATE_NONRESIDENT: u16 = 0x08;
    pub const UPDATE_MAPPING: u16 = 0x09;
    pub const DELETE_DIRTY_CLUSTERS: u16 = 0x0a;
    pub const SET_SIZES: u16 = 0x0b;
    pub const ADD_ENTRY_ROOT: u16 = 0x0c;
    pub const DELETE_ENTRY_ROOT: u16 = 0x0d;
    pub const ADD_ENTRY: u16 = 0x0e;
    pub const DELETE_ENTRY: u16 = 0x0f;
    pub const WRITE_END_OF_INDEX: u16 = 0x10;
    pub const SET_CHILD_ROOT: u16 = 0x11;
    pub const SET_CHILD: u16 = 0x12;
    pub const UPDATE_NAME_ROOT: u16 = 0x13;
    pub const UPDATE_NAME: u16 = 0x14;
    pub const SET_BITS: u16 = 0x15;
    pub const CLEAR_BITS: u16 = 0x16;
    pub const HOT_FIX: u16 = 0x17;
    pub const END_TOP_LEVEL: u16 = 0x18;
    pub const PREPARE: u16 = 0x19;
    pub const COMMIT: u16 = 0x1a;
    pub const FORGET: u16 = 0x1b;
    pub const OPEN_ATTRIBUTE: u16 = 0x1c;
    pub const DUMP_TRANSACTIONS: u16 = 0x20;
    pub const UPDATE_DATA_ROOT: u16 = 0x21;
    pub const UPDATE_DATA: u16 = 0x22;
    pub const ZERO_END_OF_RECORD: u16 = 0x25;

    /// Whether an operation changes nothing on the volume.
    pub fn is_void(op: u16) -> bool {
        matches!(
            op,
            NOOP | COMPENSATION | DELETE_DIRTY_CLUSTERS | HOT_FIX..=FORGET | OPEN_ATTRIBUTE..=DUMP_TRANSACTIONS
        )
    }

    /// Whether it changes a record of the master file table.
    pub fn is_of_record(op: u16) -> bool {
        matches!(
            op,
            INITIALIZE_RECORD..=UPDATE_RESIDENT
                | UPDATE_MAPPING
                | SET_SIZES..=DELETE_ENTRY_ROOT
                | SET_CHILD_ROOT
                | UPDATE_NAME_ROOT
                | UPDATE_DATA_ROOT
                | ZERO_END_OF_RECORD
        )
    }

    /// Whether it changes a block of an index.
    pub fn is_of_index(op: u16) -> bool {
        matches!(op, ADD_ENTRY..=WRITE_END_OF_INDEX | SET_CHILD | UPDATE_NAME | UPDATE_DATA)
    }
}

/// Operations whose data may be missing, and is zeros then.
const NOT_LOGGED: [u16; 3] = [op::UPDATE_RESIDENT, op::UPDATE_NONRESIDENT, op::ZERO_END_OF_RECORD];

/// A record.
pub struct Record {
    /// Its number.
    pub lsn: u64,
    /// Who wrote it: the sequence number and the index of the client.
    pub client: u32,
    /// The record of the same transaction that is to be undone next.
    pub undo_next: u64,
    /// The transaction, as a place in the table of them.
    pub transaction: u32,
    /// Whether it belongs to a transaction; a checkpoint's restart area does not.
    pub ordinary: bool,
    /// All of it behind the header.
    pub data: Vec<u8>,
    /// What it does; nothing where it is not [`ordinary`](Self::ordinary).
    pub action: Action,
}

/// What a record does.
#[derive(Debug, Clone, Default)]
pub struct Action {
    /// The operation that does it again.
    pub redo: u16,
    /// The operation that undoes it.
    pub undo: u16,
    redo_at: (usize, usize),
    undo_at: (usize, usize),
    /// The attribute, as a place in the table of open ones.
    pub attribute: u16,
    /// Where in an MFT record or in the page.
    pub record_offset: usize,
    /// Where from there, or in an index block.
    pub attribute_offset: usize,
    /// Where in the first cluster, in bytes.
    pub cluster_offset: usize,
    /// The attribute's cluster.
    pub vcn: u64,
    /// The volume's clusters, from that on.
    pub lcns: Vec<u64>,
}

impl Record {
    /// From its header and what follows that.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) past its end.
    pub fn parse(lsn: u64, header: &[u8], data: Vec<u8>) -> Result<Self> {
        let fields = Fields::new("a log record", header);
        let ordinary = fields.le32(0x20)? == 1;
        let action = if ordinary { Action::parse(&data)? } else { Action::default() };
        Ok(Record {
            lsn,
            client: fields.le32(0x1c)?,
            undo_next: fields.le64(0x10)?,
            transaction: fields.le32(0x24)?,
            ordinary,
            data,
            action,
        })
    }

    /// The data of the operation that does it again.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) where the record ends before it.
    pub fn redo_data(&self) -> Result<Cow<'_, [u8]>> {
        self.part(self.action.redo, self.action.redo_at)
    }

    /// The data of the operation that undoes it.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) where the record ends before it.
    pub fn undo_data(&self) -> Result<Cow<'_, [u8]>> {
        self.part(self.action.undo, self.action.undo_at)
    }

    fn part(&self, operation: u16, (at, length): (usize, usize)) -> Result<Cow<'_, [u8]>> {
        // What a user writes into a record is not logged, only that the value grew: it grows by zeros. What was written
        // since is in the record where that reached the disk, and then the record is not changed again.
        if NOT_LOGGED.contains(&operation) && at == self.data.len() {
            return Ok(Cow::Owned(vec![0; length]));
        }
        Fields::new("a log record", &self.data).bytes(at, length).map(Cow::Borrowed)
    }

    /// Everything from the redo data on: a dumped table is longer than its length field can say.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) where the record ends before it.
    pub fn table(&self) -> Result<&[u8]> {
        let at = self.action.redo_at.0;
        Fields::new("a log record", &self.data).bytes(at, self.data.len().saturating_sub(at))
    }
}

impl Action {
    fn parse(data: &[u8]) -> Result<Self> {
        let fields = Fields::new("a log record", data);
        let number = |at| fields.le16(at).map(usize::from);
        let count = number(0xe)?;
        Ok(Action {
            redo: fields.le16(0)?,
            undo: fields.le16(2)?,
            redo_at: (number(4)?, number(6)?),
            undo_at: (number(8)?, number(0xa)?),
            attribute: fields.le16(0xc)?,
            record_offset: number(0x10)?,
            attribute_offset: number(0x12)?,
            cluster_offset: number(0x14)? * 512,
            vcn: fields.le64(0x18)?,
            lcns: (0..count).map(|index| fields.le64(0x20 + index * 8)).collect::<Result<_>>()?,
        })
    }

    /// Whether the data of both operations are of one length.
    pub fn same_length(&self) -> bool {
        self.redo_at.1 == self.undo_at.1
    }
}
