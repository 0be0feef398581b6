//! ext2, ext3 and ext4, clean and with journals and fast commits to replay. Inputs are changes of seeds: `exercise::guest`.

#![no_main]

exercise::guest_target!(EXT);
