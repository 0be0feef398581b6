//! FAT of 12, 16 and 32 bits. Inputs are changes of seeds: `exercise::guest`.

#![no_main]

exercise::guest_target!(FAT);
