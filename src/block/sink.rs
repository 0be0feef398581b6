//! The writing boundary.

use crate::Result;

/// Something that takes a disk's bytes.
///
/// Life cycle: created by the constructor of the concrete type; written to by several threads through
/// `&self`, at any position, each position at most once between two `flush`es of the caller's own making;
/// then either [`finish`](BlockSink::finish), after which the result is durable and visible, or dropped,
/// after which nothing of it is left behind (for targets that existed before, such as devices and exports:
/// what was written so far stays, and nothing pretends otherwise).
pub trait BlockSink: Send + Sync {
    /// The disk's size in bytes.
    fn size(&self) -> u64;

    /// The unit of writing, a power of two of at least 1: offsets and lengths of `write_at` and `zero` are
    /// multiples of it, but for a last piece that ends at `size`.
    fn granularity(&self) -> u64;

    /// Stores `data` at `offset`. Fastest where `data` begins on a page boundary.
    ///
    /// # Errors
    /// Where not all of it could be stored; the sink is then fit only to be dropped.
    fn write_at(&self, data: &[u8], offset: u64) -> Result<()>;

    /// Makes `length` bytes from `offset` read as zeros. A sink whose unwritten parts read as zeros anyway
    /// stores nothing; one with a backing file records the zeros over it.
    ///
    /// # Errors
    /// As for `write_at`.
    fn zero(&self, offset: u64, length: u64) -> Result<()>;

    /// A promise that nothing below `offset` will be written any more: what was kept in memory for it may
    /// go. Offsets never fall. Sinks with no such state do nothing here.
    ///
    /// # Errors
    /// As for `write_at`.
    fn settled(&self, offset: u64) -> Result<()>;

    /// Makes everything durable and visible.
    ///
    /// # Errors
    /// Where that failed: the result is then not there, and is cleaned up as on drop.
    fn finish(self: Box<Self>) -> Result<()>;
}
