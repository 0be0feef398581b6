//! What a guest's records of itself make of its volumes. After an `L`, the input is the texts of fstab, crypttab,
//! os-release and mdadm.conf with a NUL between them; otherwise changes of a disk with a Windows, or of a hive.

#![no_main]

use exercise::guest::system;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| system::run(bytes));
libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    system::mutate(data, size, max_size, seed)
});
