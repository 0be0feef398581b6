//! Images written here, judged by QEMU: `qemu-img check` is clean, `qemu-img compare` finds the source.

use block::{BlockSink, BlockSource};
use qcow2::{
    Anywhere, Backing, BackingFormat, Chain, Compression, Content, Create, Draft, IoMode, Writer, check,
};
use std::path::Path;
use std::sync::Mutex;
use testkit::image::Rng;
use testkit::{conformance, require, run};

const METHODS: [Compression; 3] =
    [Compression::None, Compression::Zstd { level: 1 }, Compression::Zlib { level: 6 }];

/// Writes `disk` cluster run by cluster run: what is all zeros by `zero`, what `same` says is unchanged not
/// at all, from `threads` threads in random order.
fn write(writer: &Writer, disk: &[u8], same: &(dyn Fn(usize) -> bool + Sync), seed: u64, threads: usize) {
    let cluster = writer.granularity() as usize;
    let mut rng = Rng::new(seed);
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < disk.len() {
        let end = (at + cluster * (1 + rng.below(20) as usize)).min(disk.len());
        pieces.push(at..end);
        at = end;
    }
    if threads > 1 {
        for n in (1..pieces.len()).rev() {
            pieces.swap(n, rng.below(n as u64 + 1) as usize);
        }
    }
    let pieces = Mutex::new(pieces.into_iter());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let Some(piece) = pieces.lock().unwrap().next() else { break };
                    // Runs of clusters of one kind, as the pipeline makes them.
                    let mut run: Option<(usize, u8)> = None;
                    for at in piece.clone().step_by(cluster).chain([piece.end]) {
                        let kind = if at == piece.end {
                            9
                        } else if same(at / cluster) {
                            0
                        } else if disk[at..(at + cluster).min(disk.len())].iter().all(|b| *b == 0) {
                            1
                        } else {
                            2
                        };
                        match run {
                            Some((_, k)) if k == kind => {}
                            previous => {
                                match previous {
                                    Some((start, 1)) => {
                                        writer.zero(start as u64, (at - start) as u64).unwrap();
                                    }
                                    Some((start, 2)) => {
                                        writer.write_at(&disk[start..at], start as u64).unwrap();
                                    }
                                    _ => {}
                                }
                                run = Some((at, kind));
                            }
                        }
                    }
                }
            });
        }
    });
}

fn assert_is(path: &Path, raw: &Path, disk: &[u8], what: &str) {
    if require("qemu-img") {
        run("qemu-img", ["check", "-q", &path.display().to_string()]);
        let (path, raw) = (path.display().to_string(), raw.display().to_string());
        run("qemu-img", ["compare", "-q", "-f", "raw", "-F", "qcow2", &raw, &path]);
    }
    let report = check(path).unwrap();
    assert_eq!((report.errors, report.leaks), (0, 0), "{what}: {report:?}");
    let chain = Chain::open(path, &Anywhere).unwrap();
    assert_eq!(chain.size(), disk.len() as u64);
    let mut read = vec![0xee; disk.len()];
    for (n, part) in read.chunks_mut(1_000_000).enumerate() {
        chain.read_at(part, n as u64 * 1_000_000).unwrap();
    }
    assert!(read == disk, "{what}: our own reader differs");
}

#[test]
fn fulls_are_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let raw = folder.path().join("disk.raw");
    let sizes = [512, 65536, (5 << 20) + 512, (33 << 20) + 65536 + 1536];
    for (n, size) in sizes.into_iter().enumerate() {
        let disk = testkit::image::mixed(n as u64, size);
        testkit::image::write_sparse(&raw, &disk);
        for method in METHODS {
            for cluster_bits in [16, 18, 21] {
                let what = format!("{size} bytes, {method:?}, 2^{cluster_bits}");
                let path = folder.path().join("disk.qcow2");
                let options = Create { cluster_bits, compression: method, ..Create::new(size) };
                let writer = Writer::create(&path, &options).unwrap();
                write(&writer, &disk, &|_| false, n as u64, 1 + n % 2 * 3);
                let length = writer.finish_at().unwrap();
                assert_eq!(length, std::fs::metadata(&path).unwrap().len(), "{what}");
                assert_is(&path, &raw, &disk, &what);
                std::fs::remove_file(&path).unwrap();
            }
        }
    }
}

