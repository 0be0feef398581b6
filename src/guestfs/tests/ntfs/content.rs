//! Contents: compressed, sparse, in several streams, of many extents.

use super::*;

#[test]
fn compressed_files_read_as_ntfs_3g_shows_them() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    // The largest clusters that can be compressed, and the smallest.
    for cluster in [4096, 512] {
        let image = Image::new("100M", &format!("-c {cluster} -C"));
        let count = image
            .fill(
                "compression",
                r#"
seq 200000 > text
head -c 3000000 /dev/urandom > noise
# Units of each kind after another: compressed, stored, nothing, a short last one.
(seq 20000; head -c 200000 /dev/urandom; head -c 300000 /dev/zero; seq 3000; head -c 5 /dev/urandom) > mixed
truncate -s 5M holes; seq 30000 > part; dd if=part of=holes bs=64k oflag=seek_bytes seek=1000000 conv=notrunc status=none; rm part
(for n in $(seq 3000); do printf 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa%d' $((n % 7)); done) > repeated
(seq 9000; head -c 70000 /dev/zero) > ends-in-zeros
for n in $(seq 4); do seq $n 30000 >> grown; seq 100 >> grown-too; done
head -c 4096 text > one-chunk; head -c 4097 text > one-chunk-more; head -c 65536 text > one-unit; head -c 65537 text > one-unit-more
"#,
            )
            .assert_same();
        assert_eq!(count.files, 12);
        let fs = image.open();
        let [mut hole, mut inside, mut device] = [0; 3];
        for name in ["text", "noise", "mixed", "repeated"] {
            let (node, mut offset) = (node(&*fs, name), 0);
            while let Some(run) = fs.map(node, offset).unwrap() {
                match run.place {
                    Place::Hole => hole += run.length,
                    Place::Inside => inside += run.length,
                    Place::Device(_) => device += run.length,
                }
                offset += run.length;
            }
        }
        assert!(hole > 200_000 && inside > 1_000_000 && device > 3_000_000, "{hole} {inside} {device}");
        // Through the cache of units, at odd places.
        let text = node(&*fs, "text");
        let whole = content(&*fs, text);
        for offset in (0..whole.len()).step_by(70_001) {
            let mut part = [0; 5000];
            let length = fs.read_at(text, offset as u64, &mut part).unwrap();
            assert_eq!(part[..length], whole[offset..(offset + 5000).min(whole.len())]);
        }
    }
}

#[test]
fn a_sparse_file_of_5_gib_and_what_was_never_written() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    let image = Image::new("300M", "");
    let count = image
        .fill(
            "",
            r#"
truncate -s 5G huge
echo here | dd of=huge bs=1 seek=4294967297 conv=notrunc status=none
truncate -s 6000000 tail; echo data | dd of=tail bs=1 conv=notrunc status=none
"#,
        )
        .assert_same();
    assert_eq!((count.files, count.holes >> 20), (2, 5125));
    // Allocated but not initialised: ntfsfallocate and a shortened initialised size.
    let script = "for n in 1 2 3 4; do head -c 100000 /dev/urandom > file$n; sync; done";
    image.fill("", script);
    sh(&format!("ntfsfallocate -f -l 3000000 {} file2 > /dev/null 2>&1", image.path.display()));
    image.assert_same();
}

