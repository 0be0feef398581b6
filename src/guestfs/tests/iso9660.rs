//! ISO 9660 against the folders that genisoimage and xorriso made the images of, and what they extract of them.

use crate::compare::{self, Compared, assert_same};
use crate::fixture::{can_mount, sh};
use crate::hostile;
use guestfs::{
    Device, Error, FileDevice, FileKind, GuestFs, MemoryDevice, NodeId, OpenOptions, Place, iso9660,
};
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

const PROGRAMS: [&str; 3] = ["genisoimage", "xorriso", "blkid"];

/// A tree with all that Rock Ridge can say.
fn source(dir: &Path) {
    sh(&format!(
        r#"mkdir -p '{0}/tree/Deep/er/still' '{0}/tree/many files' '{0}/tree/empty'; cd '{0}/tree'
        for i in $(seq 1 300); do echo "number $i" > "many files/file number $i of them.text"; done
        for n in 4 30 31 100 200 251; do name=$n$(head -c $((n - ${{#n}})) /dev/zero | tr '\0' x); echo $n > "Deep/$name"; done
        echo unicode > 'Größe 漢字.txt'; echo raw > "$(printf 'raw\377\376')"; echo dots > '...many.dots.'
        head -c 3000000 /dev/urandom > Deep/er/random; head -c 2048 /dev/zero > sector; : > nothing
        ln -s target link; ln -s ../a/./b/.. dots-link; ln -s /absolute/path absolute; ln -s / root-link
        ln -s "$(head -c 100 /dev/zero | sed 's/\x00/abc\/defg\//g' | head -c 200)" long-link
        mknod block b 8 1; mknod char c 250 70000; mkfifo pipe
        chmod 4751 sector; chown 1000:2000 sector; chmod 1777 empty; chown 70000:70001 Deep/er; chmod 0 nothing
        touch -d '1975-01-02 03:04:05Z' sector; touch -d '2037-12-31 23:59:59Z' nothing
        touch -d '1999-12-31 23:59:59Z' Deep/er Deep"#,
        dir.display()
    ));
}

fn open(image: Vec<u8>) -> guestfs::Result<(Arc<dyn GuestFs>, Device)> {
    let device: Device = Arc::new(MemoryDevice(image));
    Ok((iso9660::open(device.clone(), &OpenOptions::default())?, device))
}

fn comparable() -> Compared {
    Compared {
        links: false,
        directory_sizes: false,
        xattrs: false,
        time_grain: 1_000_000_000,
        ..Compared::default()
    }
}

fn node(fs: &dyn GuestFs, path: &str) -> NodeId {
    path.split('/').fold(fs.root(), |dir, name| {
        fs.lookup(dir, name.as_bytes()).unwrap_or_else(|error| panic!("{path}: {name}: {error}"))
    })
}

fn content(fs: &dyn GuestFs, node: NodeId) -> guestfs::Result<Vec<u8>> {
    let mut bytes = vec![0; fs.stat(node)?.size as usize + 100];
    let length = fs.read_at(node, 0, &mut bytes)?;
    bytes.truncate(length);
    Ok(bytes)
}

fn names(fs: &dyn GuestFs, dir: NodeId) -> Vec<String> {
    let all = compare::entries(fs, dir).unwrap();
    all.into_keys().map(|name| String::from_utf8_lossy(&name).into_owned()).collect()
}

#[test]
fn rock_ridge_shows_the_tree_that_was_put_in() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    let dir = TempDir::new().unwrap();
    source(dir.path());
    let tree = dir.path().join("tree");
    for command in [
        "genisoimage -quiet -R -V PLAIN_ROCK",
        "xorriso -report_about SORRY -as mkisofs -quiet -R -J -V 'Of xorriso'",
        "xorriso -report_about SORRY -as mkisofs -quiet -R -isohybrid-gpt-basdat -partition_offset 16 -V HYBRID",
        "genisoimage -quiet -R -J -joliet-long -V BOTH",
    ] {
        let image = dir.path().join("image");
        if command.contains("-joliet-long") {
            // It wants to write every name in UTF-16.
            sh(&format!("rm '{}'/raw*", tree.display()));
        }
        sh(&format!("rm -f '{0}'; {command} -o '{0}' '{1}' 2>&1", image.display(), tree.display()));
        let (fs, device) = open(fs::read(&image).unwrap()).unwrap();
        let count = assert_same(&*fs, &*device, &tree, comparable());
        assert!(count.files > 310 && count.links == 5 && count.others == 3, "{command}: {count:?}");
        assert!(count.directories == 6 && count.bytes > 3_000_000, "{command}: {count:?}");
        assert_eq!(fs.info().warnings, Vec::<String>::new(), "{command}");
        assert!(fs.info().has_owners);

        let recognised = iso9660::recognise(&*device).unwrap().unwrap();
        let blkid = sh(&format!("blkid -p -o export '{}'", image.display())).replace('\\', "");
        assert!(blkid.contains(&format!("UUID={}\n", recognised.uuid.as_ref().unwrap())), "{blkid}");
        assert!(blkid.contains(&format!("LABEL={}\n", recognised.label.as_ref().unwrap())), "{blkid}");
        assert!(blkid.contains("TYPE=iso9660"));
        assert_eq!((&fs.info().uuid, &fs.info().label), (&recognised.uuid, &recognised.label));
        assert!(iso9660::recognise_udf(&*device).unwrap().is_none());
    }
}

#[test]
fn long_links_are_whole_or_refused() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    let dir = TempDir::new().unwrap();
    let at = dir.path().display();
    let target = format!("{}end", "abc/defg/".repeat(99));
    sh(&format!(
        r#"cd '{at}'; mkdir t; ln -s '{target}' t/link; echo 1 > t/a; echo 2 > t/z; genisoimage -quiet -R -o broken t 2>&1
        xorriso -report_about SORRY -as mkisofs -quiet -R -o whole t 2>&1"#
    ));
    let (fs, _) = open(fs::read(dir.path().join("whole")).unwrap()).unwrap();
    assert_eq!(fs.readlink(node(&*fs, "link")).unwrap(), target.as_bytes());
    // This version of genisoimage says more bytes of a component than it writes; others read less than was there.
    let (fs, _) = open(fs::read(dir.path().join("broken")).unwrap()).unwrap();
    match fs.lookup(fs.root(), b"link").and_then(|link| fs.readlink(link)) {
        Ok(whole) => assert_eq!(whole, target.as_bytes()),
        Err(error) => assert!(matches!(error, Error::Corrupt { .. } | Error::NotFound), "{error}"),
    }
    let mut others = 0;
    let _ = fs.readdir(fs.root(), 0, &mut |entry| {
        others += usize::from(entry.name != b"link");
        ControlFlow::Continue(())
    });
    assert_eq!(others, 2, "what stands before and behind it");
}

#[test]
fn folders_that_lie_elsewhere_because_they_are_deep_stand_where_they_belong() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    let dir = TempDir::new().unwrap();
    let at = dir.path().display();
    sh(&format!(
        r#"cd '{at}'; mkdir -p t/1/2/3/4/5/6/7/8/9/10/11; echo deep > t/1/2/3/4/5/6/7/8/9/10/11/file; echo x > t/1/2/3/4/5/6/7/8/x
        touch -d '2001-02-03Z' t/1/2/3/4/5/6/7/8; genisoimage -quiet -R -o image t 2>&1"#
    ));
    let (fs, _) = open(fs::read(dir.path().join("image")).unwrap()).unwrap();
    let file = node(&*fs, "1/2/3/4/5/6/7/8/9/10/11/file");
    assert_eq!(content(&*fs, file).unwrap(), b"deep\n");
    let moved = node(&*fs, "1/2/3/4/5/6/7/8");
    assert_eq!(names(&*fs, moved), ["9", "x"]);
    assert_eq!(fs.stat(moved).unwrap().modified.seconds, 981_158_400);
    assert_eq!(names(&*fs, node(&*fs, "rr_moved")), [""; 0], "they don't stand there");
}

#[test]
fn joliet_and_plain_names_are_shown_as_linux_shows_them() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    let dir = TempDir::new().unwrap();
    let at = dir.path().display();
    sh(&format!(
        r#"cd '{at}'; mkdir -p t/Folder; echo 1 > 'Größe.txt'; mv 'Größe.txt' t/; echo 22 > t/Folder/README.TXT; echo 333 > t/noext
        touch -d '2010-10-10 10:10:10Z' t/*
        genisoimage -quiet -J -input-charset utf-8 -o joliet t 2>&1; genisoimage -quiet -o plain t 2>&1"#
    ));
    let (fs, _) = open(fs::read(dir.path().join("joliet")).unwrap()).unwrap();
    assert_eq!(names(&*fs, fs.root()), ["Folder", "Größe.txt", "noext"]);
    for name in ["folder/readme.txt", "Folder/README.TXT"] {
        assert_eq!(content(&*fs, node(&*fs, name)).unwrap(), b"22\n");
    }
    assert_eq!(fs.stat(node(&*fs, "GRÖßE.TXT")).unwrap().size, 2);
    assert!(!fs.info().has_owners);

    let (fs, device) = open(fs::read(dir.path().join("plain")).unwrap()).unwrap();
    let all = names(&*fs, fs.root());
    assert!(all.contains(&"folder".to_owned()) && all.contains(&"noext".to_owned()), "{all:?}");
    let file = node(&*fs, "FOLDER/readme.txt");
    let stat = fs.stat(file).unwrap();
    assert_eq!((stat.size, stat.mode, stat.links, stat.uid), (3, 0o555, 1, 0));
    assert_eq!(fs.stat(node(&*fs, "noext")).unwrap().modified.seconds, 1_286_705_410);
    let Place::Device(place) = fs.map(file, 0).unwrap().unwrap().place else { panic!() };
    let mut bytes = [0; 3];
    device.read_at(&mut bytes, place).unwrap();
    assert_eq!(&bytes, b"22\n");
}

#[test]
fn zisofs_is_decoded() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    let dir = TempDir::new().unwrap();
    let at = dir.path().display();
    sh(&format!(
        r#"cd '{at}'; mkdir t; seq 1 60000 > t/numbers; head -c 100000 /dev/zero > t/zeros; head -c 40000 /dev/urandom > t/noise
        (seq 1 20000; head -c 70000 /dev/zero; seq 1 10) > t/mixed
        xorriso -report_about SORRY -outdev image -map t / -find / -type f -exec set_filter --zisofs -- -commit 2>&1"#
    ));
    let image = fs::read(dir.path().join("image")).unwrap();
    let (fs, device) = open(image.clone()).unwrap();
    let count = assert_same(&*fs, &*device, &dir.path().join("t"), comparable());
    assert_eq!(count.files, 4);
    let numbers = node(&*fs, "numbers");
    assert_eq!(fs.map(numbers, 5).unwrap().unwrap().place, Place::Inside);
    // The header in the file has to say the same as the record.
    let magic = [0x37, 0xE4, 0x53, 0x96, 0xC9, 0xDB, 0xD6, 0x07];
    let mut damaged = image.clone();
    while let Some(at) = damaged.windows(8).position(|bytes| bytes == magic) {
        damaged[at + 8] ^= 0x10;
        damaged[at] = 0x38;
    }
    let (fs, _) = open(damaged).unwrap();
    assert!(matches!(content(&*fs, node(&*fs, "numbers")), Err(Error::Corrupt { .. })));
}

/// A plain disc with two files that lie one behind the other.
fn two_files() -> Option<Vec<u8>> {
    if !can_mount(&PROGRAMS) {
        return None;
    }
    let dir = TempDir::new().unwrap();
    sh(&format!(
        r#"cd '{}'; mkdir t; head -c 4096 /dev/zero | tr '\0' a > t/BIG.1; head -c 3000 /dev/zero | tr '\0' b > t/BIG.2
        genisoimage -quiet -o image t 2>&1"#,
        dir.path().display()
    ));
    Some(fs::read(dir.path().join("image")).unwrap())
}

/// Where the record of a name is.
fn record(image: &[u8], name: &[u8]) -> usize {
    image.windows(name.len()).position(|bytes| bytes == name).unwrap() - 33
}

#[test]
fn a_file_in_several_pieces_is_one() {
    let Some(mut image) = two_files() else { return };
    let (first, second) = (record(&image, b"BIG.1;1"), record(&image, b"BIG.2;1"));
    image[second + 33 + 4] = b'1';
    image[first + 25] |= 0x80;
    let (fs, _) = open(image.clone()).unwrap();
    assert_eq!(names(&*fs, fs.root()), ["big.1"]);
    let big = node(&*fs, "big.1");
    assert_eq!(content(&*fs, big).unwrap(), [[b'a'; 4096].as_slice(), &[b'b'; 3000]].concat());
    assert_eq!(fs.map(big, 0).unwrap().unwrap().length, 7096, "the pieces are neighbours");
    // Not all of its pieces are there.
    image[second + 33 + 4] = b'2';
    let (fs, _) = open(image).unwrap();
    let listed = fs.readdir(fs.root(), 0, &mut |_| ControlFlow::Continue(()));
    assert!(listed.unwrap_err().to_string().contains("pieces"));
}

#[test]
fn a_folder_that_holds_itself_is_the_same_node() {
    let Some(mut image) = two_files() else { return };
    let (root, first) = (16 * 2048 + 156, record(&image, b"BIG.1;1"));
    image.copy_within(root + 2..root + 18, first + 2);
    image[first + 25] |= 2;
    let (fs, _) = open(image).unwrap();
    assert_eq!(node(&*fs, "big.1/big.1/big.1"), fs.root());
    let walked = hostile::walk(&*fs);
    assert_eq!((walked.nodes, walked.errors), (2, 0));
}

#[test]
fn what_is_not_read_is_refused_by_name() {
    let Some(image) = two_files() else { return };
    let (first, second) = (record(&image, b"BIG.1;1"), record(&image, b"BIG.2;1"));
    let mut interleaved = image.clone();
    interleaved[first + 26] = 1;
    interleaved[first + 27] = 1;
    let (fs, _) = open(interleaved).unwrap();
    let error = content(&*fs, node(&*fs, "big.1")).unwrap_err();
    assert_eq!(error.to_string(), "an interleaved file of ISO 9660 is not supported");
    assert_eq!(content(&*fs, node(&*fs, "big.2")).unwrap().len(), 3000);
    let mut differing = image.clone();
    differing[second + 9] ^= 1;
    let (fs, _) = open(differing).unwrap();
    let listed = fs.readdir(fs.root(), 0, &mut |_| ControlFlow::Continue(()));
    assert!(listed.unwrap_err().to_string().contains("byte order"));
    let mut set = image.clone();
    set[16 * 2048 + 120] = 2;
    set[16 * 2048 + 123] = 2;
    set[first + 28] = 2;
    set[first + 31] = 2;
    let (fs, _) = open(set).unwrap();
    assert!(matches!(content(&*fs, node(&*fs, "big.1")), Err(Error::Unsupported(_))));
    assert_eq!(content(&*fs, node(&*fs, "big.2")).unwrap().len(), 3000);
}

#[test]
fn udf_is_recognised_and_refused() {
    if !can_mount(&["mkudffs", "genisoimage"]) {
        return;
    }
    let dir = TempDir::new().unwrap();
    let at = dir.path().display();
    sh(&format!(
        r#"cd '{at}'; truncate -s 20M udf; mkudffs --label=Etikett --blocksize=2048 udf > /dev/null
        truncate -s 20M udf512; mkudffs --label=Etikett --blocksize=512 udf512 > /dev/null
        mkdir t; echo x > t/x; genisoimage -quiet -udf -R -o bridge t 2>&1"#
    ));
    for name in ["udf", "udf512"] {
        let device: Device = Arc::new(FileDevice::open(&dir.path().join(name)).unwrap());
        let recognised = iso9660::recognise_udf(&*device).unwrap().unwrap();
        assert_eq!((recognised.kind, recognised.label.as_deref()), ("udf", Some("Etikett")));
        assert!(iso9660::recognise(&*device).unwrap().is_none());
        let error = iso9660::open(device, &OpenOptions::default()).err().unwrap();
        assert_eq!(error.to_string(), "the file system UDF is not supported");
    }
    let (fs, device) = open(fs::read(dir.path().join("bridge")).unwrap()).unwrap();
    assert!(iso9660::recognise_udf(&*device).unwrap().is_none());
    assert!(fs.info().warnings[0].contains("UDF"));
    assert_eq!(content(&*fs, node(&*fs, "x")).unwrap(), b"x\n");
}

#[test]
fn a_disc_that_xorriso_grew_shows_its_last_session() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    let dir = TempDir::new().unwrap();
    let at = dir.path().display();
    sh(&format!(
        r#"cd '{at}'; echo one > 1; echo two > 2
        xorriso -report_about SORRY -outdev image -map 1 /one -commit 2>&1
        xorriso -report_about SORRY -dev image -map 2 /two -commit 2>&1"#
    ));
    let (fs, _) = open(fs::read(dir.path().join("image")).unwrap()).unwrap();
    assert_eq!(names(&*fs, fs.root()), ["one", "two"]);
    assert_eq!(content(&*fs, node(&*fs, "two")).unwrap(), b"two\n");
}

#[test]
fn hostile_images_cost_errors_only() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    let dir = TempDir::new().unwrap();
    let at = dir.path().display();
    sh(&format!(
        r#"cd '{at}'; mkdir -p t/1/2/3/4/5/6/7/8/9; echo deep > t/1/2/3/4/5/6/7/8/9/file; ln -s a/b/../c t/link
        for i in $(seq 1 40); do echo $i > "t/1/a longer name of number $i"; done; seq 1 9000 > t/numbers; mkfifo t/pipe
        echo x > "t/$(head -c 240 /dev/zero | tr '\0' x)"
        genisoimage -quiet -R -J -joliet-long -o rock t 2>&1; genisoimage -quiet -J -joliet-long -o joliet t 2>&1 || true
        xorriso -report_about SORRY -outdev zisofs -map t / -find / -type f -exec set_filter --zisofs -- -commit 2>&1"#
    ));
    for name in ["rock", "joliet", "zisofs"] {
        let image = fs::read(dir.path().join(name)).unwrap();
        let (fs, _) = open(image.clone()).unwrap();
        let whole = hostile::walk(&*fs);
        assert!(whole.nodes > 40 && whole.errors == 0, "{name}: {whole:?}");
        let root = fs.root().inode as usize;
        let descriptor = 16 * 2048;
        let hot = [root..root + 900, descriptor + 80..descriptor + 190];
        let opened = hostile::mutate(image, &hot, 500, |device| {
            iso9660::recognise(&*device)?;
            iso9660::recognise_udf(&*device)?;
            iso9660::open(device, &OpenOptions::default())
        });
        assert!(opened > 100, "{name}: {opened}");
    }
    let kinds = [FileKind::Fifo, FileKind::Symlink];
    let (fs, _) = open(fs::read(dir.path().join("rock")).unwrap()).unwrap();
    assert_eq!(["pipe", "link"].map(|name| fs.stat(node(&*fs, name)).unwrap().kind), kinds);
}
