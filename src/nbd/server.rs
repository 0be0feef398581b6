//! An NBD server: disks under names, for any number of clients, on threads of its own.
//!
//! The model: an [`Export`] is a [`block::BlockSource`] under a name, with a [`DiskWriter`] beside it where it can be
//! written. A [`Server`] listens at one place and looks exports up by name, for each connection anew, through
//! [`Exports`], which may refuse a peer. [`FixedExports`] is the simplest one.
//!
//! ```text
//! accept ─▶ connections (limit, oldest silent one goes) ─▶ a thread:  negotiation ─▶ [TLS ─▶ negotiation] ─▶
//!    transmission: up to four threads, one reads the next request, the others read disks and reply
//! ```
//!
//! What is spoken: fixed newstyle; `EXPORT_NAME`, `INFO`, `GO`, `LIST`, `STARTTLS`, structured replies with holes,
//! block status with `base:allocation`, several connections to one export; `FLUSH`, `FUA`, `TRIM`, `WRITE_ZEROES` and
//! `FAST_ZERO` where an export can be written.
//!
//! # What clients can't do
//! Everything a client sends is hostile: all lengths are checked before they size anything. Connections, their
//! threads and the memory of each have limits; handshakes have a time limit, and so have replies that are not taken
//! and requests that are not finished. Where TLS is set up, nothing but its beginning is spoken without it.
//!
//! # Ending it
//! [`Server::stop`], or dropping it: no new connections, what is at work is answered within half a second, the rest
//! is cut. An export lives as long as a connection uses it.
//!
//! Not here: which disks there are (who calls), a disk that can be written over one that can't
//! ([`Overlay`](crate::Overlay)), the numbers of the protocol ([`wire`](crate::wire)).

mod answer;
mod channel;
mod connections;
mod error;
mod export;
mod listener;
pub mod negotiation;
mod reply;
mod request;
mod running;
mod tls;
pub mod transmission;

pub use error::ServerError;
pub use export::{Activity, DiskWriter, Export, Exports, FixedExports, Peer, Refused, Usage};
pub use listener::Listen;
pub use running::{Server, ServerOptions};
pub use tls::ServerTls;
