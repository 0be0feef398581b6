//! The targets of guest file systems: an input is a few changes of an image that a real mkfs made.
//!
//! A mutated image whole would be mostly bytes that nobody reads, and its checksums would end every look at it. So an
//! input ([`Input`]) names a seed and changes of it; what those break of the seed's checksums is put right again
//! ([`sums`]), unless the input says otherwise; and the mutator ([`mutate`]) changes what a reader has been seen to read,
//! often to what stands somewhere else. The seeds are in `seeds/`, with the script that makes them.
//!
//! What must hold: no panic; the promises of `GuestFs` ([`walk`]); no more memory than the caps of [`OPTIONS`] account
//! for ([`memory`]); and no more reads than a walk within its bounds needs ([`image::Counted`]).

pub mod compare;
pub mod image;
pub mod input;
pub mod layers;
pub mod memory;
pub mod mutate;
pub mod sums;
pub mod system;
pub mod targets;
pub mod walk;

use guestfs::{Device, OpenOptions, Window};
use image::{Counted, Image, View};
use input::Input;
use std::sync::{Arc, OnceLock};
use sums::Sum;

/// How file systems are opened: small caps, so that what goes past them is seen.
pub const OPTIONS: OpenOptions =
    OpenOptions { ignore_journal: false, cache_bytes: 1 << 20, journal_bytes: 4 << 20 };
/// Bytes that one input may hold at once, all the readers' own bounds together.
const MEMORY: usize = 48 << 20;

/// An image that inputs change.
#[derive(Debug)]
pub struct Seed {
    /// The image, compressed by zstd.
    pub bytes: &'static [u8],
    /// Sizes of the disks that stand in it one after another, in KiB; one disk where there are none.
    pub disks: &'static [u64],
}

/// The seed of this name in `seeds/`.
#[macro_export]
macro_rules! seed {
    ($name:literal) => {
        $crate::seed!($name, [])
    };
    ($name:literal, $disks:expr) => {
        $crate::guest::Seed { bytes: include_bytes!(concat!("../seeds/", $name, ".zst")), disks: &$disks }
    };
}

/// Makes a fuzz target of the [`Target`] of this name in [`targets`].
#[macro_export]
macro_rules! guest_target {
    ($target:ident) => {
        libfuzzer_sys::fuzz_target!(|bytes: &[u8]| $crate::guest::targets::$target.run(bytes));
        libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
            $crate::guest::targets::$target.mutate(data, size, max_size, seed)
        });
    };
}

/// A fuzz target.
pub struct Target {
    /// What it is called.
    pub name: &'static str,
    /// What inputs change: one behind them is an image of zeros, and the next one is the input itself.
    pub seeds: &'static [Seed],
    /// Finds the checksums of a seed.
    pub sums: fn(&Image) -> Vec<Sum>,
    /// Uses the disks; all of their content only where `whole`.
    pub run: fn(&[Device], &OpenOptions, whole: bool),
    /// The seeds as they were loaded.
    pub loaded: OnceLock<Vec<Loaded>>,
}

/// A seed in memory.
pub struct Loaded {
    /// Its bytes.
    pub image: Arc<Image>,
    /// Its checksums, those inside of others first.
    pub sums: Vec<Sum>,
    /// Sizes of its disks in bytes.
    disks: Vec<u64>,
    /// What its reader reads: groups of places that belong together, found when the first input is mutated.
    hot: OnceLock<Vec<Vec<u64>>>,
}

/// Bytes of the image of zeros.
const EMPTY: u64 = 8 << 20;

impl Target {
    /// The seed of a number.
    pub fn seed(&self, number: u8) -> &Loaded {
        let loaded = self.loaded.get_or_init(|| {
            let mut all: Vec<Loaded> = self
                .seeds
                .iter()
                .map(|seed| {
                    let image = Arc::new(Image::compressed(seed.bytes));
                    let disks = seed.disks.iter().map(|size| size << 10).collect();
                    Loaded { sums: (self.sums)(&image), image, disks, hot: OnceLock::new() }
                })
                .collect();
            let image = Arc::new(Image::zeros(EMPTY));
            all.push(Loaded { image, sums: Vec::new(), disks: Vec::new(), hot: OnceLock::new() });
            all
        });
        &loaded[usize::from(number) % loaded.len()]
    }

    /// Runs one input.
    pub fn run(&self, bytes: &[u8]) {
        let Some((view, sizes, options)) = self.view(bytes) else { return };
        let disks = split(Arc::new(Counted::new(view)), sizes);
        memory::bounded(MEMORY, || (self.run)(&disks, &options, true));
    }

    /// The image of an input, the sizes of its disks, and how it is opened.
    pub fn view(&self, bytes: &[u8]) -> Option<(View, &[u64], OpenOptions)> {
        let input = Input::parse(bytes)?;
        let options = OpenOptions { ignore_journal: input.ignore_journal, ..OPTIONS };
        if usize::from(input.seed) > self.seeds.len() {
            // The image as it is, behind the input's head.
            return Some((View::new(Arc::new(Image::plain(&bytes[input::HEAD..]))), &[], options));
        }
        let seed = self.seed(input.seed);
        let mut view = View::new(seed.image.clone());
        view.edits = input.edits;
        if input.reseal {
            sums::reseal(&mut view, &seed.sums);
        }
        if let Some(sectors) = input.cut {
            view.size = view.size.min(u64::from(sectors) * 512);
        }
        Some((view, &seed.disks, options))
    }

    /// Mutates `data[..size]` in place, and tells its new size.
    pub fn mutate(&self, data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
        mutate::mutate(self, data, size, max_size, seed)
    }

    /// The places of a seed that its reader reads.
    pub fn hot<'a>(&self, seed: &'a Loaded) -> &'a [Vec<u64>] {
        seed.hot.get_or_init(|| {
            let counted = Arc::new(Counted::new(View::new(seed.image.clone())));
            for ignore_journal in [false, true] {
                let options = OpenOptions { ignore_journal, ..OPTIONS };
                (self.run)(&split(counted.clone(), &seed.disks), &options, false);
            }
            seed.image.hot(&counted.taken())
        })
    }
}

/// The disks that stand one after another on a device.
fn split(device: Device, sizes: &[u64]) -> Vec<Device> {
    if sizes.is_empty() {
        return vec![device];
    }
    let mut at = 0;
    sizes
        .iter()
        .map(|&size| {
            let disk: Device = Arc::new(Window::new(device.clone(), at, size));
            at += size;
            disk
        })
        .collect()
}
