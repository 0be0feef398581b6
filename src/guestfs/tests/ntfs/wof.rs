//! Files that the Windows Overlay Filter compressed. Their stream is what a WIM archive holds of a file, so wimlib
//! compresses it, and it is put where Windows has it.

use super::*;

/// The compressed resource of the file of `size` bytes out of a WIM archive (not a solid one): its lookup table is at
/// the place that the header says, an entry of 50 bytes for each file.
fn resource(wim: &[u8], size: u64) -> Vec<u8> {
    let number = |at: usize| u64::from_le_bytes(wim[at..at + 8].try_into().unwrap());
    let sized = |at: usize| (number(at) & ((1 << 56) - 1), number(at) >> 56, number(at + 8), number(at + 16));
    assert!(wim.starts_with(b"MSWIM\0\0\0"));
    let (length, _, table, _) = sized(48);
    (table as usize..(table + length) as usize)
        .step_by(50)
        .map(sized)
        // Compressed, and not the metadata.
        .find(|&(_, flags, _, original)| original == size && flags & 4 != 0 && flags & 2 == 0)
        .map(|(length, _, at, _)| wim[at as usize..(at + length) as usize].to_vec())
        .expect("a compressed resource")
}

#[test]
fn files_that_wof_compressed_are_read() {
    if !can_mount(&PROGRAMS) || !testkit::require("wimcapture") {
        return;
    }
    let image = Image::new("100M", "");
    let folder = image.folder.path().display().to_string();
    // A program has calls, text repeats itself, noise is stored; and sizes around those of chunks.
    sh(&format!(
        "mkdir {folder}/in; cd {folder}/in
         (cat /bin/bash; head -c 100001 /dev/urandom; seq 60000) > mixed
         head -c 700003 /bin/bash > program
         seq 100000 | head -c 32768 > chunk; seq 100000 | head -c 32769 > chunk-more; seq 100000 | head -c 4096 > page
         seq 900 > small; head -c 250000 /dev/zero > zeros"
    ));
    let names = ["mixed", "program", "chunk", "chunk-more", "page", "small", "zeros"];
    let methods = [(0, "XPRESS", 4096), (1, "LZX", 32768), (2, "XPRESS", 8192), (3, "XPRESS", 16384)];
    let mut script = String::new();
    for (number, compress, chunk) in methods {
        let archive = format!("{folder}/{number}.wim");
        sh(&format!(
            "wimcapture {folder}/in {archive} --compress={compress} --chunk-size={chunk} > /dev/null 2>&1"
        ));
        let wim = fs::read(&archive).unwrap();
        let tag = reparse(0x8000_0017, &[1u32, 2, 1, number].map(u32::to_le_bytes).concat());
        for name in names {
            let size = fs::metadata(format!("{folder}/in/{name}")).unwrap().len();
            fs::write(format!("{folder}/{name}.{number}"), resource(&wim, size)).unwrap();
            script += &format!(
                "truncate -s {size} {name}.{number}; cat {folder}/{name}.{number} > {name}.{number}:WofCompressedData
                 setfattr -h -n system.ntfs_reparse_data -v {tag} {name}.{number}\n"
            );
        }
    }
    // Data of its own, and a stream that is not there.
    let tag = reparse(0x8000_0017, &[1u32, 2, 1, 0].map(u32::to_le_bytes).concat());
    script += &format!(
        "head -c 9000 /dev/urandom > own; echo x > own:WofCompressedData; truncate -s 9000 missing
         for file in own missing; do setfattr -h -n system.ntfs_reparse_data -v {tag} $file; done"
    );
    image.fill("streams_interface=windows", &script);
    let fs = image.open();
    let mut bytes = 0;
    for (number, _, _) in methods {
        for name in names {
            let expected = fs::read(format!("{folder}/in/{name}")).unwrap();
            let node = node(&*fs, &format!("{name}.{number}"));
            let stat = fs.stat(node).unwrap();
            assert_eq!((stat.kind, stat.size), (FileKind::File, expected.len() as u64), "{name} {number}");
            assert!(content(&*fs, node) == expected, "{name} {number}");
            assert_eq!(fs.map(node, 0).unwrap().unwrap().place, Place::Inside);
            assert_eq!(fs.map(node, stat.size).unwrap(), None);
            assert_eq!(fs.xattrs(node).unwrap(), []);
            let mut part = [0; 3001];
            for offset in (0..expected.len()).step_by(40_003) {
                let length = fs.read_at(node, offset as u64, &mut part).unwrap();
                assert!(
                    part[..length] == expected[offset..(offset + 3001).min(expected.len())],
                    "{name} {offset}"
                );
            }
            bytes += expected.len();
        }
    }
    assert!(bytes > 10_000_000, "{bytes}");
    let own = node(&*fs, "own");
    assert!(matches!(fs.read_at(own, 0, &mut [0; 10]), Err(Error::Unsupported(_))));
    assert!(matches!(fs.read_at(node(&*fs, "missing"), 0, &mut [0; 10]), Err(Error::Corrupt { .. })));
}
