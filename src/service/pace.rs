//! A peer that takes its answers too slowly is given up.
//!
//! A limit on the pause between two writes would let a client hold a connection for days by taking a byte now and then. So the
//! time that is spent waiting for the peer is added up, and begins anew only when it has taken a good piece.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// How much a peer has to take in its time.
const PIECE: usize = 64 << 10;

/// A stream whose peer may let us wait for so long, in all, until it has taken [`PIECE`] bytes more.
pub(crate) struct Paced<S> {
    stream: S,
    limit: Duration,
    /// How long the peer has let us wait for this piece, before the wait that is going on.
    waited: Duration,
    /// How much of this piece it has taken.
    taken: usize,
    wait: Option<Wait>,
}

/// A wait for the peer that is going on.
struct Wait {
    since: Instant,
    /// When it has been enough.
    end: Pin<Box<Sleep>>,
    for_write: bool,
}

impl<S> Paced<S> {
    pub(crate) fn new(stream: S, limit: Duration) -> Self {
        Paced { stream, limit, waited: Duration::ZERO, taken: 0, wait: None }
    }

    /// Counts what has come of a write, or of a flush, of which nobody knows how much it has brought on its way.
    fn paced<T>(
        &mut self,
        context: &mut Context<'_>,
        done: Poll<io::Result<T>>,
        written: Option<fn(&T) -> usize>,
    ) -> Poll<io::Result<T>> {
        let is_write = written.is_some();
        if let Poll::Ready(done) = done {
            // A flush has an end where there is nothing to flush, too: it does not end the wait of a write.
            if let Some(wait) = self.wait.take_if(|wait| is_write || !wait.for_write) {
                self.waited += wait.since.elapsed();
            }
            if let (Some(written), Ok(done)) = (written, &done) {
                self.taken += written(done);
            }
            if self.taken >= PIECE {
                (self.taken, self.waited) = (0, Duration::ZERO);
            }
            return Poll::Ready(done);
        }
        let left = self.limit.saturating_sub(self.waited);
        let wait = self.wait.get_or_insert_with(|| {
            let since = Instant::now();
            Wait { since, end: Box::pin(sleep_until(since + left)), for_write: is_write }
        });
        ready!(wait.end.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes its answer too slowly")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, data);
        self.paced(context, written, Some(|&bytes| bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, data);
        self.paced(context, written, Some(|&bytes| bytes))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.paced(context, flushed, None)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let ended = Pin::new(&mut self.stream).poll_shutdown(context);
        self.paced(context, ended, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::sleep;

    const SECOND: Duration = Duration::from_secs(1);

    /// Sends a MiB to a peer that takes `step` bytes every `pause`; after how long it was given up.
    async fn given_up(limit: Duration, step: usize, pause: Duration) -> Option<Duration> {
        let (ours, mut theirs) = duplex(1024);
        let begun = Instant::now();
        let reader = tokio::spawn(async move {
            let mut taken = vec![0; step];
            while theirs.read_exact(&mut taken).await.is_ok() {
                sleep(pause).await;
            }
        });
        let written = Paced::new(ours, limit).write_all(&vec![1; 1 << 20]).await;
        reader.abort();
        let error = written.err()?;
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        Some(begun.elapsed())
    }

    #[tokio::test]
    async fn who_takes_a_little_now_and_then_is_given_up_and_who_is_only_slow_is_not() {
        let given = given_up(SECOND, 10, SECOND / 20).await.expect("it is given up");
        // At that pace the MiB would take an hour and a half.
        assert!(given >= SECOND && given < 60 * SECOND, "{given:?}");
        // A MiB in 64 pauses, of which a piece has four.
        assert_eq!(given_up(20 * SECOND, 16 << 10, SECOND / 50).await, None);
    }

    #[tokio::test]
    async fn only_time_that_is_spent_waiting_counts() {
        let (ours, mut theirs) = duplex(1024);
        let mut paced = Paced::new(ours, SECOND / 4);
        for _ in 0..4 {
            // An event now and then, taken at once.
            paced.write_all(&[1; 100]).await.unwrap();
            theirs.read_exact(&mut [0; 100]).await.unwrap();
            sleep(SECOND / 3).await;
        }
    }
}
