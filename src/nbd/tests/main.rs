//! The NBD client against the servers that others wrote, and against servers that mean harm.

mod faults;
mod hostile;
mod images;
mod read;
mod support;
mod tls;
mod write;
