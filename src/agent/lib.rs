//! The capture side: reads disks where they are and writes them to the exports of a hub elsewhere.
//!
//! The model: [`Disks::open`] opens the sources, whose sizes a request to the hub names; its answer names an export a
//! disk, and [`Disks::push`] gives a [`Push`]: a thread a disk that copies, numbers that tell how far it is
//! ([`Gauge`]), and a way to end it. What the hub already has is not decided here: of a full only data is sent, of anything else everything that
//! the source holds, zeros as such, and the hub stores what differs from the parent.
//!
//! Whoever calls starts and completes the backup, and sends the telemetry that [`Gauge::telemetry`] makes.
//!
//! Not here: the hub's side (`hub`), the words and bars of a command (`cli`).

mod error;
mod push;
mod targets;

pub use error::{Error, Result};
pub use push::{Disks, Gauge, Push, PushOptions};
