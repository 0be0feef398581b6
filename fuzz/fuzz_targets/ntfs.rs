//! NTFS with compressed files, streams and WOF, and with a log to replay. Inputs are changes of seeds: `exercise::guest`.

#![no_main]

exercise::guest_target!(NTFS);
