//! The input is the file, as it is: header, extensions and whatever the header points at.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| exercise::image(bytes));
