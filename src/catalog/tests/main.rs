//! The catalog through its public API, alone and with other processes beside it.
//!
//! What must hold on either database is in `both/` and runs twice: in a file (`sqlite`) and on a server
//! (`mariadb`), where one is installed.

#![allow(clippy::duplicate_mod, reason = "the same tests for two databases")]

mod children;
mod copying;
mod documentation;
mod file;
mod file_opening;
mod mariadb;
mod samples;
mod server;
mod sqlite;
