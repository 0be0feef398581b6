//! What the tests of several crates share: programs others wrote, disk images by seed, disks in memory,
//! faults on command, and the suites that every implementation of a boundary must pass.
//!
//! Everything here panics instead of returning errors: a test that can't be set up has failed. Nothing
//! sleeps to wait for something: [`wait_until`] looks at a condition until its deadline.
//!
//! Only a dev-dependency, of any crate. What is *not* here: the tests themselves, and anything that a
//! product's code path could use.

pub mod conformance;
pub mod faults;
pub mod granules;
pub mod image;
pub mod mariadb;
pub mod mem;
pub mod proc;
mod program;

pub use program::{require, run, wait_until};
