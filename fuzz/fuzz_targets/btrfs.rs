//! btrfs on one and two devices, with a log tree to replay. Inputs are changes of seeds: `exercise::guest`.

#![no_main]

exercise::guest_target!(BTRFS);
