//! ISO 9660 with Rock Ridge, Joliet and zisofs. Inputs are changes of seeds: `exercise::guest`.

#![no_main]

exercise::guest_target!(ISO9660);
