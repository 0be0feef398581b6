//! The engine alone, without program, catalog or sidecars: one raw file through the pipeline into a QCOW2 image
//! or into nothing, with and without hashing. Shows what each part costs.
//!
//! `cargo bench --bench copy -- SOURCE TARGET|- [--no-hash] [--zstd LEVEL] [--threads N] [--runs N]`

use block::{
    BlockSink, CancelToken, CopyOptions, Counters, FileSource, Granule, Ledger, Mode, NullSink, copy,
};
use qcow2::{Compression, Create, Writer};
use std::path::Path;
use std::time::{Duration, Instant};

/// Hashing is done because somebody listens.
struct Listener(u64);

impl Ledger for Listener {
    fn record(&mut self, _first: u64, granules: &[Granule]) -> block::Result<()> {
        self.0 += granules.iter().filter(|granule| matches!(granule, Granule::Hash(_))).count() as u64;
        Ok(())
    }
}

struct Arguments {
    source: String,
    target: String,
    hash: bool,
    compression: Compression,
    threads: Option<usize>,
    runs: usize,
}

fn arguments() -> Option<Arguments> {
    let mut parsed = Arguments {
        source: String::new(),
        target: String::new(),
        hash: true,
        compression: Compression::None,
        threads: None,
        runs: 5,
    };
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    while let Some(word) = words.next() {
        match word.as_str() {
            "--no-hash" => parsed.hash = false,
            "--zstd" => parsed.compression = Compression::Zstd { level: words.next()?.parse().ok()? },
            "--threads" => parsed.threads = Some(words.next()?.parse().ok()?),
            "--runs" => parsed.runs = words.next()?.parse().ok()?,
            _ if parsed.source.is_empty() => parsed.source = word,
            _ if parsed.target.is_empty() => parsed.target = word,
            _ => return None,
        }
    }
    (!parsed.target.is_empty()).then_some(parsed)
}

fn once(arguments: &Arguments) -> block::Result<(Duration, u64)> {
    let source = FileSource::open(Path::new(&arguments.source))?;
    let size = block::BlockSource::size(&source);
    let started = Instant::now();
    let sink: Box<dyn BlockSink> = if arguments.target == "-" {
        Box::new(NullSink::new(size))
    } else {
        std::fs::remove_file(&arguments.target).ok();
        let mut create = Create::new(size);
        create.compression = arguments.compression;
        Box::new(Writer::create(Path::new(&arguments.target), &create)?)
    };
    let (counters, cancel, mut listener) = (Counters::new(), CancelToken::new(), Listener(0));
    let mut options = CopyOptions::new("bench", Mode::Store { keep_zeros: false }, &counters, &cancel);
    options.threads = arguments.threads;
    if arguments.hash {
        options.ledger = Some(&mut listener);
    }
    let summary = copy(&source, &*sink, options).map_err(|failure| failure.error)?;
    sink.finish()?;
    Ok((started.elapsed(), summary.stored))
}

fn main() {
    let Some(arguments) = arguments() else {
        // `cargo test --benches` and `cargo bench` without arguments end here.
        eprintln!(
            "usage: cargo bench --bench copy -- SOURCE TARGET|- [--no-hash] [--zstd LEVEL] [--threads N] [--runs N]"
        );
        return;
    };
    let mut walls = Vec::new();
    let mut stored = 0;
    for _ in 0..arguments.runs {
        match once(&arguments) {
            Ok((wall, bytes)) => {
                walls.push(wall);
                stored = bytes;
            }
            Err(error) => {
                eprintln!("{error}");
                std::process::exit(1);
            }
        }
    }
    walls.sort();
    let median = walls[walls.len() / 2];
    println!(
        "median {:.3} s of {} (fastest {:.3} s), {:.2} GiB stored, {:.2} GiB/s",
        median.as_secs_f64(),
        walls.len(),
        walls[0].as_secs_f64(),
        stored as f64 / f64::from(1 << 30),
        stored as f64 / f64::from(1 << 30) / median.as_secs_f64()
    );
}
