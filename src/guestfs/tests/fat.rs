//! FAT against mtools, which fills the images, and GRUB's own reader behind `grub-mount`.

use crate::compare::{self, Compared, assert_same};
use crate::fixture::{can_mount, sh};
use crate::hostile;
use guestfs::layers::{self, LayerOptions};
use guestfs::{Content, Device, Disk, Error, FileKind, GuestFs, MemoryDevice, NodeId, OpenOptions, fat};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use tempfile::TempDir;

const PROGRAMS: [&str; 4] = ["mkfs.fat", "mcopy", "grub-mount", "blkid"];

/// What mtools needs to be told.
const MTOOLS: &str = "export TZ=UTC LC_ALL=C.UTF-8 MTOOLS_SKIP_CHECK=1\n";

/// A tree of names and sizes that a FAT can have.
fn source(dir: &Path) {
    sh(&format!(
        r#"mkdir -p '{0}/tree/Deep/er/and/deeper' '{0}/tree/many files' '{0}/tree/empty'
        cd '{0}/tree'
        for i in $(seq 1 300); do echo "number $i" > "many files/file number $i of them.text"; done
        for n in 1 12 13 14 25 26 27 100 180; do head -c $n /dev/zero | tr '\0' x > "Deep/$(head -c $n /dev/zero | tr '\0' x)"; done
        echo small > small.txt; echo mixed > Mixed.Txt; : > nothing
        echo unicode > 'Größe 漢字.txt'; echo dots > 'many.dots.in.it.tar.gz'
        echo space > 'with space'; echo plus > 'a+b,c;d=e[f]'
        head -c 100000 /dev/urandom > Deep/er/and/deeper/random.bin
        touch -d '1980-01-01 00:00:00Z' small.txt; touch -d '2000-02-29 12:34:56Z' Mixed.Txt
        mkdir ../more; cd ../more; echo short > SHORT.TXT; echo caps > 'ÄRGER.TXT'; echo late > late.txt
        touch -d '2099-12-31 23:59:58Z' late.txt"#,
        dir.display()
    ));
}

