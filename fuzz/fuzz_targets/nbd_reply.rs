//! The input is what an NBD server sends, after one byte that says what the client does meanwhile.
//!
//! Bit 7 of that byte: the client begins with the handshake; otherwise in the transmission phase, with
//! structured replies where bit 6 is set. The other six bits are three calls of two bits each.
//!
//! What must hold: an answer that was taken is whole (it does not depend on what the buffer held before), and
//! a session that broke the agreement is not used any more.

#![no_main]

use nbd::Error;
use nbd::handshake::{Export, choose_export, greet, start_tls};
use nbd::session::{Session, Status};
use nbd::wire::{self, export_flag};
use std::io::{self, Cursor, Read, Write};

/// A server that says the same whatever it is asked.
struct Script<'a>(Cursor<&'a [u8]>);

impl Read for Script<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl Write for Script<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What the calls returned.
#[derive(Debug, PartialEq)]
enum Outcome {
    Bytes(Vec<u8>),
    States(Vec<Status>),
    Done,
    Answered(u32),
    Over(String),
}

fn outcome<T>(result: Result<T, Error>, of: impl FnOnce(T) -> Outcome) -> Outcome {
    match result {
        Ok(value) => of(value),
        Err(Error::Request { code, .. }) => Outcome::Answered(code),
        Err(error) => Outcome::Over(error.to_string()),
    }
}

/// Plays the input to a client whose buffers hold `fill`.
fn play(bytes: &[u8], fill: u8) -> Vec<Outcome> {
    let Some((control, script)) = bytes.split_first() else { return Vec::new() };
    let mut stream = Script(Cursor::new(script));
    let export = if control & 0x80 != 0 {
        let Ok(style) = greet(&mut stream) else { return Vec::new() };
        if control & 0x40 != 0 && start_tls(&mut stream, style).is_err() {
            return Vec::new();
        }
        let Ok(export) = choose_export(&mut stream, style, "disk") else { return Vec::new() };
        assert!(export.minimum_block.is_power_of_two() && export.minimum_block <= 64 << 10);
        assert!(export.maximum_payload >= export.minimum_block && export.maximum_payload <= 32 << 20);
        assert!(export.size <= i64::MAX as u64);
        export
    } else {
        let structured = control & 0x40 != 0;
        Export {
            size: 1 << 40,
            flags: export_flag::HAS_FLAGS,
            minimum_block: 1,
            preferred_block: 4096,
            maximum_payload: wire::DEFAULT_MAXIMUM_PAYLOAD,
            structured,
            allocation_context: structured.then_some(1),
        }
    };
    let mut session = Session::new(stream, export, 1);
    let mut outcomes = Vec::new();
    for call in 0..3 {
        let outcome = match control >> (2 * call) & 3 {
            0 => {
                let mut buf = vec![fill; 64];
                outcome(session.read(&mut buf, 4096), |()| Outcome::Bytes(buf))
            }
            1 => {
                // Two requests in flight.
                let mut buf = vec![fill; (512 << 10) + 16];
                outcome(session.read(&mut buf, 1 << 20), |()| Outcome::Bytes(buf))
            }
            2 => outcome(session.block_status(0, 1 << 30), Outcome::States),
            _ => outcome(session.write(&[0; 512], 0).and_then(|()| session.flush()), |()| Outcome::Done),
        };
        let over = matches!(&outcome, Outcome::Over(text) if !text.contains("base:allocation"));
        outcomes.push(outcome);
        if over {
            assert!(session.read(&mut [0; 1], 0).is_err(), "a broken session goes on");
            break;
        }
    }
    outcomes
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    assert!(play(bytes, 0x00) == play(bytes, 0xff), "what was read depends on what the buffer held");
});
