//! Answers that are made while they are sent.
//!
//! A thread of its own makes the bytes, a few buffers ahead of the caller and no further. It ends at its next buffer
//! when the caller has gone away. What goes wrong in the middle, a panic too, cuts the answer off: it never ends as if
//! it were whole. Buffers are used again, so that a long answer takes no more memory than a short one.

use crate::failure::Result;
use axum::body::{Body, Bytes};
use futures_util::stream;
use hub::Outlet;
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::mpsc;

/// What is sent at once, and how many of these wait for the caller.
pub(crate) const CHUNK: usize = 256 << 10;
const AHEAD: usize = 3;

/// Where the thread puts its bytes.
pub(crate) struct Chunks {
    sender: mpsc::Sender<io::Result<Bytes>>,
    pool: Arc<Pool>,
    buf: Box<[u8]>,
    filled: usize,
}

/// Buffers that nobody uses.
#[derive(Default)]
struct Pool(Mutex<Vec<Box<[u8]>>>);

impl Pool {
    fn take(&self) -> Box<[u8]> {
        let free = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        free.unwrap_or_else(|| vec![0; CHUNK].into_boxed_slice())
    }

    fn give(&self, buf: Box<[u8]>) {
        if buf.len() == CHUNK {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(buf);
        }
    }
}

/// A buffer on its way to the caller.
struct Sent {
    buf: Box<[u8]>,
    filled: usize,
    pool: Arc<Pool>,
}

impl AsRef<[u8]> for Sent {
    fn as_ref(&self) -> &[u8] {
        &self.buf[..self.filled]
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.pool.give(std::mem::take(&mut self.buf));
    }
}

/// The body that `work` makes on a thread called `name`.
///
/// # Errors
/// Where no thread can be made.
pub(crate) fn body(
    name: &str,
    work: impl FnOnce(&mut Chunks) -> hub::Result<()> + Send + 'static,
) -> Result<Body> {
    let (sender, mut receiver) = mpsc::channel(AHEAD);
    let pool = Arc::new(Pool::default());
    let mut chunks = Chunks { sender: sender.clone(), buf: pool.take(), pool, filled: 0 };
    let run = move || {
        let done = catch_unwind(AssertUnwindSafe(|| {
            work(&mut chunks)?;
            chunks.flush().map_err(|error| hub::Error::Internal(error.to_string()))
        }));
        let error = match done {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the hub has a fault".to_owned(),
        };
        tracing::debug!("an answer was broken off: {error}");
        // Where the caller is gone, nobody wants to know.
        let _ = sender.blocking_send(Err(io::Error::other(error)));
    };
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map_err(|error| hub::Error::Internal(format!("no thread can be made: {error}")))?;
    Ok(Body::from_stream(stream::poll_fn(move |context| receiver.poll_recv(context))))
}

impl Chunks {
    /// Sends what is there.
    fn send(&mut self) -> io::Result<()> {
        if self.filled == 0 {
            return Ok(());
        }
        let buf = std::mem::replace(&mut self.buf, self.pool.take());
        let sent = Sent { buf, filled: self.filled, pool: Arc::clone(&self.pool) };
        self.filled = 0;
        self.sender
            .blocking_send(Ok(Bytes::from_owner(sent)))
            .map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the client has gone away"))
    }
}

impl Outlet for Chunks {
    fn room(&mut self, least: usize) -> io::Result<&mut [u8]> {
        if self.buf.len() - self.filled < least {
            self.send()?;
        }
        Ok(&mut self.buf[self.filled..])
    }

    fn advance(&mut self, count: usize) {
        self.filled = (self.filled + count).min(self.buf.len());
    }
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.room(1)?;
        let count = bytes.len().min(room.len());
        room[..count].copy_from_slice(&bytes[..count]);
        self.advance(count);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::StreamExt;

    async fn read(body: Body) -> (Vec<u8>, bool) {
        let mut stream = body.into_data_stream();
        let mut all = Vec::new();
        while let Some(part) = stream.next().await {
            match part {
                Ok(bytes) => all.extend_from_slice(&bytes),
                Err(_) => return (all, false),
            }
        }
        (all, true)
    }

    #[tokio::test]
    async fn an_answer_is_whole_or_cut_off() {
        let bytes: Vec<u8> = (0..3 * CHUNK + 7).map(|n| (n % 251) as u8).collect();
        let expected = bytes.clone();
        let whole = body("test", move |out| {
            bytes.chunks(1000).for_each(|part| out.write_all(part).unwrap());
            Ok(())
        });
        assert!(read(whole.unwrap()).await == (expected, true));
        let cut = body("test", |out| {
            out.write_all(b"half").unwrap();
            out.flush().unwrap();
            Err(hub::Error::Internal("on purpose".into()))
        });
        assert_eq!(read(cut.unwrap()).await, (b"half".to_vec(), false));
        let fault = body("test", |out| {
            out.write_all(b"half").unwrap();
            out.flush().unwrap();
            panic!("on purpose")
        });
        assert_eq!(read(fault.unwrap()).await, (b"half".to_vec(), false));
    }

    #[tokio::test]
    async fn who_goes_away_ends_the_work() {
        let (ended, end) = tokio::sync::oneshot::channel();
        let endless = body("test", move |out| {
            let gone = loop {
                if let Err(error) = out.write_all(&[1; 4096]) {
                    break error.kind();
                }
            };
            ended.send(gone).unwrap();
            Ok(())
        });
        let mut stream = endless.unwrap().into_data_stream();
        assert!(stream.next().await.unwrap().is_ok());
        drop(stream);
        assert_eq!(end.await, Ok(io::ErrorKind::BrokenPipe));
    }
}
