//! Two points, of which one is a seed and the other what the input makes of it.

#![no_main]

use exercise::guest::compare;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| compare::run(bytes));
libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    compare::COMPARE.mutate(data, size, max_size, seed)
});
