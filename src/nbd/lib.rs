//! Disks behind NBD, the Network Block Device protocol: a client that reads exports as block sources and
//! writes them as block sinks, and a [`server`] that serves block sources to the clients of others.
//!
//! The client's model: a [`Uri`] says where an export is. [`NbdSource::open`] and [`NbdSink::open`] dial it, over TCP
//! or a Unix socket, with TLS where the URI asks for it, and keep a small pool of connections (more than one
//! only where the server says that its connections see one another's writes). A connection is used by one
//! thread at a time; each call keeps two large requests in flight and receives straight into the caller's
//! buffer. [`qemu_nbd::open`] puts the same client on a private `qemu-nbd` child, for image formats that
//! only QEMU reads.
//!
//! # Ending it from outside
//! A read blocks for as long as the server is silent, up to [`Options::reply_timeout`], and a lost server is
//! waited for up to [`Options::reconnect`]. To end that at once, keep a clone of the [`Interrupt`] that was
//! put into the [`Options`]: [`Interrupt::stop`] from any thread shuts every socket down that was opened
//! under it, and each blocked or later call returns [`block::Error::Cancelled`]. One `Interrupt` may serve
//! all disks of a job. It is final. Only the system's look-up of a host name can't be ended so, and a server
//! that sends a byte now and then is not silent: a job's own time limit is for that.
//!
//! # What goes wrong
//! Everything a server sends is taken as hostile: every length has a bound, replies must belong to a request
//! in flight and stay inside it, texts are made printable and cut. A lost connection is dialled again, with
//! growing pauses, and only if the export is still the same (size and abilities); a server that answers
//! nonsense is not. A sink never reconnects: what the lost server had not flushed is not known.
//!
//! What is *not* here: copying, hashing, which disks there are.

mod connect;
mod error;
pub mod handshake;
mod interrupt;
mod options;
mod overlay;
mod pool;
pub mod qemu_nbd;
pub mod server;
pub mod session;
mod sink;
mod socket;
mod source;
mod tls;
mod uri;
pub mod wire;

pub use error::{Error, Refusal, Result};
pub use interrupt::Interrupt;
pub use options::Options;
pub use overlay::Overlay;
pub use sink::NbdSink;
pub use source::NbdSource;
pub use uri::{Address, Tls, Uri, UriError};
