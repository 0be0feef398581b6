//! XFS of versions 4 and 5, clean and with a log to replay. Inputs are changes of seeds: `exercise::guest`.

#![no_main]

exercise::guest_target!(XFS);
