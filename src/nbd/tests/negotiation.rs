//! The server's side of the protocol, message by message, over a real socket.

use crate::served::{Served, bytes_of, patchy};
use nbd::Overlay;
use nbd::server::Export;
use nbd::wire::{self, Fields, chunk, command, export_flag, info, option, reply};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;
use testkit::mem::MemSource;

const FIXED: u32 = 1;
const NO_ZEROES: u32 = 2;

/// A client that says what it is told to.
pub struct Raw(pub UnixStream);

impl Raw {
    pub fn connect(served: &Served) -> Raw {
        let stream = UnixStream::connect(served.socket()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Raw(stream)
    }

    /// Past the greeting.
    pub fn greeted(served: &Served, flags: u32) -> Raw {
        let mut client = Raw::connect(served);
        let hello = client.take(18);
        let mut fields = Fields(&hello);
        assert_eq!((fields.u64(), fields.u64()), (Some(wire::INIT_MAGIC), Some(wire::OPTION_MAGIC)));
        assert_eq!(fields.u16(), Some(3));
        client.send(&flags.to_be_bytes());
        client
    }

    /// In the transmission phase of `disk0`, with structured replies and block status, if `structured`.
    pub fn serving(served: &Served, structured: bool) -> Raw {
        let mut client = Raw::greeted(served, FIXED | NO_ZEROES);
        if structured {
            assert_eq!(client.option(option::STRUCTURED_REPLY, &[]), [(reply::ACK, vec![])]);
            let answers = client.option(option::SET_META_CONTEXT, &query("disk0", &["base:allocation"]));
            assert_eq!(answers[0].0, reply::META_CONTEXT);
        }
        let answers = client.option(option::GO, &named("disk0", &[]));
        assert_eq!(answers.last().unwrap().0, reply::ACK);
        client
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    pub fn take(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// All replies to an option, the final one last.
    pub fn option(&mut self, code: u32, data: &[u8]) -> Vec<(u32, Vec<u8>)> {
        self.send(&wire::encode_option(code, data));
        let mut answers = Vec::new();
        loop {
            let head = self.take(20);
            let mut fields = Fields(&head);
            assert_eq!((fields.u64(), fields.u32()), (Some(wire::OPTION_REPLY_MAGIC), Some(code)));
            let (kind, length) = (fields.u32().unwrap(), fields.u32().unwrap());
            answers.push((kind, self.take(length as usize)));
            if kind == reply::ACK || kind & reply::ERROR != 0 {
                return answers;
            }
        }
    }

    pub fn request(&mut self, command: u16, flags: u16, offset: u64, length: u32, payload: &[u8]) {
        let request = wire::Request { flags, command, cookie: 0xc00c1e, offset, length };
        self.send(&[&request.encode()[..], payload].concat());
    }

    /// A simple reply: its error.
    pub fn simple(&mut self) -> u32 {
        let head = self.take(16);
        let mut fields = Fields(&head);
        assert_eq!(fields.u32(), Some(wire::SIMPLE_REPLY_MAGIC));
        let error = fields.u32().unwrap();
        assert_eq!(fields.u64(), Some(0xc00c1e));
        error
    }

    /// A chunk: whether it is the last, its kind and payload.
    pub fn chunk(&mut self) -> (bool, u16, Vec<u8>) {
        let head = self.take(20);
        let mut fields = Fields(&head);
        assert_eq!(fields.u32(), Some(wire::STRUCTURED_REPLY_MAGIC));
        let (flags, kind, cookie) = (fields.u16().unwrap(), fields.u16().unwrap(), fields.u64());
        assert_eq!(cookie, Some(0xc00c1e));
        let length = fields.u32().unwrap();
        (flags & chunk::DONE != 0, kind, self.take(length as usize))
    }

    /// The error of a request that fails.
    fn error(&mut self) -> u32 {
        let (last, kind, payload) = self.chunk();
        assert_eq!((last, kind), (true, chunk::ERROR_PLAIN));
        let mut fields = Fields(&payload);
        let error = fields.u32().unwrap();
        assert_eq!(usize::from(fields.u16().unwrap()), fields.0.len());
        error
    }

    /// The server closes the connection, and says nothing more.
    pub fn is_closed(&mut self) -> bool {
        !matches!(self.0.read(&mut [0; 64]), Ok(1..))
    }
}

fn named(name: &str, kinds: &[u16]) -> Vec<u8> {
    let mut data = Vec::new();
    wire::push_string(&mut data, name);
    data.extend_from_slice(&(kinds.len() as u16).to_be_bytes());
    kinds.iter().for_each(|kind| data.extend_from_slice(&kind.to_be_bytes()));
    data
}

fn query(name: &str, queries: &[&str]) -> Vec<u8> {
    let mut data = Vec::new();
    wire::push_string(&mut data, name);
    data.extend_from_slice(&(queries.len() as u32).to_be_bytes());
    queries.iter().for_each(|query| wire::push_string(&mut data, query));
    data
}

fn writable() -> Served {
    let below = MemSource::new(vec![3; 1 << 20]);
    let overlay = Overlay::over(Arc::new(below), &std::env::temp_dir()).unwrap();
    Served::new(vec![Export::writable("disk0", "", Arc::new(overlay))], crate::served::hasty())
}

#[test]
fn options_are_answered_as_the_protocol_says() {
    let served = Served::disk(patchy(1 << 20));
    let mut client = Raw::greeted(&served, FIXED | NO_ZEROES);
    let only = |answers: Vec<(u32, Vec<u8>)>| answers[0].0;
    assert_eq!(only(client.option(77, b"what")), reply::ERR_UNSUP);
    assert_eq!(only(client.option(option::STARTTLS, &[])), reply::ERR_POLICY);
    assert_eq!(only(client.option(option::LIST, b"x")), reply::ERR_INVALID);
    assert_eq!(only(client.option(option::STRUCTURED_REPLY, b"x")), reply::ERR_INVALID);
    assert_eq!(only(client.option(option::INFO, &named("other", &[]))), reply::ERR_UNKNOWN);
    assert_eq!(only(client.option(option::INFO, &named("disk0", &[])[..9])), reply::ERR_INVALID);
    let mut lying = named("disk0", &[]);
    lying[0] = 0xff;
    assert_eq!(only(client.option(option::GO, &lying)), reply::ERR_INVALID);
    let early = client.option(option::SET_META_CONTEXT, &query("disk0", &["base:allocation"]));
    assert_eq!(only(early), reply::ERR_INVALID, "block status without structured replies");

    let listed = client.option(option::LIST, &[]);
    assert_eq!(
        listed,
        [(reply::SERVER, [&5u32.to_be_bytes()[..], b"disk0a disk"].concat()), (reply::ACK, vec![])]
    );
    let told = client.option(option::INFO, &named("", &[info::NAME, info::DESCRIPTION]));
    let flags = export_flag::HAS_FLAGS | export_flag::READ_ONLY | export_flag::CAN_MULTI_CONN;
    let export = [&0u16.to_be_bytes()[..], &(1u64 << 20).to_be_bytes(), &flags.to_be_bytes()].concat();
    assert_eq!(told[0], (reply::INFO, export));
    assert_eq!(told[1], (reply::INFO, b"\0\x01disk0".to_vec()));
    assert_eq!(told[2], (reply::INFO, b"\0\x02a disk".to_vec()));

    assert_eq!(only(client.option(option::STRUCTURED_REPLY, &[])), reply::ACK);
    for (code, queries, found) in [
        (option::LIST_META_CONTEXT, &[][..], true),
        (option::LIST_META_CONTEXT, &["base:"], true),
        (option::LIST_META_CONTEXT, &["qemu:"], false),
        (option::SET_META_CONTEXT, &["base:"], false),
        (option::SET_META_CONTEXT, &["qemu:x", "base:allocation"], true),
        (option::SET_META_CONTEXT, &[], false),
    ] {
        let answers = client.option(code, &query("disk0", queries));
        assert_eq!(answers[0].0 == reply::META_CONTEXT, found, "{code} {queries:?}");
        assert_eq!(answers.last().unwrap().0, reply::ACK);
    }
    let mut endless = query("disk0", &["base:allocation"]);
    endless[9] = 0xff;
    assert_eq!(only(client.option(option::SET_META_CONTEXT, &endless)), reply::ERR_INVALID);
    assert_eq!(only(client.option(option::ABORT, &[])), reply::ACK);
    assert!(client.is_closed());
}

#[test]
fn the_oldest_way_to_choose_an_export_works() {
    let served = Served::disk(MemSource::new(vec![9; 4096]));
    for (flags, padding) in [(FIXED, wire::EXPORT_PADDING), (FIXED | NO_ZEROES, 0)] {
        let mut client = Raw::greeted(&served, flags);
        client.send(&wire::encode_option(option::EXPORT_NAME, b"disk0"));
        let told = client.take(10 + padding);
        assert_eq!(told[..8], 4096u64.to_be_bytes());
        client.request(command::READ, 0, 4000, 96, &[]);
        assert_eq!(client.simple(), 0);
        assert_eq!(client.take(96), [9; 96]);
        client.request(command::DISC, 0, 0, 0, &[]);
        assert!(client.is_closed());
    }
    let mut client = Raw::greeted(&served, FIXED);
    client.send(&wire::encode_option(option::EXPORT_NAME, b"other"));
    assert!(client.is_closed());
}

#[test]
fn what_can_not_be_meant_is_an_error_and_the_connection_goes_on() {
    let served = Served::disk(patchy(1 << 20));
    let mut client = Raw::serving(&served, true);
    let size = 1 << 20;
    for (command, flags, offset, length, error) in [
        (command::READ, 0, size - 1, 2, 22),
        (command::READ, 0, u64::MAX, u32::MAX, 22),
        (command::READ, 0, 0, 0, 22),
        (command::READ, 1 << 15, 0, 512, 22),
        (command::BLOCK_STATUS, 0, 0, 0, 22),
        (command::BLOCK_STATUS, 0, size, 1, 22),
        (command::FLUSH, 0, 0, 0, 1),
        (command::TRIM, 0, 0, 512, 1),
        (command::WRITE_ZEROES, 0, 0, 512, 1),
        (99, 0, 0, 0, 22),
    ] {
        client.request(command, flags, offset, length, &[]);
        assert_eq!(client.error(), error, "command {command} at {offset}+{length}");
    }
    // The bytes of a write that is refused are not taken for requests.
    client.request(command::WRITE, 0, 0, 1 << 20, &vec![0x25; 1 << 20]);
    assert_eq!(client.error(), 1);
    client.request(command::READ, 0, 0, 512, &[]);
    let (last, kind, payload) = client.chunk();
    assert_eq!((last, kind, payload.len()), (true, chunk::OFFSET_DATA, 520));
}

#[test]
fn without_an_agreed_context_there_is_no_block_status() {
    let served = Served::disk(patchy(1 << 20));
    let mut client = Raw::greeted(&served, FIXED | NO_ZEROES);
    client.option(option::STRUCTURED_REPLY, &[]);
    client.option(option::SET_META_CONTEXT, &query("disk0", &["base:allocation"]));
    // Another name for the same disk is another export.
    client.option(option::GO, &named("", &[]));
    client.request(command::BLOCK_STATUS, 0, 0, 512, &[]);
    assert_eq!(client.error(), 22);
}

#[test]
fn a_long_read_comes_in_chunks_without_its_holes_unless_it_may_not() {
    const SIZE: usize = 5 << 20;
    let disk = patchy(SIZE as u64);
    let expected = bytes_of(&disk);
    let served = Served::disk(disk);
    let mut client = Raw::serving(&served, true);
    client.request(command::READ, 0, 0, SIZE as u32, &[]);
    let mut found = vec![0xee; SIZE];
    let (mut holes, mut covered) = (0, 0);
    loop {
        let (last, kind, payload) = client.chunk();
        let mut fields = Fields(&payload);
        let offset = fields.u64().unwrap() as usize;
        let length = match kind {
            chunk::OFFSET_HOLE => {
                let length = fields.u32().unwrap() as usize;
                found[offset..offset + length].fill(0);
                holes += 1;
                length
            }
            chunk::OFFSET_DATA => {
                found[offset..offset + fields.0.len()].copy_from_slice(fields.0);
                fields.0.len()
            }
            other => panic!("chunk of kind {other}"),
        };
        covered += length;
        if last {
            break;
        }
    }
    assert!(found == expected && covered == SIZE && holes > 3, "{covered} bytes, {holes} holes");

    client.request(command::READ, wire::command_flag::DF, 0, SIZE as u32, &[]);
    let (last, kind, payload) = client.chunk();
    assert!(last && kind == chunk::OFFSET_DATA && payload[8..] == expected);

    let mut simple = Raw::serving(&served, false);
    simple.request(command::READ, 0, 0, SIZE as u32, &[]);
    assert_eq!(simple.simple(), 0);
    assert!(simple.take(SIZE) == expected);
    simple.request(command::READ, 0, SIZE as u64, 1, &[]);
    assert_eq!(simple.simple(), 22);
}

#[test]
fn block_status_tells_one_extent_or_all_of_them() {
    let served = Served::disk(patchy(1 << 20));
    let mut client = Raw::serving(&served, true);
    let mut ask = |flags: u16| {
        client.request(command::BLOCK_STATUS, flags, 0, 1 << 20, &[]);
        let (last, kind, payload) = client.chunk();
        assert_eq!((last, kind), (true, chunk::BLOCK_STATUS));
        let mut fields = Fields(&payload[4..]);
        std::iter::from_fn(|| fields.u32().zip(fields.u32())).collect::<Vec<_>>()
    };
    let all = ask(0);
    assert!(all.len() > 2 && all.iter().map(|(length, _)| u64::from(*length)).sum::<u64>() == 1 << 20);
    assert!(all.windows(2).all(|pair| pair[0].1 != pair[1].1), "neighbours of one kind are one: {all:?}");
    assert_eq!(ask(wire::command_flag::REQ_ONE), [all[0]]);
}

#[test]
fn writes_short_and_long_and_behind_the_end() {
    let served = writable();
    let mut client = Raw::serving(&served, true);
    client.request(command::WRITE, 0, 100, 3, b"abc");
    assert_eq!(client.simple(), 0);
    let long: Vec<u8> = (0..900_000u32).map(|n| n as u8).collect();
    client.request(command::WRITE, wire::command_flag::FUA, 1000, 900_000, &long);
    assert_eq!(client.simple(), 0);
    client.request(command::WRITE_ZEROES, wire::command_flag::FAST_ZERO, 2000, 5000, &[]);
    assert_eq!(client.simple(), 0);
    client.request(command::TRIM, 0, 950_000, 50_000, &[]);
    assert_eq!(client.simple(), 0);
    client.request(command::FLUSH, 0, 0, 0, &[]);
    assert_eq!(client.simple(), 0);
    client.request(command::WRITE, 0, (1 << 20) - 1, 2, b"xy");
    assert_eq!(client.error(), 28);
    client.request(command::READ, wire::command_flag::DF, 0, 901_000, &[]);
    let (_, _, payload) = client.chunk();
    let mut expected = vec![3; 901_000];
    expected[100..103].copy_from_slice(b"abc");
    expected[1000..901_000].copy_from_slice(&long);
    expected[2000..7000].fill(0);
    assert!(payload[8..] == expected);
}
