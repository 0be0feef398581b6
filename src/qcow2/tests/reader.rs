//! Images that QEMU made, read here: byte for byte what `qemu-img convert -O raw` says they hold.

use block::{BlockSource, ExtentKind};
use qcow2::{Anywhere, Chain, Inside, MapKind, check};
use std::path::{Path, PathBuf};
use testkit::image::{Rng, mixed, write_sparse};
use testkit::{conformance, require, run};

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// What QEMU says the image holds.
fn truth(image: &Path) -> Vec<u8> {
    let raw = image.with_extension("truth");
    run("qemu-img", ["convert", "-O", "raw", &text(image), &text(&raw)]);
    let bytes = std::fs::read(&raw).unwrap();
    std::fs::remove_file(&raw).unwrap();
    bytes
}

/// Our reader, our check, against QEMU's.
fn assert_same(image: &Path) -> Chain {
    let chain = Chain::open(image, &Anywhere).unwrap();
    conformance::source(&chain, &truth(image));
    let report = check(image).unwrap();
    assert_eq!((report.errors, report.leaks), (0, 0), "{report:?}");
    chain
}

fn qemu_io(image: &Path, commands: &[String]) {
    let mut args = Vec::new();
    for command in commands {
        args.extend(["-c".to_owned(), command.clone()]);
    }
    args.push(text(image));
    run("qemu-io", args);
}

/// Random writes, zeros and discards at any sector.
fn scribble(image: &Path, size: u64, seed: u64, count: u64) {
    let mut rng = Rng::new(seed);
    let commands: Vec<String> = (0..count)
        .map(|_| {
            let start = rng.below(size / 512) * 512;
            let length = (512 << rng.below(9)).min(size - start);
            match rng.below(5) {
                0 => format!("write -z {start} {length}"),
                1 => format!("discard {start} {length}"),
                n => format!("write -P {} {start} {length}", 1 + (n + rng.below(250)) % 255),
            }
        })
        .collect();
    qemu_io(image, &commands);
}

struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Scratch {
        Scratch(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn raw(&self, seed: u64, size: u64) -> PathBuf {
        let path = self.at(&format!("disk-{seed}.raw"));
        write_sparse(&path, &mixed(seed, size));
        path
    }
}

#[test]
fn every_cluster_size_and_method() {
    if !require("qemu-img") {
        return;
    }
    let scratch = Scratch::new();
    // qemu-img rounds sizes up to sectors.
    let raw = scratch.raw(1, (1 << 20) + 512 * 77);
    let disk = mixed(1, (1 << 20) + 512 * 77);
    for bits in 9..=21u32 {
        let cluster = format!("cluster_size={}", 1u32 << bits);
        let mut ways: Vec<(Vec<&str>, &str)> = vec![
            (vec![], "compat=1.1"),
            (vec![], "compat=0.10"),
            (vec!["-c"], "compression_type=zlib"),
            (vec!["-c"], "compression_type=zstd"),
            (vec!["-c"], "compat=0.10"),
        ];
        if bits >= 14 {
            ways.push((vec![], "extended_l2=on"));
            ways.push((vec!["-c"], "extended_l2=on,compression_type=zstd"));
        }
        if bits % 4 == 0 {
            for width in ["refcount_bits=1", "refcount_bits=2", "refcount_bits=8", "refcount_bits=64"] {
                ways.push((vec![], width));
            }
        }
        for (flags, option) in ways {
            let image = scratch.at("image.qcow2");
            let option = format!("{cluster},{option}");
            let mut args = vec!["convert", "-f", "raw", "-O", "qcow2", "-o", &option];
            args.extend(flags);
            let (from, to) = (text(&raw), text(&image));
            args.extend([from.as_str(), to.as_str()]);
            run("qemu-img", args);
            let chain = Chain::open(&image, &Anywhere).unwrap();
            if [9, 14, 16, 21].contains(&bits) {
                conformance::source(&chain, &disk);
            }
            let mut read = vec![0xee; disk.len()];
            for (n, part) in read.chunks_mut(300_000).enumerate() {
                chain.read_at(part, n as u64 * 300_000).unwrap();
            }
            assert!(read == disk, "{option}");
            let report = check(&image).unwrap();
            assert_eq!((report.errors, report.leaks), (0, 0), "{option}: {report:?}");
        }
    }
}

#[test]
fn a_compressed_cluster_may_end_the_file() {
    if !require("qemu-img") {
        return;
    }
    let scratch = Scratch::new();
    for (n, method) in ["zlib", "zstd"].into_iter().enumerate() {
        let raw = scratch.at("one.raw");
        std::fs::write(&raw, mixed(n as u64 + 3, 65536).iter().map(|b| b | 1).collect::<Vec<_>>()).unwrap();
        let image = scratch.at("one.qcow2");
        let option = format!("compression_type={method}");
        run("qemu-img", ["convert", "-c", "-O", "qcow2", "-o", &option, &text(&raw), &text(&image)]);
        // QEMU pads the file; a copy that is cut where the data ends is as good.
        let entry = Chain::open(&image, &Anywhere).unwrap().map(0..65536).unwrap()[0];
        assert_eq!(entry.kind, MapKind::Compressed);
        assert_same(&image);
        let bytes = std::fs::read(&image).unwrap();
        let end = bytes.iter().rposition(|b| *b != 0).unwrap() + 1;
        if end as u64 > entry.host_offset.unwrap() {
            std::fs::write(&image, &bytes[..end]).unwrap();
            assert_same(&image);
        }
    }
}

#[test]
fn subclusters_and_explicit_zeros() {
    if !require("qemu-img") || !require("qemu-io") {
        return;
    }
    let scratch = Scratch::new();
    let base = scratch.raw(5, 4 << 20);
    for (n, options) in [
        "extended_l2=on,cluster_size=128k",
        "extended_l2=on,cluster_size=16k",
        "extended_l2=on,cluster_size=2M,compression_type=zstd",
        "cluster_size=64k",
        "cluster_size=4k,compat=0.10",
        "cluster_size=64k,preallocation=metadata",
    ]
    .into_iter()
    .enumerate()
    {
        let image = scratch.at(&format!("{n}.qcow2"));
        let mut args = vec!["create", "-q", "-f", "qcow2", "-o", options];
        let (base, path) = (text(&base), text(&image));
        if !options.contains("preallocation") {
            args.extend(["-b", &base, "-F", "raw"]);
        }
        args.extend([path.as_str(), "4M"]);
        run("qemu-img", args);
        scribble(&image, 4 << 20, n as u64, 60);
        assert_same(&image);
    }
}

#[test]
fn a_chain_of_ten_with_every_kind_of_layer() {
    if !require("qemu-img") || !require("qemu-io") {
        return;
    }
    let scratch = Scratch::new();
    let mut below = scratch.raw(9, (2 << 20) + 512);
    let mut format = "raw";
    let mut rng = Rng::new(10);
    for n in 0..10u64 {
        let image = scratch.at(&format!("layer-{n}.qcow2"));
        // Disks that grow and shrink along the chain.
        let size = (1 << 20) + 512 * rng.below(8192);
        let options = [
            "cluster_size=64k",
            "cluster_size=512",
            "extended_l2=on,cluster_size=64k",
            "cluster_size=2M,compression_type=zstd",
            "compat=0.10",
        ][n as usize % 5];
        let name = below.file_name().unwrap().to_str().unwrap().to_owned();
        let arguments =
            ["create", "-q", "-f", "qcow2", "-o", options, "-b", &name, "-F", format, &text(&image)];
        run("qemu-img", arguments.iter().copied().chain([size.to_string().as_str()]));
        scribble(&image, size, n, 12);
        let chain = assert_same(&image);
        assert_eq!(chain.layers().len() as u64, n + 2);
        // A gate around the folder lets the same chain through.
        Chain::open(&image, &Inside::new(scratch.0.path()).unwrap()).unwrap();
        (below, format) = (image, "qcow2");
    }
}

#[test]
fn a_short_layer_hides_what_is_deeper() {
    if !require("qemu-img") {
        return;
    }
    let scratch = Scratch::new();
    let base = scratch.raw(12, 10 << 20);
    for (name, below, format, size) in
        [("middle", "disk-12.raw", "raw", "5M"), ("top", "middle.qcow2", "qcow2", "10M")]
    {
        let image = scratch.at(&format!("{name}.qcow2"));
        run("qemu-img", ["create", "-q", "-f", "qcow2", "-b", below, "-F", format, &text(&image), size]);
    }
    let chain = assert_same(&scratch.at("top.qcow2"));
    let mut read = vec![1; 10 << 20];
    chain.read_at(&mut read, 0).unwrap();
    assert!(read[..5 << 20] == std::fs::read(&base).unwrap()[..5 << 20]);
    assert!(read[5 << 20..].iter().all(|b| *b == 0));

    let extents = |layers| chain.slice(layers).unwrap().extents(0..10 << 20, None).unwrap();
    let kinds = |layers| extents(layers).into_iter().map(|e| (e.length, e.kind)).collect::<Vec<_>>();
    assert_eq!(kinds(0..1), [(10 << 20, ExtentKind::Hole)]);
    assert_eq!(
        kinds(0..2),
        [(5 << 20, ExtentKind::Hole), (5 << 20, ExtentKind::Zero)],
        "the part behind the middle's end is not in these layers, but nothing deeper shows through"
    );
    assert!(chain.slice(0..4).is_err() && chain.slice(1..1).is_err());
}

#[test]
fn the_map_is_qemus() {
    if !require("qemu-img") || !require("qemu-io") {
        return;
    }
    let scratch = Scratch::new();
    let base = scratch.at("base.qcow2");
    run("qemu-img", ["convert", "-c", "-O", "qcow2", &text(&scratch.raw(20, 3 << 20)), &text(&base)]);
    let top = scratch.at("top.qcow2");
    run("qemu-img", ["create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", &text(&top), "4M"]);
    scribble(&top, 4 << 20, 21, 30);
    let chain = Chain::open(&top, &Anywhere).unwrap();
    let ours = chain.map(0..u64::MAX).unwrap();
    assert_eq!(ours.iter().map(|e| e.length).sum::<u64>(), 4 << 20);
    let theirs = run("qemu-img", ["map", "--output=json", &text(&top)]);
    let field = |line: &str, name: &str| -> Option<String> {
        let rest = line.split(&format!("\"{name}\": ")).nth(1)?;
        Some(rest.split([',', '}']).next()?.to_owned())
    };
    for line in theirs.lines() {
        let start: u64 = field(line, "start").unwrap().parse().unwrap();
        let depth: usize = field(line, "depth").unwrap().parse().unwrap();
        let found = ours.iter().find(|e| e.offset <= start && start < e.offset + e.length).unwrap();
        // QEMU tells it since version 8.2.
        let compressed = field(line, "compressed").map(|told| told == "true");
        let data = field(line, "data").unwrap() == "true";
        assert!(
            compressed.is_none_or(|told| (found.kind == MapKind::Compressed) == told),
            "{line} {found:?}"
        );
        assert_eq!(matches!(found.kind, MapKind::Data | MapKind::Compressed), data, "{line} {found:?}");
        if data {
            assert_eq!(found.layer, Some(depth), "{line} {found:?}");
        }
        if let (Some(offset), MapKind::Data) = (field(line, "offset"), found.kind) {
            assert_eq!(found.host_offset.unwrap() + start - found.offset, offset.parse::<u64>().unwrap());
        }
    }
}

#[test]
fn snapshots_and_bitmaps_inside_an_image_don_t_matter() {
    if !require("qemu-img") || !require("qemu-io") {
        return;
    }
    let scratch = Scratch::new();
    let image = scratch.at("image.qcow2");
    run("qemu-img", ["convert", "-O", "qcow2", &text(&scratch.raw(30, 5 << 20)), &text(&image)]);
    for n in 0..3 {
        run("qemu-img", ["snapshot", "-c", &format!("s{n}"), &text(&image)]);
        run("qemu-img", ["bitmap", "--add", &text(&image), &format!("b{n}")]);
        scribble(&image, 5 << 20, n, 20);
        assert_same(&image);
    }
    run("qemu-img", ["snapshot", "-d", "s1", &text(&image)]);
    assert_same(&image);
}

#[test]
fn an_image_that_was_not_closed_is_read_and_said_to_be_dirty() {
    if !require("qemu-img") || !require("qemu-io") {
        return;
    }
    let scratch = Scratch::new();
    let image = scratch.at("image.qcow2");
    run("qemu-img", ["create", "-q", "-f", "qcow2", "-o", "lazy_refcounts=on", &text(&image), "4M"]);
    let written = std::process::Command::new("qemu-io")
        .args(["-c", "write -P 9 1M 1M", "-c", "flush", "-c", "abort", &text(&image)])
        .output()
        .unwrap();
    assert!(!written.status.success(), "aborted");
    let chain = Chain::open(&image, &Anywhere).unwrap();
    assert!(chain.layers()[0].dirty);
    let mut read = vec![0; 1 << 20];
    chain.read_at(&mut read, 1 << 20).unwrap();
    assert!(read.iter().all(|b| *b == 9));
    let report = check(&image).unwrap();
    assert!(report.is_sound() && report.leaks > 0, "{report:?}");
}

#[test]
fn what_can_t_be_read_is_refused_by_name() {
    if !require("qemu-img") {
        return;
    }
    let scratch = Scratch::new();
    let refused = |image: &Path| match Chain::open(image, &Anywhere) {
        Ok(_) => panic!("{} was opened", image.display()),
        Err(error) => error.to_string(),
    };
    let image = scratch.at("external.qcow2");
    let option = format!("data_file={}", text(&scratch.at("data")));
    run("qemu-img", ["create", "-q", "-f", "qcow2", "-o", &option, &text(&image), "1M"]);
    assert!(refused(&image).contains("external data file"));

    let image = scratch.at("encrypted.qcow2");
    run("qemu-img", ["create", "-q", "-f", "qcow2", &text(&image), "1M"]);
    let mut bytes = std::fs::read(&image).unwrap();
    bytes[35] = 2;
    std::fs::write(&image, bytes).unwrap();
    assert!(refused(&image).contains("encrypted"));

    let (a, b) = (scratch.at("a.qcow2"), scratch.at("b.qcow2"));
    run("qemu-img", ["create", "-q", "-f", "qcow2", &text(&a), "1M"]);
    run("qemu-img", ["create", "-q", "-f", "qcow2", "-b", "a.qcow2", "-F", "qcow2", &text(&b), "1M"]);
    run("qemu-img", ["rebase", "-u", "-b", "b.qcow2", "-F", "qcow2", &text(&a)]);
    assert!(refused(&b).contains("loop"));
    run("qemu-img", ["rebase", "-u", "-b", "a.qcow2", "-F", "qcow2", &text(&a)]);
    assert!(refused(&a).contains("loop"));
    run("qemu-img", ["rebase", "-u", "-b", "a.vmdk", "-F", "vmdk", &text(&a)]);
    assert!(refused(&a).contains("vmdk"));
    run("qemu-img", ["rebase", "-u", "-b", "gone", "-F", "raw", &text(&a)]);
    assert!(refused(&a).contains("gone"));
    assert!(refused(scratch.0.path()).contains("directory"));
    std::fs::write(&a, vec![7; 100_000]).unwrap();
    assert!(refused(&a).contains("does not begin"));
    std::fs::write(&a, b"QFI\xfb").unwrap();
    assert!(refused(&a).contains("too short"));
}

#[test]
fn an_open_chain_outlives_its_names() {
    if !require("qemu-img") {
        return;
    }
    let scratch = Scratch::new();
    let image = scratch.at("image.qcow2");
    run("qemu-img", ["convert", "-O", "qcow2", &text(&scratch.raw(40, 2 << 20)), &text(&image)]);
    let chain = Chain::open(&image, &Anywhere).unwrap();
    std::fs::remove_file(&image).unwrap();
    conformance::source(&chain, &mixed(40, 2 << 20));
}
