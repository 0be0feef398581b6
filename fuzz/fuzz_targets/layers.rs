//! Disks: partition tables, LVM2, md, LUKS, and the signatures of all that is recognised. Inputs are changes of seeds: `exercise::guest`.

#![no_main]

exercise::guest_target!(LAYERS);