/// Makes an image, fills it, and leaves holes in it that later files are spread over.
fn filled(dir: &Path, name: &str, size: &str, mkfs: &str) -> PathBuf {
    let image = dir.join(name);
    sh(&format!(
        r#"{MTOOLS}cd '{dir}'; truncate -s {size} '{name}'; mkfs.fat -n 'TEST LABEL' {mkfs} '{name}' > /dev/null
        for i in $(seq 1 40); do head -c 3000 /dev/zero > "gap$i"; done
        mcopy -i '{name}' gap* ::/
        mdel -i '{name}' $(for i in $(seq 1 2 40); do echo "::/gap$i"; done)
        rm gap*; head -c 70000 /dev/urandom > spread; mcopy -i '{name}' -m spread ::/; rm spread
        mcopy -i '{name}' -s -n -m tree/* ::/"#,
        dir = dir.display()
    ));
    image
}

fn open(image: Vec<u8>) -> guestfs::Result<(Arc<dyn GuestFs>, Device)> {
    let device: Device = Arc::new(MemoryDevice(image));
    Ok((fat::open(device.clone(), &OpenOptions::default())?, device))
}

/// Unmounts what a program of FUSE shows.
struct Shown(PathBuf);

impl Shown {
    fn new(image: &Path) -> Self {
        let at = image.with_extension("grub");
        sh(&format!("mkdir -p '{0}'; TZ=UTC grub-mount '{1}' '{0}'", at.display(), image.display()));
        Shown(at)
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

fn comparable() -> Compared {
    Compared {
        owners: false,
        links: false,
        changed: false,
        xattrs: false,
        directory_sizes: false,
        root_times: false,
        ..Compared::default()
    }
}

/// The node at a path.
fn node(fs: &dyn GuestFs, path: &str) -> NodeId {
    path.split('/').filter(|name| !name.is_empty()).fold(fs.root(), |dir, name| {
        fs.lookup(dir, name.as_bytes()).unwrap_or_else(|error| panic!("{path}: {name}: {error}"))
    })
}

fn content(fs: &dyn GuestFs, node: NodeId) -> guestfs::Result<Vec<u8>> {
    let mut bytes = vec![0; fs.stat(node)?.size as usize + 100];
    let length = fs.read_at(node, 0, &mut bytes)?;
    bytes.truncate(length);
    Ok(bytes)
}

/// All files with their content and time, as a folder has them.
fn extracted(dir: &Path, prefix: &str, all: &mut BTreeMap<String, (Vec<u8>, i64)>) {
    use std::os::unix::fs::MetadataExt;
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}/{}", entry.file_name().to_str().unwrap());
        match entry.metadata().unwrap() {
            metadata if metadata.is_dir() => extracted(&entry.path(), &name, all),
            metadata => {
                all.insert(name, (fs::read(entry.path()).unwrap(), metadata.mtime()));
            }
        }
    }
}

fn shown(fs: &dyn GuestFs, dir: NodeId, prefix: &str, all: &mut BTreeMap<String, (Vec<u8>, i64)>) {
    for (name, (node, _)) in compare::entries(fs, dir).unwrap() {
        let name = format!("{prefix}/{}", String::from_utf8(name).unwrap());
        let stat = fs.stat(node).unwrap();
        match stat.kind {
            FileKind::Directory => shown(fs, node, &name, all),
            _ => {
                all.insert(name, (content(fs, node).unwrap(), stat.modified.seconds));
            }
        }
    }
}

#[test]
fn every_width_and_sector_size_shows_what_others_show() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    let dir = TempDir::new().unwrap();
    source(dir.path());
    for (name, size, mkfs) in [
        ("fat12", "2M", "-F 12 -s 1 -r 512"),
        ("fat16", "20M", "-F 16 -s 2"),
        ("fat32", "40M", "-F 32 -s 1"),
        ("large-sectors", "300M", "-F 32 -S 4096 -s 1"),
        ("one-fat", "20M", "-F 16 -f 1"),
    ] {
        let path = filled(dir.path(), name, size, mkfs);
        let (fs, device) = open(fs::read(&path).unwrap()).unwrap();
        assert_eq!(fs.info().warnings, Vec::<String>::new());
        let mount = Shown::new(&path);
        let count = assert_same(&*fs, &*device, &mount.0, comparable());
        assert!(count.files > 330 && count.directories == 7 && count.bytes > 170_000, "{name}: {count:?}");
        drop(mount);

        // GRUB shows short names in small letters, and no time after 2038: the rest is for mtools alone.
        sh(&format!("{MTOOLS}cd '{}'; mcopy -i '{name}' -m more/* ::/", dir.path().display()));
        let (fs, device) = open(fs::read(&path).unwrap()).unwrap();
        let (mut ours, mut theirs) = (BTreeMap::new(), BTreeMap::new());
        let out = dir.path().join("out");
        sh(&format!(
            "{MTOOLS}rm -rf '{0}'; mkdir '{0}'; mcopy -i '{1}' -s -n -m ::/ '{0}'",
            out.display(),
            path.display()
        ));
        extracted(&out, "", &mut theirs);
        shown(&*fs, fs.root(), "", &mut ours);
        assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
        let differing: Vec<_> = ours.iter().filter(|(path, file)| theirs[*path] != **file).collect();
        let told: Vec<_> =
            differing.iter().map(|(path, file)| (path, file.1, theirs[*path].1)).take(9).collect();
        assert!(told.is_empty() && ours.len() > 330, "{name}: content or time: {told:?}");
        assert!(ours["/Größe 漢字.txt"].0 == b"unicode\n" && ours["/late.txt"].1 == 4_102_444_798);

        let recognised = fat::recognise(&*device).unwrap().unwrap();
        let blkid = sh(&format!("blkid -p -o export '{}'", path.display()));
        let expected = |key: &str| {
            blkid.lines().find_map(|line| line.strip_prefix(key)).map(|value| value.replace('\\', ""))
        };
        assert_eq!(expected("TYPE=").as_deref(), Some(recognised.kind));
        assert_eq!(
            (expected("UUID="), expected("LABEL=")),
            (recognised.uuid.clone(), recognised.label.clone())
        );
        assert_eq!((&fs.info().uuid, &fs.info().label), (&recognised.uuid, &recognised.label));
        assert_eq!(fs.stat(fs.root()).unwrap().links, 5);
    }
}

/// An image of FAT16 with clusters of 2 KiB, and what tests change in it.
struct Image(Vec<u8>);

impl Image {
    fn new(files: &[(&str, usize)]) -> Option<Image> {
        if !["mkfs.fat", "mcopy"].iter().all(|program| testkit::require(program)) {
            return None;
        }
        let dir = TempDir::new().unwrap();
        let at = dir.path().display();
        sh(&format!("cd '{at}'; truncate -s 10M i; mkfs.fat -F 16 -s 4 -r 512 -R 1 i > /dev/null; mkdir f"));
        for (number, (name, size)) in files.iter().enumerate() {
            fs::write(dir.path().join("f").join(name), vec![number as u8 + 1; *size]).unwrap();
            sh(&format!(
                "{MTOOLS}cd '{at}'; touch -d '2020-01-01Z' 'f/{name}'; mcopy -m -i i 'f/{name}' ::/"
            ));
        }
        Some(Image(fs::read(dir.path().join("i")).unwrap()))
    }

    fn le16(&self, at: usize) -> usize {
        usize::from(u16::from_le_bytes([self.0[at], self.0[at + 1]]))
    }

    fn fat(&self, number: usize) -> usize {
        (self.le16(14) + number * self.le16(22)) * 512
    }

    fn root(&self) -> usize {
        self.fat(2)
    }

    /// Writes an entry of both FATs.
    fn link(&mut self, from: u16, to: u16) {
        for number in 0..2 {
            let at = self.fat(number) + usize::from(from) * 2;
            self.0[at..at + 2].copy_from_slice(&to.to_le_bytes());
        }
    }

    /// Where the short entry of the `number`th file of the root folder is.
    fn entry(&self, number: usize) -> usize {
        let root = self.root();
        (root..).step_by(32).filter(|at| !matches!(self.0[at + 11], 0x0F | 0x08)).nth(number).unwrap()
    }

    fn first(&self, number: usize) -> u16 {
        self.le16(self.entry(number) + 26) as u16
    }
}

#[test]
fn chains_that_loop_end_early_or_lead_astray_are_damage() {
    let Some(image) = Image::new(&[("a.bin", 9000), ("b.bin", 5000), ("c.bin", 0)]) else { return };
    let read = |change: &dyn Fn(&mut Image), name: &str| {
        let mut copy = Image(image.0.clone());
        change(&mut copy);
        let (fs, _) = open(copy.0).unwrap();
        content(&*fs, node(&*fs, name))
    };
    let reason = |change: &dyn Fn(&mut Image)| match read(change, "a.bin") {
        Err(Error::Corrupt { reason, .. }) => reason,
        other => panic!("{other:?}"),
    };
    let (a, b) = (image.first(0), image.first(1));
    assert_eq!(read(&|_| (), "a.bin").unwrap(), [1; 9000]);
    assert!(reason(&|image| image.link(a + 2, a)).contains("leads back"));
    assert!(reason(&|image| image.link(a + 4, a + 4)).contains("leads back"), "behind the end of the file");
    assert!(reason(&|image| image.link(a + 2, 0xFFFF)).contains("holds 6144 bytes"));
    assert!(reason(&|image| image.link(a + 2, 0)).contains("free"));
    assert!(reason(&|image| image.link(a + 2, 0xFFF7)).contains("bad"));
    assert!(reason(&|image| image.link(a + 2, 0xFF00)).contains("0xff00"));
    assert!(reason(&|image| image.link(a + 2, 1)).contains("0x1"));
    let entry = image.entry(0);
    assert!(reason(&|image| image.0[entry + 26..entry + 28].fill(0)).contains("no cluster 0"));
    // Two files that share clusters: which one is right nobody knows.
    let crossed = |image: &mut Image| image.link(a + 1, b);
    assert_eq!(read(&crossed, "b.bin").unwrap(), [2; 5000]);
    assert_eq!(read(&crossed, "a.bin").unwrap(), [vec![1; 4096], vec![2; 4904]].concat()[..].to_vec());
    assert_eq!(read(&|image| image.link(a + 4, b), "a.bin").unwrap(), [1; 9000], "longer than the file");
    assert_eq!(read(&|_| (), "c.bin").unwrap(), [0; 0]);
}

#[test]
fn a_folder_that_holds_itself_has_an_end() {
    let Some(mut image) = Image::new(&[("a.bin", 2048), ("b.bin", 2048)]) else { return };
    // Two folders in one cluster: the entries in it name that cluster again.
    let (a, b) = (image.entry(0), image.entry(1));
    let data = image.root() + 512 * 32;
    let cluster = data + (usize::from(image.first(0)) - 2) * 2048;
    for entry in [a, b] {
        image.0[entry + 11] = 0x10;
        let first = image.first(0).to_le_bytes();
        image.0[entry + 26..entry + 28].copy_from_slice(&first);
    }
    image.0[cluster..cluster + 2048].fill(0);
    image.0.copy_within(a..a + 32, cluster);
    image.0.copy_within(b..b + 32, cluster + 32);
    let (fs, _) = open(image.0).unwrap();
    let walked = hostile::walk(&*fs);
    assert_eq!((walked.nodes, walked.errors), (5, 0), "the root, two folders in it, and the two in them");
    let deep = node(&*fs, "a.bin/b.bin/a.bin/a.bin");
    assert_eq!(deep, node(&*fs, "b.bin/a.bin"));
}

#[test]
fn the_second_fat_helps_where_the_first_is_damaged() {
    let Some(image) = Image::new(&[("a.bin", 9000)]) else { return };
    let mut damaged = Image(image.0.clone());
    let (first, second) = (damaged.fat(0), damaged.fat(1));
    damaged.0[first..first + 512].fill(0x5A);
    let (fs, _) = open(damaged.0.clone()).unwrap();
    assert_eq!(content(&*fs, node(&*fs, "a.bin")).unwrap(), [1; 9000]);
    assert!(fs.info().warnings[0].contains("FAT 2 is used"), "{:?}", fs.info().warnings);
    damaged.0[second..second + 512].fill(0);
    assert!(matches!(open(damaged.0), Err(Error::Corrupt { .. })));
}

#[test]
fn fat32_says_which_fat_is_active_and_whether_it_is_clean() {
    if !["mkfs.fat", "mcopy"].iter().all(|program| testkit::require(program)) {
        return;
    }
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("i");
    fs::write(dir.path().join("a.bin"), vec![7; 5000]).unwrap();
    sh(&format!(
        "{MTOOLS}cd '{}'; truncate -s 40M i; mkfs.fat -F 32 -s 1 i > /dev/null; mcopy -i i a.bin ::/",
        dir.path().display()
    ));
    let image = fs::read(&path).unwrap();
    let le32 = |at: usize| u32::from_le_bytes(image[at..at + 4].try_into().unwrap()) as usize;
    let start = usize::from(u16::from_le_bytes([image[14], image[15]])) * 512;
    let length = le32(36) * 512;
    let mut active = image.clone();
    active[40] = 0x81;
    active[start..start + length].fill(0);
    let (fs, _) = open(active.clone()).unwrap();
    assert_eq!(content(&*fs, node(&*fs, "a.bin")).unwrap(), [7; 5000]);
    assert_eq!(fs.info().warnings, Vec::<String>::new());
    active[40] = 0x82;
    assert!(open(active).is_err(), "there is no such FAT");
    let warnings = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut copy = image.clone();
        change(&mut copy);
        open(copy).unwrap().0.info().warnings.clone()
    };
    assert!(warnings(&|image| image[start + 7] &= !0x08)[0].contains("in use"));
    assert!(warnings(&|image| image[start + 7] &= !0x04)[0].contains("errors"));
    assert!(warnings(&|image| image[65] |= 1)[0].contains("in use"));
    assert!(warnings(&|image| image.truncate(39 << 20))[0].contains("only"));
}

#[test]
fn long_names_without_their_entry_are_passed_over() {
    let Some(image) = Image::new(&[("A long name.text", 10), ("second name.text", 20)]) else { return };
    let names = |change: &dyn Fn(&mut Image)| {
        let mut copy = Image(image.0.clone());
        change(&mut copy);
        let (fs, _) = open(copy.0).unwrap();
        let all = compare::entries(&*fs, fs.root()).unwrap();
        all.into_keys().map(|name| String::from_utf8(name).unwrap()).collect::<Vec<_>>()
    };
    let entry = image.entry(0);
    assert_eq!(names(&|_| ()), ["A long name.text", "second name.text"]);
    assert_eq!(names(&|image| image.0[entry - 32 + 13] ^= 1), ["ALONGN~1.TEX", "second name.text"]);
    assert_eq!(names(&|image| image.0[entry - 32] = 0xE5), ["ALONGN~1.TEX", "second name.text"]);
    assert_eq!(names(&|image| image.0[entry] = b'B'), ["BLONGN~1.TEX", "second name.text"]);
    assert_eq!(
        names(&|image| image.0[entry] = 0xE5),
        ["second name.text"],
        "deleted, with its long name left"
    );
    assert_eq!(names(&|image| image.0[entry - 64 + 1] = b'/'), ["ALONGN~1.TEX", "second name.text"]);
    assert_eq!(names(&|image| image.0[entry - 32 + 1] = b'/'), ["ALONGN~1.TEX", "second name.text"]);
    assert_eq!(names(&|image| image.0[entry - 64] = 0), [""; 0], "the end");
}

#[test]
fn names_are_found_in_any_case_and_by_their_short_name() {
    let files = [("Grüße aus der Ferne.txt", 10), ("plain.txt", 20), ("CAPS.TXT", 30)];
    let Some(image) = Image::new(&files) else { return };
    let (fs, _) = open(image.0).unwrap();
    let find =
        |name: &str| fs.lookup(fs.root(), name.as_bytes()).and_then(|node| Ok(fs.stat(node)?.size)).ok();
    for (name, size) in [
        ("Grüße aus der Ferne.txt", Some(10)),
        ("GRÜßE AUS DER FERNE.TXT", Some(10)),
        ("grüße aus der ferne.TXT", Some(10)),
        ("PLAIN.TXT", Some(20)),
        ("plain.txt", Some(20)),
        ("caps.txt", Some(30)),
        ("Caps.txt", Some(30)),
        ("caps.tx", None),
        ("", None),
    ] {
        assert_eq!(find(name), size, "{name}");
    }
    let short: Vec<_> = ["GRÜßEA~1.TXT", "GRE~1.TXT", "GR__EA~1.TXT", "GRÜ_EA~1.TXT", "grüßea~1.txt"]
        .into_iter()
        .filter(|name| find(name) == Some(10))
        .collect();
    assert!(!short.is_empty(), "one of these is what mtools makes of it");
    assert!(matches!(fs.lookup(node(&*fs, "plain.txt"), b"x"), Err(Error::NotADirectory)));
    assert!(matches!(fs.readlink(node(&*fs, "plain.txt")), Err(Error::NotASymlink)));
    assert!(matches!(fs.read_at(fs.root(), 0, &mut [0]), Err(Error::IsADirectory)));
}

/// The largest file that FAT has, on a disk of 5 GiB of which only the used parts are stored.
#[test]
fn a_file_of_four_gibibytes_is_read_at_its_end() {
    if !testkit::require("mkfs.fat") {
        return;
    }
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("i");
    sh(&format!("cd '{}'; truncate -s 5G i; mkfs.fat -F 32 -s 64 i > /dev/null", dir.path().display()));
    use std::os::unix::fs::FileExt;
    let file = fs::File::options().read(true).write(true).open(&path).unwrap();
    let mut boot = [0; 512];
    file.read_exact_at(&mut boot, 0).unwrap();
    let start = u64::from(u16::from_le_bytes([boot[14], boot[15]])) * 512;
    let length = u64::from(u32::from_le_bytes(boot[36..40].try_into().unwrap())) * 512;
    let data = start + 2 * length;
    // From cluster 3 on in one piece, but for the last cluster.
    let clusters = 131_072u32;
    let mut links: Vec<u8> = (4..clusters + 2).chain([clusters + 100]).flat_map(u32::to_le_bytes).collect();
    links.extend([0; 98 * 4]);
    links.extend(0x0FFF_FFFFu32.to_le_bytes());
    file.write_all_at(&links, start + 12).unwrap();
    let mut entry = *b"LARGE   BIN\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x03\0\xFF\xFF\xFF\xFF";
    entry[24] = 0x21;
    file.write_all_at(&entry, data).unwrap();
    file.write_all_at(b"the end", data + (u64::from(clusters) + 98) * 32768 + 32768 - 8).unwrap();
    file.write_all_at(b"middle", data + 32768 * 65537 + 5).unwrap();
    let device: Device = Arc::new(guestfs::FileDevice::open(&path).unwrap());
    let fs = fat::open(device, &OpenOptions::default()).unwrap();
    let large = node(&*fs, "large.bin");
    let mut buf = [0; 100];
    assert_eq!(fs.read_at(large, u64::from(u32::MAX) - 7, &mut buf).unwrap(), 7);
    assert_eq!(&buf[..7], b"the end");
    assert_eq!(fs.read_at(large, 32768 * 65536 + 5, &mut buf[..6]).unwrap(), 6);
    assert_eq!(&buf[..6], b"middle");
    assert_eq!(fs.map(large, 0).unwrap().unwrap().length, 131_071 * 32768);
}

/// What the layers make of a disk.
fn found(image: &[u8]) -> (Content, Option<Arc<dyn GuestFs>>) {
    let disk = Disk { index: 0, device: Arc::new(MemoryDevice(image.to_vec())) };
    let found = layers::discover(&[disk], &LayerOptions::default());
    let fs = found.open("disk0", &OpenOptions::default()).ok();
    (found.volume("disk0").unwrap().content.clone(), fs)
}

#[test]
fn the_copy_of_the_boot_sector_helps_where_the_first_is_damaged() {
    if !["mkfs.fat", "mcopy"].iter().all(|program| testkit::require(program)) {
        return;
    }
    let dir = TempDir::new().unwrap();
    sh(&format!(
        "{MTOOLS}cd '{}'; truncate -s 34M i; mkfs.fat -F 32 -s 1 -i 12345678 i > /dev/null; seq 1000 > numbers; mcopy -i i numbers ::/",
        dir.path().display()
    ));
    let whole = fs::read(dir.path().join("i")).unwrap();
    let numbers = fs::read(dir.path().join("numbers")).unwrap();
    // Sectors of no size, a jump and a signature that are gone, and nothing but zeros.
    for damaged in [11..13, 0..512, 510..512] {
        let mut image = whole.clone();
        image[damaged.clone()].fill(0);
        if damaged == (510..512) {
            image[0] = 0;
        }
        let (content, fs) = found(&image);
        assert!(
            matches!(&content, Content::FileSystem(found) if found.uuid.as_deref() == Some("1234-5678")),
            "{damaged:?}: {content:?}"
        );
        let fs = fs.unwrap();
        assert_eq!(fs.info().warnings, ["the boot sector is damaged, and the copy of it was used"]);
        let mut bytes = vec![0; numbers.len() + 10];
        let length = fs.read_at(node(&*fs, "numbers"), 0, &mut bytes).unwrap();
        assert_eq!(bytes[..length], numbers);
        // One that says it belongs elsewhere, and one with no FAT behind it, are nobody's copy.
        for (at, byte) in [(6 * 512 + 50, 7), (32 * 512, 0)] {
            let mut image = image.clone();
            image[at] = byte;
            assert_eq!(found(&image).0, Content::Unknown, "{damaged:?}, {at}");
        }
    }
    // What stands in the first sector now counts.
    let mut image = whole;
    image[..512].fill(0);
    image[3..11].copy_from_slice(b"EXFAT   ");
    assert_eq!(found(&image).0, Content::Unknown);
}

#[test]
fn hostile_images_cost_errors_only() {
    if !["mkfs.fat", "mcopy"].iter().all(|program| testkit::require(program)) {
        return;
    }
    let dir = TempDir::new().unwrap();
    sh(&format!(
        r#"mkdir -p '{0}/tree/a/b'; cd '{0}/tree'; echo x > 'a long file name.text'; echo y > a/y; echo z > a/b/Zed.z
        head -c 20000 /dev/urandom > a/random; for i in $(seq 1 30); do echo $i > "a/b/number $i"; done"#,
        dir.path().display()
    ));
    for (name, size, mkfs) in
        [("fat12", "300K", "-F 12 -s 1"), ("fat16", "2500K", "-F 16 -s 1"), ("fat32", "34M", "-F 32 -s 1")]
    {
        sh(&format!(
            "{MTOOLS}cd '{}'; truncate -s {size} {name}; mkfs.fat {mkfs} {name} > /dev/null; mcopy -i {name} -s tree/* ::/",
            dir.path().display()
        ));
        let image = fs::read(dir.path().join(name)).unwrap();
        let start = usize::from(u16::from_le_bytes([image[14], image[15]])) * 512;
        let (fs, _) = open(image.clone()).unwrap();
        let whole = hostile::walk(&*fs);
        assert_eq!((whole.nodes, whole.errors), (37, 0), "{name}");
        let opened = hostile::mutate(image, &[0..90, start..start + 200], 500, |device| {
            fat::recognise(&*device)?;
            fat::open(device, &OpenOptions::default())
        });
        assert!(opened > 150, "{name}: {opened}");
    }
}
