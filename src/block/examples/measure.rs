//! Measures the pipeline alone: `measure SOURCE TARGET [HASH] [THREADS] [RUNS]`.
//!
//! `SOURCE` is a raw file or device; `TARGET` is `null` or a new raw file, which is removed afterwards;
//! `HASH` is `hash` or `plain`. Each run prints wall seconds, CPU seconds and bytes; memory is best seen with
//! `/usr/bin/time -v`.

use block::{
    BlockSink, BlockSource, CancelToken, CopyOptions, Counters, FileSink, FileSource, Granule, Ledger, Mode,
    NullSink, Overwrite, Result, copy,
};
use std::error::Error;
use std::path::Path;
use std::time::Instant;

/// Wants hashes, so that they are computed, and counts them.
struct Count(u64);

impl Ledger for Count {
    fn record(&mut self, _: u64, granules: &[Granule]) -> Result<()> {
        self.0 += granules.len() as u64;
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |at: usize| arguments.get(at).map(String::as_str);
    let (Some(source), Some(target)) = (argument(0), argument(1)) else {
        println!("measure SOURCE TARGET|null [hash|plain] [THREADS] [RUNS]");
        return Ok(());
    };
    let hash = argument(2) != Some("plain");
    let threads = argument(3).map(str::parse).transpose()?;
    let runs: usize = argument(4).unwrap_or("5").parse()?;
    for _ in 0..runs {
        let (started, cpu) = (Instant::now(), cpu_seconds()?);
        let source = FileSource::open(Path::new(source))?;
        let sink: Box<dyn BlockSink> = match target {
            "null" => Box::new(NullSink::new(source.size())),
            path => Box::new(FileSink::create(Path::new(path), source.size(), Overwrite::Refuse)?),
        };
        let (counters, cancel) = (Counters::new(), CancelToken::new());
        let mut ledger = Count(0);
        let mut options = CopyOptions::new("disk", Mode::Store { keep_zeros: false }, &counters, &cancel);
        options.threads = threads;
        if hash {
            options.ledger = Some(&mut ledger);
        }
        let summary = copy(&source, &*sink, options)?;
        sink.finish()?;
        let (wall, cpu) = (started.elapsed().as_secs_f64(), cpu_seconds()? - cpu);
        println!(
            "{wall:.3} s wall, {cpu:.2} s CPU, {:.2} GiB/s; read {} MiB, stored {} MiB, {} hashes",
            summary.total as f64 / wall / f64::from(1 << 30),
            summary.read >> 20,
            summary.stored >> 20,
            ledger.0
        );
        if target != "null" {
            std::fs::remove_file(target)?;
        }
    }
    Ok(())
}

/// User and system time of this process (`proc(5)`, `/proc/pid/stat`, fields 14 and 15, in 1/100 s).
fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: Vec<f64> =
        fields.split_whitespace().skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
    Ok(ticks.iter().sum::<f64>() / 100.0)
}
