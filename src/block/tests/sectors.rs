//! A file that is no whole number of sectors is read as QEMU reads it.

use block::{FileSource, WholeSectors};

#[test]
fn the_last_sector_is_filled_up_with_zeros() {
    let folder = tempfile::tempdir().unwrap();
    for length in [1usize, 511, 512, 513, 70_000] {
        let path = folder.path().join(length.to_string());
        let mut content = vec![0xa7; length];
        std::fs::write(&path, &content).unwrap();
        content.resize(length.next_multiple_of(512), 0);
        testkit::conformance::source(&WholeSectors::new(FileSource::open(&path).unwrap()), &content);
    }
}
