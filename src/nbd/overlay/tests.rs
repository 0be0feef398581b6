//! The overlay against a plain array, with random changes from one and from several threads.

use super::Overlay;
use crate::server::DiskWriter;
use block::{BlockSource, Error, ExtentKind};
use proptest::prelude::*;
use std::ops::Range;
use std::sync::Arc;
use std::thread;
use testkit::mem::MemSource;

/// Neither whole blocks nor whole sectors.
const SIZE: u64 = 300_000 + 77;

fn below() -> Vec<u8> {
    (0..SIZE).map(|n| (n / 512 + n) as u8 | 1).collect()
}

fn overlay() -> Overlay {
    Overlay::over(Arc::new(MemSource::new(below())), &std::env::temp_dir()).unwrap()
}

#[derive(Debug, Clone)]
enum Change {
    Write(Range<u64>, u8),
    Zero(Range<u64>),
    Trim(Range<u64>),
}

fn range() -> impl Strategy<Value = Range<u64>> {
    // Short ranges around the edges of blocks, and long ones.
    let near = (0..SIZE / 4096, -3i64..4, 1u64..9000).prop_map(|(block, shift, length)| {
        let start = (block * 4096).saturating_add_signed(shift).min(SIZE - 1);
        start..(start + length).min(SIZE)
    });
    let any = (0..SIZE, 1..SIZE).prop_map(|(start, length)| start..(start + length).min(SIZE));
    prop_oneof![3 => near, 1 => any]
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => (range(), any::<u8>()).prop_map(|(range, byte)| Change::Write(range, byte)),
        1 => range().prop_map(Change::Zero),
        1 => range().prop_map(Change::Trim),
    ]
}

fn all(disk: &Overlay) -> Vec<u8> {
    let mut bytes = vec![0x5a; disk.size() as usize];
    disk.read_at(&mut bytes, 0).unwrap();
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn what_was_written_is_read_and_the_rest_is_as_below(changes in prop::collection::vec(change(), 1..24)) {
        let disk = overlay();
        let mut model: Vec<Option<u8>> = below().into_iter().map(Some).collect();
        for change in changes {
            match change {
                Change::Write(range, byte) => {
                    disk.write_at(&vec![byte; (range.end - range.start) as usize], range.start).unwrap();
                    model[range.start as usize..range.end as usize].fill(Some(byte));
                }
                Change::Zero(range) => {
                    disk.zero(range.clone(), false).unwrap();
                    model[range.start as usize..range.end as usize].fill(Some(0));
                }
                Change::Trim(range) => {
                    disk.trim(range.clone()).unwrap();
                    // It may read as anything.
                    model[range.start as usize..range.end as usize].fill(None);
                }
            }
        }
        let read = all(&disk);
        for (at, (found, wanted)) in read.iter().zip(&model).enumerate() {
            prop_assert!(wanted.is_none_or(|wanted| wanted == *found), "byte {at}: {found}, not {wanted:?}");
        }
        let mut at = 0;
        while at < SIZE {
            for extent in disk.extents(at..SIZE, None).unwrap() {
                prop_assert_eq!(extent.offset, at, "extents have gaps");
                if extent.kind != ExtentKind::Data {
                    prop_assert!(read[at as usize..extent.end() as usize].iter().all(|byte| *byte == 0));
                }
                at = extent.end();
            }
        }
        prop_assert_eq!(at, SIZE);
    }
}

#[test]
fn neighbours_in_one_block_that_write_at_once_keep_each_others_bytes() {
    let disk = Arc::new(overlay());
    thread::scope(|scope| {
        for lane in 0..4u64 {
            let disk = Arc::clone(&disk);
            scope.spawn(move || {
                // Bytes 0 to 99 of every hundred are one lane's: all blocks are shared by all lanes.
                for piece in (lane..SIZE / 100).step_by(4) {
                    disk.write_at(&[lane as u8 + 1; 100], piece * 100).unwrap();
                }
            });
        }
    });
    let read = all(&disk);
    for (at, byte) in read.iter().enumerate().take(SIZE as usize / 100 * 100) {
        assert_eq!(*byte, (at / 100 % 4) as u8 + 1, "byte {at}");
    }
    assert_eq!(read[SIZE as usize / 100 * 100..], below()[SIZE as usize / 100 * 100..]);
}

#[test]
fn what_is_outside_of_the_disk_is_refused() {
    let disk = overlay();
    for (offset, length) in [(SIZE, 1), (SIZE - 1, 2), (u64::MAX, 1)] {
        let data = vec![0; length];
        assert!(matches!(disk.write_at(&data, offset), Err(Error::Usage { .. })));
        assert!(matches!(disk.read_at(&mut vec![0; length], offset), Err(Error::Usage { .. })));
    }
    assert_eq!(all(&disk), below());
}
