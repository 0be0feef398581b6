//! The hub as a service: the router of `server` behind sockets.
//!
//! [`Service::open`] claims a state folder, opens the engine in it and binds every address; [`Service::run`] answers
//! until it is asked to stop. One service works on a state folder at a time (`claim`); commands with an engine of
//! their own may do so meanwhile, as always (leases).
//!
//! # Who is let in
//! The state folder's own socket lies in a folder of its owner only, and its peers are known by their user id. TCP
//! is TLS but for loopback; what comes over it has no credentials but those in its requests. A connection holds a
//! permit of its door (TCP and Unix sockets have their own, so that a flood from the network never keeps the
//! administrator out), must send each request's head and body in time, and must take its answer.
//!
//! # The end
//! Asked to stop, a service takes no new jobs, lets those that run come to their end for the time that the settings
//! allow, cancels the rest and waits for their cleaning up, and then closes its connections. Killed, it leaves what
//! any killed process leaves, and the next start puts that right.
//!
//! Not here: routes and roles (`server`), what they do (`hub`), terminals (`cli`).

mod answers;
mod claim;
mod connection;
mod deadline;
mod doors;
mod error;
mod gate;
mod notify;
mod pace;
mod run;
mod settings;
mod signals;
mod tls;
mod unix;

pub use claim::{Holder, SOCKET_NAME};
pub use error::{Error, Result};
pub use run::{Ended, Service};
pub use settings::{Limits, Listen, LogFormat, Origin, Resolved, SETTINGS, Setting, Settings, Source};