#[test]
fn an_incremental_over_a_full_shows_the_new_disk() {
    let folder = tempfile::tempdir().unwrap();
    let old = testkit::image::mixed(7, (24 << 20) + 4096);
    let base = folder.path().join("full.qcow2");
    let writer = Writer::create(&base, &Create::new(old.len() as u64)).unwrap();
    write(&writer, &old, &|_| false, 1, 2);
    Box::new(writer).finish().unwrap();
    for (n, method) in METHODS.into_iter().enumerate() {
        // Grown, shrunk, of the same size; some of it changed, a stretch became zeros.
        let mut new = old.clone();
        new.resize([old.len() + (5 << 20) + 512, old.len() - (3 << 20) + 1024, old.len()][n], 0x5a);
        testkit::image::mutate(n as u64, &mut new, 50);
        new[3 << 20..(7 << 20) + 100].fill(0);
        let raw = folder.path().join("new.raw");
        testkit::image::write_sparse(&raw, &new);
        let path = folder.path().join(format!("incr-{n}.qcow2"));
        let options = Create {
            backing: Some(Backing { file_name: "full.qcow2".into(), format: BackingFormat::Qcow2 }),
            compression: method,
            ..Create::new(new.len() as u64)
        };
        let writer = Writer::create(&path, &options).unwrap();
        let same = |cluster: usize| {
            let range = cluster << 16..((cluster + 1) << 16).min(new.len());
            old.get(range.clone()) == Some(&new[range])
        };
        write(&writer, &new, &same, 3, 3);
        let length = writer.finish_at().unwrap();
        assert!(length < old.len() as u64 / 2, "only changes are stored, not {length} bytes");
        assert_is(&path, &raw, &new, &format!("{method:?}"));
        assert!(check(&path).unwrap().zero_clusters >= 10, "zeros over data are recorded");
    }
}

#[test]
fn settling_writes_tables_early_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let raw = folder.path().join("disk.raw");
    // Sparse, over several L2 tables (512 MiB each at 64 KiB clusters).
    let size = 3 << 30;
    let piece = testkit::image::mixed(5, 8 << 20);
    for method in METHODS {
        let path = folder.path().join("disk.qcow2");
        let writer = Writer::create(&path, &Create { compression: method, ..Create::new(size) }).unwrap();
        let file = std::fs::File::create(&raw).unwrap();
        file.set_len(size).unwrap();
        for at in (0..size).step_by(700 << 20) {
            let before = writer.allocated();
            writer.write_at(&piece, at).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, &piece, at).unwrap();
            writer.settled(at + piece.len() as u64).unwrap();
            assert!(writer.allocated() > before);
        }
        assert!(writer.write_at(&piece[..65536], 0).is_err(), "what is settled can't be written");
        drop(writer);
        assert!(!path.exists(), "dropped without finish, nothing is left");

        let writer = Writer::create(&path, &Create { compression: method, ..Create::new(size) }).unwrap();
        for at in (0..size).step_by(700 << 20) {
            writer.write_at(&piece, at).unwrap();
            writer.settled(at + piece.len() as u64).unwrap();
        }
        writer.settled(size).unwrap();
        writer.finish_at().unwrap();
        if require("qemu-img") {
            let (path, raw) = (path.display().to_string(), raw.display().to_string());
            run("qemu-img", ["check", "-q", &path]);
            run("qemu-img", ["compare", "-q", "-f", "raw", "-F", "qcow2", &raw, &path]);
        }
        let report = check(&path).unwrap();
        assert_eq!((report.errors, report.leaks), (0, 0), "{report:?}");
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn a_writer_keeps_the_promises_of_a_sink() {
    for method in METHODS {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.qcow2");
        conformance::sink(
            |size| {
                let _ = std::fs::remove_file(&path);
                let options = Create { compression: method, ..Create::new(size) };
                Box::new(Writer::create(&path, &options).unwrap())
            },
            |size| {
                let chain = Chain::open(&path, &Anywhere).unwrap();
                let mut read = vec![0xee; size as usize];
                chain.read_at(&mut read, 0).unwrap();
                read
            },
            || !path.exists(),
        );
    }
}