#[test]
fn streams_are_attributes_and_files() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    let image = Image::new("100M", "");
    image.fill(
        "",
        r#"
mkdir folder; echo main > file; echo main > folder/file; echo plain > 'with:colon'
setfattr -n user.small -v 'a small one' file
setfattr -n user.Größe -v 'not ASCII' file
setfattr -n user.of-folder -v 'of a folder' folder
setfattr -n user.of-root -v 'of the root' .
setfattr -n user.full -v "$(head -c 60000 /dev/zero | tr '\0' q)" file
setfattr -n user.empty file
"#,
    );
    // Streams of more than an attribute may have, through the other interface of ntfs-3g.
    image.fill(
        "streams_interface=windows",
        "head -c 3000000 /dev/urandom > file:large; seq 9000 > folder/file:many; head -c 65537 /dev/zero > file:one-more",
    );
    let listed = image.fill("", "rm -f none");
    let fs = listed.open();
    let names = |path: &str| -> Vec<String> {
        let mut names: Vec<String> = fs
            .xattrs(node(&*fs, path))
            .unwrap()
            .into_iter()
            .map(|xattr| String::from_utf8(xattr.name).unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names("file"), ["user.Größe", "user.empty", "user.full", "user.small"]);
    assert_eq!(names("folder/file"), ["user.many"]);
    let large = node(&*fs, "file:large");
    assert_eq!((fs.stat(large).unwrap().kind, fs.stat(large).unwrap().size), (FileKind::File, 3_000_000));
    let mounted = Served::new(&image, "ro,streams_interface=windows");
    for (ours, theirs) in [
        ("file:large", "file:large"),
        ("FILE:LARGE", "file:large"),
        ("file:large:$data", "file:large"),
        ("file:small", "file:small"),
        ("file:one-more", "file:one-more"),
        ("folder/file:many", "folder/file:many"),
        ("folder:of-folder", "folder:of-folder"),
        (":of-root", ".:of-root"),
        ("folder/:of-folder", "folder:of-folder"),
    ] {
        let node = node(&*fs, ours);
        assert_eq!(content(&*fs, node), fs::read(mounted.at.join(theirs)).unwrap(), "{ours}");
        assert!(matches!(fs.lookup(node, b"file"), Err(Error::NotADirectory)), "{ours}");
        assert!(fs.map(node, 0).unwrap().is_some());
    }
    assert_eq!(content(&*fs, node(&*fs, "with:colon")), b"plain\n", "a name wins over a stream");
    assert!(matches!(fs.lookup(fs.root(), b"file:none"), Err(Error::NotFound)));
    assert!(matches!(fs.lookup(fs.root(), b"none:small"), Err(Error::NotFound)));
    assert!(matches!(fs.lookup(fs.root(), b"file:"), Err(Error::NotFound)));
    assert!(matches!(fs.stat(NodeId { tree: 1000, ..large }), Err(Error::NotFound)));
    drop(mounted);
    // The large streams are more than an attribute may have; the rest is as it is shown.
    image.fill("streams_interface=windows", "rm file:large file:one-more");
    assert_eq!(image.assert_same().xattrs, 7);
}

#[test]
fn files_of_many_extents_go_on_in_other_records() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    let image = Image::new("12M", "-c 512");
    // Half of many small files is deleted; what is made then lies in the holes: $MFT too.
    let count = image
        .fill(
            "",
            r#"
python3 - <<'END'
import os, random
def make(name, size):
    try: open(name, 'wb', 0).write(os.urandom(size))
    except OSError: return False
    return True
os.mkdir('small')
count = 0
while count < 3000 and make('small/%d' % count, 2048): count += 1
pad = open('pad', 'wb', 0)
try:
    while True: pad.write(os.urandom(4096))
except OSError: pass
try: pad.close()
except OSError: pass
random.seed(7)
for n in range(count):
    if random.random() < 0.6: os.unlink('small/%d' % n)
make('many-extents', 2000000)
os.mkdir('names')
for n in range(3000):
    if not make('names/%d' % n, n % 300): break
END
for n in $(seq 20); do setfattr -n user.stream$n -v "$(head -c 300 /dev/zero | tr '\0' a)" many-extents; done
for n in $(seq 30); do ln many-extents "link of a rather long name $n" || break; done
"#,
        )
        .assert_same();
    assert!(count.files > 500 && count.xattrs >= 20, "{count:?}");
    let fs = image.open();
    let runs = |name: &str| {
        let node = node(&*fs, name);
        let (mut runs, mut offset) = (0, 0);
        while let Some(run) = fs.map(node, offset).unwrap() {
            offset += run.length;
            runs += 1;
        }
        runs
    };
    let (file, table) = (runs("many-extents"), runs("$MFT"));
    assert!(file > 150 && table > 200, "{file} runs, $MFT in {table}");
}
