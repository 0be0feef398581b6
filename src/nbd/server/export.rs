//! What is served: a disk under a name, and who may have it.

use crate::wire::export_flag;
use block::BlockSource;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The writing half of a disk that is served.
///
/// One `DiskWriter` is the disk for all connections: what one call has written the next one reads, whichever
/// connection it comes from, and a flush covers all that was written before it. Calls come from several threads; what two
/// overlapping calls at the same time leave is the client's business, but bytes outside the overlap are each
/// call's own.
pub trait DiskWriter: Send + Sync {
    /// Writes `data` at byte `offset`. Callers stay inside the disk.
    ///
    /// # Errors
    /// Where not every byte could be written. A full disk is told as such and reaches the client as `ENOSPC`.
    fn write_at(&self, data: &[u8], offset: u64) -> block::Result<()>;

    /// Makes a range read as zeros; with `allocate` the client wants no later write there to run out of room.
    ///
    /// # Errors
    /// As for `write_at`.
    fn zero(&self, range: Range<u64>, allocate: bool) -> block::Result<()>;

    /// The client has no more use for what lies in the range, which may read as anything afterwards.
    ///
    /// # Errors
    /// As for `write_at`.
    fn trim(&self, range: Range<u64>) -> block::Result<()>;

    /// Makes durable all that was written before.
    ///
    /// # Errors
    /// Where that is not known to have happened.
    fn flush(&self) -> block::Result<()>;

    /// True where [`zero`](Self::zero) is never slower than writing the zeros (`FAST_ZERO`).
    fn zeroes_fast(&self) -> bool;
}

/// A disk under a name.
pub struct Export {
    name: String,
    description: String,
    source: Arc<dyn BlockSource>,
    writer: Option<Arc<dyn DiskWriter>>,
    activity: Activity,
}

impl Export {
    /// A disk that can be read only. `name` (at most 4096 bytes) is how clients ask for it, `description` what
    /// they are told of it, and what logs call it: a name may be a secret.
    pub fn read_only(
        name: impl Into<String>,
        description: impl Into<String>,
        source: Arc<dyn BlockSource>,
    ) -> Self {
        let activity = Activity::default();
        Export { name: name.into(), description: description.into(), source, writer: None, activity }
    }

    /// A disk that can be written, too.
    pub fn writable<D: BlockSource + DiskWriter + 'static>(
        name: impl Into<String>,
        description: impl Into<String>,
        disk: Arc<D>,
    ) -> Self {
        let source: Arc<dyn BlockSource> = disk.clone();
        Export { writer: Some(disk), ..Export::read_only(name, description, source) }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is, for a person.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Its size in bytes.
    pub fn size(&self) -> u64 {
        self.source.size()
    }

    /// Who uses it, and how much.
    pub fn activity(&self) -> &Activity {
        &self.activity
    }

    pub(super) fn source(&self) -> &dyn BlockSource {
        self.source.as_ref()
    }

    pub(super) fn writer(&self) -> Option<&dyn DiskWriter> {
        self.writer.as_deref()
    }

    /// Transmission flags.
    pub(super) fn flags(&self, structured: bool) -> u16 {
        let mut flags = export_flag::HAS_FLAGS | export_flag::CAN_MULTI_CONN;
        if structured {
            flags |= export_flag::SEND_DF;
        }
        match self.writer() {
            None => flags | export_flag::READ_ONLY,
            Some(writer) => {
                let fast = if writer.zeroes_fast() { export_flag::SEND_FAST_ZERO } else { 0 };
                flags
                    | export_flag::SEND_FLUSH
                    | export_flag::SEND_FUA
                    | export_flag::SEND_TRIM
                    | export_flag::SEND_WRITE_ZEROES
                    | fast
            }
        }
    }
}

impl std::fmt::Debug for Export {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Export").field("name", &self.name).field("size", &self.size()).finish_non_exhaustive()
    }
}

/// Live numbers of one export.
#[derive(Debug, Default)]
pub struct Activity {
    read: AtomicU64,
    written: AtomicU64,
    users: Mutex<Users>,
}

#[derive(Debug)]
struct Users {
    now: u32,
    ever: u64,
    since: Instant,
}

impl Default for Users {
    fn default() -> Self {
        Users { now: 0, ever: 0, since: Instant::now() }
    }
}

/// [`Activity`] at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Connections now.
    pub connections: u32,
    /// Connections since it is served.
    pub connections_ever: u64,
    /// Bytes sent to clients, zeros that were told as holes left out.
    pub bytes_read: u64,
    /// Bytes received from clients.
    pub bytes_written: u64,
    /// How long nobody has been connected; `None` while somebody is.
    pub idle: Option<Duration>,
}

impl Activity {
    /// The numbers now.
    pub fn usage(&self) -> Usage {
        let users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        Usage {
            connections: users.now,
            connections_ever: users.ever,
            bytes_read: self.read.load(Ordering::Relaxed),
            bytes_written: self.written.load(Ordering::Relaxed),
            idle: (users.now == 0).then(|| users.since.elapsed()),
        }
    }

    pub(super) fn add_read(&self, bytes: u64) {
        self.read.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn add_written(&self, bytes: u64) {
        self.written.fetch_add(bytes, Ordering::Relaxed);
    }

    fn join(&self) {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        users.now += 1;
        users.ever += 1;
    }

    fn leave(&self) {
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        users.now = users.now.saturating_sub(1);
        users.since = Instant::now();
    }
}

/// A connection that uses an export, counted until it is dropped.
pub(super) struct User<'a>(&'a Activity);

impl<'a> User<'a> {
    pub(super) fn of(export: &'a Export) -> Self {
        export.activity.join();
        User(&export.activity)
    }
}

impl Drop for User<'_> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// Who asks for an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its address; `None` over a Unix socket.
    pub address: Option<SocketAddr>,
    /// The connection is inside TLS; where the server knows its clients, the certificate was accepted.
    pub encrypted: bool,
}

/// Why an export is not given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// There is none of that name, or the peer is not to know.
    Unknown,
    /// Not to this peer, or not now; the reason is told to the client.
    Forbidden(String),
    /// It is about to be closed.
    Ending,
}

/// The exports of a server, looked up by name for each connection.
pub trait Exports: Send + Sync {
    /// What this peer may see in a list.
    fn list(&self, peer: &Peer) -> Vec<Arc<Export>>;

    /// The export of that name; the empty name asks for the default one.
    ///
    /// # Errors
    /// Why this peer does not get it.
    fn open(&self, name: &str, peer: &Peer) -> Result<Arc<Export>, Refused>;
}

/// Exports that are known from the start and open to everybody; the only one is the default one.
#[derive(Debug, Clone)]
pub struct FixedExports(Vec<Arc<Export>>);

impl FixedExports {
    /// These.
    pub fn new(exports: Vec<Arc<Export>>) -> Self {
        FixedExports(exports)
    }
}

impl Exports for FixedExports {
    fn list(&self, _: &Peer) -> Vec<Arc<Export>> {
        self.0.clone()
    }

    fn open(&self, name: &str, _: &Peer) -> Result<Arc<Export>, Refused> {
        match self.0.as_slice() {
            [only] if name.is_empty() => Ok(Arc::clone(only)),
            all => all.iter().find(|export| export.name == name).cloned().ok_or(Refused::Unknown),
        }
    }
}
