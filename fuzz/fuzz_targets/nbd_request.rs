//! The input is all that an NBD client sends, after one byte that says to what kind of server.
//!
//! Bit 7 of that byte: the client begins with the handshake; otherwise in the transmission phase, with
//! structured replies and block status where bit 6 is set. Bit 5: the disk can be written. Bit 4: the server
//! wants TLS first.
//!
//! What must hold: no panic; each reply to a client with structured replies is whole, ends once, and stays inside
//! the disk; a disk that is read only keeps its bytes, and so does one that can be written behind what was written.

#![no_main]

use block::{BlockSource, ChangeId, Error, Extent, ExtentKind, Result};
use nbd::server::negotiation::{Agreement, Outcome, Security, greet, negotiate};
use nbd::server::transmission::{Conduct, Hands, serve};
use nbd::server::{DiskWriter, Export, FixedExports, Peer};
use nbd::wire::{self, Fields, chunk};
use std::io::{self, Cursor, Read, Write};
use std::ops::Range;
use std::sync::{Arc, Mutex};

/// Longer than what the server has in memory at once, and no whole number of sectors.
const SIZE: usize = (600 << 10) + 77;
/// A client that has got so much goes away.
const ENOUGH: usize = 8 << 20;

/// A disk in memory: the first half is data, the second a hole until it is written.
struct Disk(Mutex<Vec<u8>>);

impl Disk {
    fn new() -> Disk {
        let half = SIZE / 2;
        Disk(Mutex::new((0..SIZE).map(|at| if at < half { at as u8 | 1 } else { 0 }).collect()))
    }

    fn with<T>(&self, range: Range<u64>, work: impl FnOnce(&mut [u8]) -> T) -> Result<T> {
        assert!(range.start < range.end && range.end <= SIZE as u64, "{range:?} is not inside of the disk");
        Ok(work(&mut self.0.lock().unwrap()[range.start as usize..range.end as usize]))
    }
}

impl BlockSource for Disk {
    fn size(&self) -> u64 {
        SIZE as u64
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<()> {
        self.with(offset..offset + buf.len() as u64, |bytes| buf.copy_from_slice(bytes))
    }

    fn extents(&self, range: Range<u64>, _: Option<&ChangeId>) -> Result<Vec<Extent>> {
        self.with(range.clone(), |bytes| {
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count() as u64;
            match zeros {
                0 => {
                    let data = bytes.iter().take_while(|byte| **byte != 0).count() as u64;
                    vec![Extent::new(range.start..range.start + data, ExtentKind::Data)]
                }
                _ => vec![Extent::new(range.start..range.start + zeros, ExtentKind::Hole)],
            }
        })
    }

    fn parallelism(&self) -> usize {
        1
    }
}

impl DiskWriter for Disk {
    fn write_at(&self, data: &[u8], offset: u64) -> Result<()> {
        self.with(offset..offset + data.len() as u64, |bytes| bytes.copy_from_slice(data))
    }

    fn zero(&self, range: Range<u64>, _: bool) -> Result<()> {
        self.with(range, |bytes| bytes.fill(0))
    }

    fn trim(&self, range: Range<u64>) -> Result<()> {
        self.with(range, |_| ())
    }

    fn flush(&self) -> Result<()> {
        Err(Error::Cancelled)
    }

    fn zeroes_fast(&self) -> bool {
        false
    }
}

/// The client: says its piece, and listens until it has had enough.
struct Script<'a> {
    input: Cursor<&'a [u8]>,
    heard: Vec<u8>,
}

impl Read for Script<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.input.read(buf)
    }
}

impl Write for Script<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.heard.len() > ENOUGH {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.heard.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Nothing;

impl Conduct for Nothing {
    fn heard(&self) {}

    fn hang_up(&self) {}
}

/// Every message of a server with structured replies says how long it is.
fn check_replies(heard: &[u8]) {
    let mut fields = Fields(heard);
    while let Some(magic) = fields.u32() {
        if magic == wire::SIMPLE_REPLY_MAGIC {
            assert!(fields.u32().is_some() && fields.u64().is_some(), "a simple reply is cut");
            continue;
        }
        assert_eq!(magic, wire::STRUCTURED_REPLY_MAGIC, "no reply begins here");
        let (flags, kind) = (fields.u16().unwrap(), fields.u16().unwrap());
        assert!(flags <= 1);
        let (_, length) = (fields.u64().unwrap(), fields.u32().unwrap());
        let mut payload = Fields(fields.bytes(length as usize).expect("a chunk is cut"));
        match kind {
            chunk::OFFSET_DATA => {
                let offset = payload.u64().unwrap();
                assert!(!payload.0.is_empty() && offset + payload.0.len() as u64 <= SIZE as u64);
            }
            chunk::OFFSET_HOLE => {
                let (offset, zeros) = (payload.u64().unwrap(), payload.u32().unwrap());
                assert!(zeros > 0 && offset + u64::from(zeros) <= SIZE as u64);
            }
            chunk::BLOCK_STATUS => {
                assert_eq!(flags, 1);
                payload.u32().unwrap();
                assert!(!payload.0.is_empty() && payload.0.len() % 8 == 0);
                while let Some((length, state)) = payload.u32().zip(payload.u32()) {
                    assert!(length > 0 && length as usize <= SIZE && matches!(state, 0 | 3));
                }
            }
            chunk::ERROR_PLAIN => {
                assert!(flags == 1 && payload.u32().is_some_and(|error| error > 0));
                assert_eq!(payload.u16().map(usize::from), Some(payload.0.len()));
            }
            other => panic!("a chunk of kind {other}"),
        }
    }
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((control, script)) = bytes.split_first() else { return };
    let has = |bit: u8| control & bit != 0;
    let disk = Arc::new(Disk::new());
    let before = disk.0.lock().unwrap().clone();
    let export = match has(0x20) {
        true => Export::writable("disk", "a disk", Arc::clone(&disk)),
        false => Export::read_only("disk", "a disk", disk.clone()),
    };
    let export = Arc::new(export);
    let mut stream = Script { input: Cursor::new(script), heard: Vec::new() };
    let agreement = if has(0x80) {
        let exports = FixedExports::new(vec![export]);
        let peer = Peer { address: None, encrypted: false };
        let security = if has(0x10) { Security::TlsFirst } else { Security::Plain };
        let Ok(greeted) = greet(&mut stream) else { return };
        match negotiate(&mut stream, greeted, security, &exports, &peer) {
            Ok(Outcome::Serve(agreement)) => {
                assert!(!has(0x10), "an export is given before TLS");
                agreement
            }
            Ok(Outcome::StartTls) => return assert!(has(0x10)),
            Ok(Outcome::Goodbye) | Err(_) => return,
        }
    } else {
        Agreement { export, structured: has(0x40), allocation: has(0x40) }
    };
    let Script { input, .. } = stream;
    let mut out = Script { input: Cursor::new(&[]), heard: Vec::new() };
    serve(input, &mut out, &agreement, &Hands::new(0), &Nothing);
    if agreement.structured && out.heard.len() <= ENOUGH {
        check_replies(&out.heard);
    }
    if !has(0x20) {
        assert!(*disk.0.lock().unwrap() == before, "a read only disk was changed");
    }
    assert_eq!(agreement.export.activity().usage().connections, 0);
});
