//! Moving a disk's bytes from a source to a sink: fast, in bounded memory, with nothing lost on the way.
//!
//! The model: a [`BlockSource`] is a disk of fixed size that can be read at any position by several threads
//! and that tells lazily, range by range, where it has data ([`Extent`]). A [`BlockSink`] takes data and
//! zeros at any position from several threads, and becomes durable and visible only by
//! [`finish`](BlockSink::finish). [`copy`] joins the two: worker threads of its own claim chunks in
//! ascending order, read, look for zeros, hash, compare with a [`Baseline`], and hand to the sink; what every
//! granule turned out to be is reported in order to a [`Ledger`].
//!
//! Plain things and decorators (limits, retries, faults) share one interface. What is *not* here: file
//! formats (`qcow2`), protocols (`nbd`), names, repositories, jobs.

mod baseline;
mod cancel;
mod copy;
mod counters;
mod error;
mod estimate;
mod extent;
mod file;
mod limiter;
mod null;
mod retry;
mod sectors;
mod sink;
mod source;
mod zero;

pub use baseline::{Baseline, GRANULE, Granule, Ledger};
pub use cancel::CancelToken;
pub use copy::{CopyError, CopyOptions, MEMORY, Mode, Side, Summary, copy};
pub use counters::{Counters, Progress};
pub use error::{Error, Result};
pub use estimate::estimate;
pub use extent::{Extent, ExtentKind};
pub use file::{DeviceSink, FileSink, FileSource, Overwrite, sniff};
pub use limiter::Limiter;
pub use null::NullSink;
pub use retry::{Patience, Retry};
pub use sectors::WholeSectors;
pub use sink::BlockSink;
pub use source::{BlockSource, ChangeId, FullReadReason};
pub use zero::is_zero;
