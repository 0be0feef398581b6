//! Folders and the names in them.

use super::*;

#[test]
fn large_folders_are_listed_and_found_in() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    let image = Image::new("200M", "");
    let count = image
        .fill(
            "",
            r#"
mkdir -p large deep/d1/d2/d3/d4/d5/d6/d7/d8/d9/d10/d11/d12/d13/d14/d15/d16/d17/d18/d19/d20/bottom links
cd large; for n in $(seq 1600); do echo $n > "file number $n, $((n * 7919 % 1601))"; done
mkdir sub; for n in $(seq 1 3 1600); do rm "file number $n, $((n * 7919 % 1601))"; done
for n in $(seq 700); do echo $n > "again $n, $((n * 7919 % 1601)) with a name that is quite a bit longer than others"; done
cd ../links; echo one > first; for n in $(seq 300); do ln first "another name of the same file, number $n"; done
ln first ../large/first-too; mv 'another name of the same file, number 7' ../deep/moved
"#,
        )
        .assert_same();
    assert_eq!((count.files, count.directories), (1066 + 700 + 302, 26));
    let fs = image.open();
    let large = node(&*fs, "large");
    assert_eq!(compare::entries(&*fs, large).unwrap().len(), 1066 + 700 + 2);
    assert_eq!(fs.stat(node(&*fs, "links/first")).unwrap().links, 302);
    // Every position goes on where it should, from a reader that holds nothing.
    let mut from = 0;
    let mut names = Vec::new();
    loop {
        let mut next = 0;
        let small = OpenOptions { cache_bytes: 0, ..OpenOptions::default() };
        let fresh = if from % 500 == 0 { ntfs::open(image.device(), &small).unwrap() } else { fs.clone() };
        fresh
            .readdir(large, from, &mut |entry| {
                names.push(entry.name.to_vec());
                next = entry.next;
                std::ops::ControlFlow::Break(())
            })
            .unwrap();
        if next == 0 {
            break;
        }
        assert!(next > from);
        from = next;
    }
    assert_eq!(names.len(), 1066 + 700 + 2);
    names.dedup();
    assert_eq!(names.len(), 1066 + 700 + 2);
}

#[test]
fn names_of_every_kind_are_listed_and_found() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    let image = Image::new("60M", "");
    image.fill(
        "",
        r#"
mkdir names; cd names
echo 1 > 'Ein Hörnchen ÄÖÜ.txt'; echo 2 > '日本語のファイル'; echo 3 > '😀 non-BMP 𝄞'; echo 4 > 'trailing dot.'; echo 5 > 'a*b?c"d<e>f|g'
echo 6 > case; echo 7 > CASE; echo 8 > Case; echo 9 > 'back\slash'; echo 10 > $'new\nline'
echo 11 > "$(printf 'n%.0s' $(seq 255))"
echo 12 > 'A long name with a short one.text'; echo 13 > only
setfattr -h -v ALONGN~1.TEX -n system.ntfs_dos_name 'A long name with a short one.text'
"#,
    );
    // The short name counts as a link for ntfs-3g, and is none for whoever counts names.
    let count = image.assert_same_but(Compared { links: false, ..Compared::default() });
    assert_eq!(count.files, 13);
    let fs = image.open();
    let read = |name: &str| content(&*fs, node(&*fs, &format!("names/{name}")));
    assert_eq!(read("ein hörnchen äöü.TXT"), b"1\n");
    assert_eq!((read("case"), read("CASE"), read("Case")), (b"6\n".into(), b"7\n".into(), b"8\n".into()));
    assert!([&b"6\n"[..], b"7\n", b"8\n"].contains(&&read("cAsE")[..]));
    assert_eq!(read("alongn~1.tex"), b"12\n", "by the short name");
    assert_eq!(fs.stat(node(&*fs, "names/A long name with a short one.text")).unwrap().links, 1);
    let names = node(&*fs, "names");
    assert!(!compare::entries(&*fs, names).unwrap().contains_key(&b"ALONGN~1.TEX"[..]));
    for none in [&b"\xff\xfe"[..], b"only/", b"onl", b"onlyy", b"\xc0\xaf", b"", b"\xed\xa0\x80"] {
        assert!(matches!(fs.lookup(names, none), Err(Error::NotFound)), "{none:?}");
    }
    assert!(matches!(fs.lookup(node(&*fs, "names/only"), b"x"), Err(Error::NotADirectory)));
    assert!(matches!(fs.readdir(node(&*fs, "names/only"), 0, &mut |_| panic!()), Err(Error::NotADirectory)));
    // The file system's own files are hidden, and found by name.
    assert_eq!(compare::entries(&*fs, fs.root()).unwrap().len(), 1);
    assert!(fs.stat(node(&*fs, "$MFT")).unwrap().size > 20 * 1024);
    assert_eq!(fs.stat(node(&*fs, "$UpCase")).unwrap().size, 131_072);
}