#[test]
fn every_way_of_writing_gives_the_same_image() {
    let folder = tempfile::tempdir().unwrap();
    let disk = testkit::image::mixed(11, 9 << 20);
    let raw = folder.path().join("disk.raw");
    testkit::image::write_sparse(&raw, &disk);
    for (n, io) in [IoMode::Auto, IoMode::Buffered, IoMode::Direct].into_iter().enumerate() {
        let path = folder.path().join(format!("{n}.qcow2"));
        let writer = match Writer::create(&path, &Create { io, ..Create::new(disk.len() as u64) }) {
            Ok(writer) => writer,
            Err(error) if io == IoMode::Direct => {
                eprintln!("SKIPPED: no direct I/O here: {error}");
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        write(&writer, &disk, &|_| false, 2, 3);
        writer.finish_at().unwrap();
        assert_is(&path, &raw, &disk, &format!("{io:?}"));
    }
}

#[test]
fn mistakes_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.qcow2");
    let options = Create::new((1 << 20) + 512);
    let writer = Writer::create(&path, &options).unwrap();
    assert!(Writer::create(&path, &options).is_err(), "it exists");
    writer.write_at(&[1; 512], 1 << 20).unwrap();
    assert!(writer.write_at(&[1; 512], 1 << 20).is_err(), "twice");
    assert!(writer.finish_at().is_err(), "after a failed write");
    assert!(!path.exists());

    for (offset, length) in [(1, 65536), (0, 100), (1 << 20, 65536), (u64::MAX - 10, 65536), (2 << 20, 0)] {
        let writer = Writer::create(&path, &options).unwrap();
        assert!(writer.write_at(&vec![1; length], offset).is_err(), "{length} bytes at {offset}");
        assert!(writer.zero(offset, length as u64).is_err());
    }
    for bad in [
        Create { cluster_bits: 15, ..options.clone() },
        Create { cluster_bits: 22, ..options.clone() },
        Create { virtual_size: u64::MAX, ..options.clone() },
        Create {
            backing: Some(Backing { file_name: "nbd:x".into(), format: BackingFormat::Raw }),
            ..options.clone()
        },
    ] {
        assert!(Writer::create(&path, &bad).is_err(), "{bad:?}");
        assert!(!path.exists());
    }
}

#[test]
fn empty_disks_and_huge_ones_are_images_too() {
    let folder = tempfile::tempdir().unwrap();
    for size in [0, 1, 1 << 40, 64 << 40] {
        let path = folder.path().join(format!("{size}.qcow2"));
        let length = Writer::create(&path, &Create::new(size)).unwrap().finish_at().unwrap();
        assert!(length < 4 << 20, "{size} bytes of nothing take {length}");
        if require("qemu-img") {
            run("qemu-img", ["check", "-q", &path.display().to_string()]);
        }
        let chain = Chain::open(&path, &Anywhere).unwrap();
        if size > 0 {
            let extents = chain.extents(0..size, None).unwrap();
            assert_eq!(extents, [block::Extent::new(0..size, block::ExtentKind::Hole)]);
        }
    }
}

/// Does to a draft what a client without a plan does, on the clusters `mine` of its disk, and keeps `disk`, which
/// begins at the first of them, the same.
fn scribble(draft: &Draft, mine: std::ops::Range<u64>, disk: &mut [u8], below: &[u8], seed: u64) {
    let cluster = draft.cluster_size();
    let mut rng = Rng::new(seed);
    for round in 0..400 {
        let first = mine.start + rng.below(mine.end - mine.start);
        let last = (first + 1 + rng.below(6)).min(mine.end);
        let start = ((first - mine.start) * cluster) as usize;
        let end = (((last - mine.start) * cluster) as usize).min(disk.len());
        match rng.below(8) {
            0 => {
                draft.zero(first..last);
                disk[start..end].fill(0);
            }
            1 => {
                draft.forget(first..last);
                let at = (first * cluster) as usize;
                disk[start..end].copy_from_slice(&below[at..at + (end - start)]);
            }
            2 | 3 if draft.content(first) == Content::Data => {
                let end = (start + cluster as usize).min(disk.len());
                let mut read = vec![0xee; end - start];
                draft.read(first, &mut read).unwrap();
                assert!(read == disk[start..end], "cluster {first} reads back something else");
            }
            _ => {
                let bytes = testkit::image::mixed(seed ^ round, (end - start) as u64);
                draft.store(first, &bytes).unwrap();
                disk[start..end].copy_from_slice(&bytes);
            }
        }
    }
}

#[test]
fn a_draft_that_was_written_again_and_again_is_what_was_left() {
    let folder = tempfile::tempdir().unwrap();
    let size = (9u64 << 20) + 1536;
    let old = testkit::image::mixed(11, size);
    let base = folder.path().join("full.qcow2");
    let writer = Writer::create(&base, &Create::new(size)).unwrap();
    write(&writer, &old, &|_| false, 1, 2);
    Box::new(writer).finish().unwrap();
    let zeros = vec![0; size as usize];
    for (n, compression) in METHODS.into_iter().enumerate() {
        for over in [false, true] {
            let path = folder.path().join(format!("draft-{n}-{over}.qcow2"));
            let backing = Backing { file_name: "full.qcow2".into(), format: BackingFormat::Qcow2 };
            let options = Create { backing: over.then_some(backing), compression, ..Create::new(size) };
            let draft = Draft::create(&path, &options).unwrap();
            let below = if over { &old } else { &zeros };
            let mut disk = below.clone();
            let third = draft.clusters() / 3;
            std::thread::scope(|scope| {
                let parts = disk.chunks_mut((third * draft.cluster_size()) as usize);
                for (part, bytes) in parts.enumerate() {
                    let first = part as u64 * third;
                    let mine = first..(first + third).min(draft.clusters());
                    let draft = &draft;
                    scope.spawn(move || scribble(draft, mine, bytes, below, part as u64 + 1));
                }
            });
            let stored = (0..draft.clusters()).filter(|at| draft.content(*at) == Content::Data).count();
            assert_eq!(draft.stored(), stored as u64, "{compression:?}");
            let length = draft.finish_at().unwrap();
            let meta = std::fs::metadata(&path).unwrap();
            assert_eq!(length, meta.len());
            assert!(length < 2 * size + (1 << 20), "{length} bytes for a disk of {size}");
            let raw = folder.path().join("disk.raw");
            testkit::image::write_sparse(&raw, &disk);
            assert_is(&path, &raw, &disk, &format!("{compression:?}, backing {over}"));
        }
    }
}

#[test]
fn a_draft_that_is_not_finished_leaves_no_file_and_refuses_what_is_no_cluster() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("draft.qcow2");
    let draft = Draft::create(&path, &Create::new(200_000)).unwrap();
    assert!(Draft::create(&path, &Create::new(1)).is_err(), "it is there");
    draft.store(3, &vec![7; 200_000 - 3 * 65536]).unwrap();
    for (first, length) in [(0, 4096), (3, 65536), (4, 65536), (u64::MAX, 65536)] {
        assert!(draft.store(first, &vec![1; length]).is_err(), "{length} bytes at cluster {first}");
    }
    assert!(draft.read(0, &mut [0; 65536]).is_err(), "nothing is stored there");
    assert!(draft.finish_at().is_err(), "a write has failed");
    assert!(!path.exists());
}
