//! The NBD client against the servers that others wrote, and against servers that mean harm; the NBD server
//! against the clients that others wrote, and against clients that mean harm.

mod clients;
mod faults;
mod guests;
mod hostile;
mod images;
mod negotiation;
mod read;
mod served;
mod support;
mod tls;
mod write;
