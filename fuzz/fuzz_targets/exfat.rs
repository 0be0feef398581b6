//! exFAT. Inputs are changes of seeds: `exercise::guest`.

#![no_main]

exercise::guest_target!(EXFAT);
