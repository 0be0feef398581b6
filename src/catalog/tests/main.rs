//! The catalog through its public API, alone and with other processes beside it.

mod chains;
mod children;
mod crash;
mod documentation;
mod faults;
mod leases;
mod listing;
mod opening;
mod progress;
mod records;
mod restore_mounts;
mod round_trip;
mod samples;
mod speed;
