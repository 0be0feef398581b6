//! Servers that break the protocol, byte by byte, over a stream in memory.

use nbd::handshake::{Export, choose_export, greet};
use nbd::session::{Session, Status};
use nbd::wire::{self, allocation, chunk, export_flag, info, option, reply};
use nbd::{Error, Refusal};
use std::io::{self, Cursor, Read, Write};

/// What a server sends, whatever it is asked.
struct Script(Cursor<Vec<u8>>);

impl Read for Script {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl Write for Script {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const KIB: u64 = 1024;

fn export() -> Export {
    Export {
        size: 1 << 30,
        flags: export_flag::HAS_FLAGS,
        minimum_block: 1,
        preferred_block: 4096,
        maximum_payload: wire::DEFAULT_MAXIMUM_PAYLOAD,
        structured: true,
        allocation_context: Some(5),
    }
}

fn session(script: Vec<u8>) -> Session<Script> {
    Session::new(Script(Cursor::new(script)), export(), 1)
}

fn simple(error: u32, cookie: u64) -> Vec<u8> {
    [&wire::SIMPLE_REPLY_MAGIC.to_be_bytes()[..], &error.to_be_bytes(), &cookie.to_be_bytes()].concat()
}

fn head(flags: u16, kind: u16, cookie: u64, length: u32) -> Vec<u8> {
    [
        &wire::STRUCTURED_REPLY_MAGIC.to_be_bytes()[..],
        &flags.to_be_bytes(),
        &kind.to_be_bytes(),
        &cookie.to_be_bytes(),
        &length.to_be_bytes(),
    ]
    .concat()
}

fn piece(flags: u16, kind: u16, cookie: u64, payload: &[u8]) -> Vec<u8> {
    [head(flags, kind, cookie, payload.len() as u32), payload.to_vec()].concat()
}

fn data(last: bool, cookie: u64, offset: u64, bytes: &[u8]) -> Vec<u8> {
    piece(u16::from(last), chunk::OFFSET_DATA, cookie, &[&offset.to_be_bytes()[..], bytes].concat())
}

fn hole(last: bool, cookie: u64, offset: u64, length: u32) -> Vec<u8> {
    let payload = [&offset.to_be_bytes()[..], &length.to_be_bytes()].concat();
    piece(u16::from(last), chunk::OFFSET_HOLE, cookie, &payload)
}

fn failed(last: bool, kind: u16, cookie: u64, code: u32, text: &str) -> Vec<u8> {
    let mut payload = [&code.to_be_bytes()[..], &(text.len() as u16).to_be_bytes(), text.as_bytes()].concat();
    if kind == chunk::ERROR_OFFSET {
        payload.extend_from_slice(&0u64.to_be_bytes());
    }
    piece(u16::from(last), kind, cookie, &payload)
}

fn status(last: bool, cookie: u64, context: u32, pairs: &[(u32, u32)]) -> Vec<u8> {
    let mut payload = context.to_be_bytes().to_vec();
    for (length, flags) in pairs {
        payload.extend_from_slice(&length.to_be_bytes());
        payload.extend_from_slice(&flags.to_be_bytes());
    }
    piece(u16::from(last), chunk::BLOCK_STATUS, cookie, &payload)
}

fn done(cookie: u64) -> Vec<u8> {
    head(chunk::DONE, chunk::NONE, cookie, 0)
}

/// Reads 1024 bytes at 4096 from a server that sends `script` for it.
fn read(script: Vec<u8>) -> nbd::Result<Vec<u8>> {
    let mut buf = vec![0xA5; 1024];
    session(script).read(&mut buf, 4096).map(|()| buf)
}

fn broken<T>(result: nbd::Result<T>) -> String {
    match result {
        Err(Error::Protocol(text)) => text,
        Err(other) => panic!("another error: {other:?}"),
        Ok(_) => panic!("it was taken"),
    }
}

#[test]
fn pieces_of_a_read_come_in_any_order() {
    let script = [
        hole(false, 1, 4096 + 512, 256),
        data(false, 1, 4096 + 768, &[3; 256]),
        data(false, 1, 4096, &[1; 512]),
        done(1),
    ];
    let expected = [vec![1; 512], vec![0; 256], vec![3; 256]].concat();
    assert_eq!(read(script.concat()).unwrap(), expected);
}

#[test]
fn replies_of_two_requests_come_in_any_order() {
    let half = 512 * KIB;
    let (first, second) = (vec![1; half as usize], vec![2; half as usize]);
    let script = [
        data(false, 2, half, &second[1..]),
        data(false, 1, 0, &first),
        // The byte that was missing, last.
        data(true, 2, 2 * half - 1, &[2]),
        done(1),
        hole(true, 3, 2 * half, 7),
    ];
    let mut buf = vec![0xA5; 2 * half as usize + 7];
    session(script.concat()).read(&mut buf, 0).unwrap();
    assert!(buf == [first, second, vec![0; 7]].concat());
}

#[test]
fn what_was_not_asked_for_is_not_taken() {
    for (what, script) in [
        ("another cookie", data(true, 9, 4096, &[0; 1024])),
        (
            "a cookie that was used up",
            [data(true, 1, 4096, &[0; 1024]), data(true, 1, 4096, &[0; 1024])].concat(),
        ),
        ("bytes before", data(true, 1, 4095, &[0; 1024])),
        ("bytes behind", data(true, 1, 4097, &[0; 1024])),
        ("bytes far away", data(true, 1, u64::MAX - 3, &[0; 8])),
        ("no bytes", data(true, 1, 4096, &[])),
        ("a byte twice", [data(false, 1, 4096, &[0; 1024]), data(true, 1, 5119, &[0])].concat()),
        ("a hole over data", [data(false, 1, 4096, &[0; 1024]), hole(true, 1, 4096, 1024)].concat()),
        ("a hole of no bytes", hole(true, 1, 4096, 0)),
        ("a hole behind", hole(true, 1, 4096, 1025)),
        ("a long hole chunk", piece(1, chunk::OFFSET_HOLE, 1, &[0; 13])),
        ("a short data chunk", head(1, chunk::OFFSET_DATA, 1, 7)),
        ("a huge data chunk", head(1, chunk::OFFSET_DATA, 1, u32::MAX)),
        ("not all bytes", data(true, 1, 4096, &[0; 1023])),
        ("nothing", done(1)),
        ("an end that is none", head(0, chunk::NONE, 1, 0)),
        ("an end with a payload", piece(1, chunk::NONE, 1, &[0; 4])),
        ("a simple reply", simple(0, 1)),
        ("block status", status(true, 1, 5, &[(1024, 0)])),
        ("an unknown chunk", piece(1, 77, 1, &[0; 4])),
        ("a wrong magic number", vec![0; 64]),
        ("an error without an error", failed(true, chunk::ERROR_PLAIN, 1, 0, "")),
        ("an error that is too short", piece(1, chunk::ERROR_PLAIN, 1, &[0; 5])),
        ("an error that is too long", head(1, chunk::ERROR_PLAIN, 1, 1 << 20)),
        ("a text longer than its error", piece(1, chunk::ERROR_PLAIN, 1, &[0, 0, 0, 5, 1, 0])),
        ("endless errors", failed(false, chunk::ERROR_PLAIN, 1, 5, "").repeat(10_000)),
    ] {
        let mut session = session([script, vec![0; 2048]].concat());
        let mut buf = vec![0; 1024];
        // A used-up cookie is noticed by the next read.
        let result = session.read(&mut buf, 4096).and_then(|()| session.read(&mut buf, 4096));
        eprintln!("{what}: {}", broken(result));
        assert!(broken(session.read(&mut buf, 4096)).contains("given up"), "{what}: the session goes on");
    }
}

#[test]
fn a_stream_that_ends_is_a_lost_connection() {
    let whole = data(true, 1, 4096, &[0; 1024]);
    for length in 0..whole.len() {
        let result = read(whole[..length].to_vec());
        assert!(matches!(result, Err(Error::Lost(_))), "after {length} bytes");
    }
    assert!(read(whole).is_ok());
}

#[test]
fn errors_leave_a_session_in_step() {
    for (kind, text, last) in [
        (chunk::ERROR_PLAIN, "disk \x1b[31mon fire", false),
        (chunk::ERROR_OFFSET, "", true),
        // An error type of the future.
        (chunk::ERROR + 99, "new", true),
    ] {
        let mut script = [data(false, 1, 4096, &[0; 512]), failed(last, kind, 1, 5, text)].concat();
        if !last {
            script.extend(hole(false, 1, 4096 + 512, 512));
            script.extend(done(1));
        }
        script.extend(data(true, 2, 0, &[7; 16]));
        let mut session = session(script);
        let error = session.read(&mut [0; 1024], 4096).unwrap_err();
        assert!(matches!(&error, Error::Request { code: 5, .. }), "{error:?}");
        assert!(!error.to_string().contains('\x1b'), "{error}");
        let mut buf = [0; 16];
        session.read(&mut buf, 0).unwrap();
        assert_eq!(buf, [7; 16]);
    }
}

#[test]
fn simple_replies_are_taken_where_no_others_were_agreed_on() {
    let export = Export { structured: false, allocation_context: None, ..export() };
    let script = [simple(0, 1), vec![7; 1024], simple(5, 2), done(3)].concat();
    let mut session = Session::new(Script(Cursor::new(script)), export, 1);
    let mut buf = [0; 1024];
    session.read(&mut buf, 0).unwrap();
    assert_eq!(buf, [7; 1024]);
    assert!(matches!(session.read(&mut buf, 0), Err(Error::Request { code: 5, .. })));
    assert!(broken(session.read(&mut buf, 0)).contains("magic"), "a chunk that was not agreed on");
}

#[test]
fn block_status_is_bounded_and_checked() {
    let ask = |script: Vec<u8>| session(script).block_status(0, 1 << 30);
    let state = |length, zero, hole| Status { length, zero, hole };
    let both = allocation::HOLE | allocation::ZERO;
    let pairs = [(512, 0), (512, 0), (4096, both), (u32::MAX, allocation::ZERO | 0xf0)];
    let expected =
        [state(1024, false, false), state(4096, true, true), state(u64::from(u32::MAX), true, false)];
    assert_eq!(ask(status(true, 1, 5, &pairs)).unwrap(), expected);
    assert_eq!(ask([status(false, 1, 5, &pairs), done(1)].concat()).unwrap(), expected);

    // A million descriptors are taken, not kept.
    let many: Vec<(u32, u32)> = (0..1 << 20).map(|n| (512, n % 2)).collect();
    let mut session = session([status(true, 1, 5, &many), status(true, 2, 5, &[(1, 0)])].concat());
    let kept = session.block_status(0, 1 << 30).unwrap();
    assert!(kept.len() <= 32 << 10, "{}", kept.len());
    assert_eq!(session.block_status(0, 1).unwrap().len(), 1, "still in step");

    for (what, script) in [
        ("another context", status(true, 1, 6, &[(512, 0)])),
        ("a piece of no bytes", status(true, 1, 5, &[(0, 0)])),
        ("no piece", status(true, 1, 5, &[])),
        ("half a piece", piece(1, chunk::BLOCK_STATUS, 1, &[0, 0, 0, 5, 0, 0, 2, 0])),
        ("too many pieces", head(1, chunk::BLOCK_STATUS, 1, u32::MAX - 3)),
        ("nothing", done(1)),
        ("twice", [status(false, 1, 5, &[(512, 0)]), status(true, 1, 5, &[(512, 0)])].concat()),
        ("a simple reply", simple(0, 1)),
        ("data", data(true, 1, 0, &[0; 16])),
        ("endless errors", failed(false, chunk::ERROR_PLAIN, 1, 5, "").repeat(10_000)),
    ] {
        eprintln!("{what}: {}", broken(ask(script)));
    }
    assert!(matches!(
        ask(failed(true, chunk::ERROR_PLAIN, 1, 22, "no")),
        Err(Error::Request { code: 22, .. })
    ));
}

#[test]
fn writes_are_answered_in_any_order_and_errors_leave_them_in_step() {
    let bytes = vec![1; 1024 * 1024 + 1];
    let script = [simple(0, 2), done(1), simple(0, 3)].concat();
    session(script).write(&bytes, 0).unwrap();
    let script = [
        failed(true, chunk::ERROR_PLAIN, 1, 28, "full"),
        simple(0, 2),
        simple(0, 3),
        failed(true, chunk::ERROR_OFFSET, 4, 95, ""),
        simple(0, 5),
    ];
    let mut session = session(script.concat());
    assert!(matches!(session.write(&bytes, 0), Err(Error::Request { code: 28, .. })));
    session.flush().unwrap();
    assert!(matches!(session.write_zeroes(0, 4096, true), Err(Error::Request { code: 95, .. })));
    session.write(&[0; 16], 0).unwrap();
    assert!(matches!(session.flush(), Err(Error::Lost(_))));
}

/// The greeting of a fixed newstyle server.
fn greeting() -> Vec<u8> {
    [&wire::INIT_MAGIC.to_be_bytes()[..], &wire::OPTION_MAGIC.to_be_bytes(), &[0, 3]].concat()
}

fn answer(option: u32, kind: u32, data: &[u8]) -> Vec<u8> {
    [
        &wire::OPTION_REPLY_MAGIC.to_be_bytes()[..],
        &option.to_be_bytes(),
        &kind.to_be_bytes(),
        &(data.len() as u32).to_be_bytes(),
        data,
    ]
    .concat()
}

fn described(size: u64) -> Vec<u8> {
    let data = [&info::EXPORT.to_be_bytes()[..], &size.to_be_bytes(), &[1, 3]].concat();
    answer(option::GO, reply::INFO, &data)
}

fn blocks(sizes: [u32; 3]) -> Vec<u8> {
    let mut data = info::BLOCK_SIZE.to_be_bytes().to_vec();
    sizes.iter().for_each(|size| data.extend_from_slice(&size.to_be_bytes()));
    answer(option::GO, reply::INFO, &data)
}

/// What a server may say before `GO`.
fn before_go() -> Vec<u8> {
    let context = [&7u32.to_be_bytes()[..], b"base:allocation"].concat();
    [
        greeting(),
        answer(option::STRUCTURED_REPLY, reply::ACK, &[]),
        answer(option::SET_META_CONTEXT, reply::META_CONTEXT, &context),
        answer(option::SET_META_CONTEXT, reply::ACK, &[]),
    ]
    .concat()
}

fn negotiate(script: Vec<u8>) -> nbd::Result<Export> {
    let mut stream = Script(Cursor::new(script));
    let style = greet(&mut stream)?;
    choose_export(&mut stream, style, "x")
}

fn go(answers: &[Vec<u8>]) -> nbd::Result<Export> {
    negotiate([before_go(), answers.concat()].concat())
}

#[test]
fn a_handshake_finds_out_what_there_is() {
    let export =
        go(&[described(1 << 40), blocks([512, 65_536, u32::MAX]), answer(option::GO, reply::ACK, &[])])
            .unwrap();
    assert_eq!((export.size, export.flags), (1 << 40, 0x103));
    assert_eq!(
        (export.minimum_block, export.preferred_block, export.maximum_payload),
        (512, 65_536, 32 << 20)
    );
    assert_eq!((export.structured, export.allocation_context), (true, Some(7)));
}

#[test]
fn an_oldstyle_server_is_taken_only_without_a_name() {
    let magic = [&wire::INIT_MAGIC.to_be_bytes()[..], &wire::OLDSTYLE_MAGIC.to_be_bytes()].concat();
    let script = [magic, 4096u64.to_be_bytes().to_vec(), vec![0, 0, 0, 3], vec![0; 124]].concat();
    match negotiate(script.clone()) {
        Err(Error::Refused { message, .. }) => assert!(message.contains("leave the name out"), "{message}"),
        other => panic!("{other:?}"),
    }
    let mut stream = Script(Cursor::new(script));
    let style = greet(&mut stream).unwrap();
    let export = choose_export(&mut stream, style, "").unwrap();
    assert_eq!((export.size, export.flags, export.structured), (4096, 3, false));
}

#[test]
fn refusals_become_words() {
    for (kind, expected, words) in [
        (reply::ERR_UNKNOWN, Refusal::UnknownExport, "no export named 'x'"),
        (reply::ERR_TLS_REQD, Refusal::TlsRequired, "nbds://"),
        (reply::ERR_POLICY, Refusal::Policy, "policy forbids"),
        (reply::ERR_SHUTDOWN, Refusal::ShuttingDown, "shutting down"),
        (reply::ERROR + 1234, Refusal::Other, "0x800004d2"),
    ] {
        match go(&[answer(option::GO, kind, b"because\x07")]) {
            Err(Error::Refused { refusal, message }) => {
                assert_eq!(refusal, expected);
                assert!(
                    message.contains(words) && message.contains("(it says: because\u{fffd})"),
                    "{message}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_handshake_that_makes_no_sense_is_refused() {
    let fine = || [described(1 << 20), answer(option::GO, reply::ACK, &[])].concat();
    assert!(go(&[fine()]).is_ok());
    for (what, script) in [
        ("a web server", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
        ("another second magic", [&wire::INIT_MAGIC.to_be_bytes()[..], &[9; 200]].concat()),
        ("another reply magic", [greeting(), vec![9; 200]].concat()),
        ("an answer to another option", [greeting(), answer(99, reply::ACK, &[])].concat()),
        (
            "a huge answer",
            [
                greeting(),
                wire::OPTION_REPLY_MAGIC.to_be_bytes().to_vec(),
                vec![0, 0, 0, 8, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff],
            ]
            .concat(),
        ),
        ("an unknown answer", [greeting(), answer(option::STRUCTURED_REPLY, 99, &[])].concat()),
        ("no size", [before_go(), answer(option::GO, reply::ACK, &[])].concat()),
        (
            "a size beyond all disks",
            [before_go(), described(1 << 63), answer(option::GO, reply::ACK, &[])].concat(),
        ),
        ("a short size", [before_go(), answer(option::GO, reply::INFO, &[0, 0, 1])].concat()),
        ("half an information", [before_go(), answer(option::GO, reply::INFO, &[0])].concat()),
        ("endless information", [before_go(), described(1).repeat(100_000)].concat()),
        (
            "endless contexts",
            [
                greeting(),
                answer(option::STRUCTURED_REPLY, reply::ACK, &[]),
                answer(option::SET_META_CONTEXT, reply::META_CONTEXT, &[0; 9]).repeat(100_000),
            ]
            .concat(),
        ),
        ("an odd minimum", [before_go(), blocks([3, 4096, 4096]), fine()].concat()),
        ("a huge minimum", [before_go(), blocks([1 << 20, 1 << 20, 1 << 20]), fine()].concat()),
        ("a maximum below the minimum", [before_go(), blocks([512, 512, 511]), fine()].concat()),
    ] {
        eprintln!("{what}: {}", broken(negotiate(script)));
    }
}

#[test]
fn a_handshake_that_ends_is_a_lost_connection() {
    let whole = [before_go(), described(1 << 20), answer(option::GO, reply::ACK, &[])].concat();
    for length in 0..whole.len() {
        assert!(matches!(negotiate(whole[..length].to_vec()), Err(Error::Lost(_))), "after {length} bytes");
    }
}
