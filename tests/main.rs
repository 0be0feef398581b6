//! The program end to end: run as users run it, judged by what it leaves and prints, and by what the programs
//! of others (QEMU, NBD tools, SQLite's shell) make of its files. One file a feature.

mod architecture;
mod archive;
mod backup;
mod browse;
mod chain;
mod concurrency;
mod corpus;
mod cut;
mod diff;
mod faults;
mod find;
mod harness;
mod hub;
mod kill;
mod mariadb;
mod mount;
mod names;
mod output;
mod push;
mod restore;
mod schema;
mod scripts;
mod serve;
mod sources;
mod verify;
mod volume;
