//! Damaged volumes: errors, and nothing else.

use super::*;

/// Changes a copy of `whole` in each of `rounds` ways, most of them in `places`, and walks what then opens.
pub fn mutate(whole: &[u8], places: &[std::ops::Range<usize>], rounds: u64) -> (u64, u64) {
    let (mut opened, mut refused) = (0, 0);
    let mut seed = 0x1234_5678_9abc_def1_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for _ in 0..rounds {
        let mut bytes = whole.to_vec();
        for _ in 0..1 + random() % 4 {
            let place = &places[random() as usize % places.len()];
            let at = place.start + random() as usize % place.len();
            match random() % 4 {
                0 => bytes[at] ^= 1 << (random() % 8),
                1 => bytes[at] = random() as u8,
                2 => {
                    let at = at & !7;
                    let value =
                        [0, 1, u64::MAX, 1 << 63, random() % 4096, random() % 64][random() as usize % 6];
                    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
                }
                _ => {
                    let from = (place.start + random() as usize % place.len()) & !7;
                    let (from, to, length) = (from, at & !7, 8 << (random() % 5));
                    if from.max(to) + length <= bytes.len() {
                        bytes.copy_within(from..from + length, to);
                    }
                }
            }
        }
        let device: Device = Arc::new(MemoryDevice(bytes));
        let _ = ntfs::recognise(&*device).unwrap();
        let ignore = OpenOptions { ignore_journal: random() % 2 == 0, ..OpenOptions::default() };
        match ntfs::open(device, &ignore) {
            Ok(fs) => {
                crate::hostile::walk(&*fs);
                opened += 1;
            }
            Err(_) => refused += 1,
        }
    }
    (opened, refused)
}

#[test]
fn damaged_volumes_give_errors_and_nothing_else() {
    if !can_mount(&PROGRAMS) {
        return;
    }
    let image = Image::new("3M", "-c 512 -C");
    image.fill(
        "compression",
        r#"
mkdir -p d/e; for n in $(seq 60); do echo $n > "d/a rather long name of a file $n"; done
seq 4000 > d/packed; head -c 30000 /dev/urandom > d/stored; truncate -s 300000 d/e/hole; echo x >> d/e/hole
ln -s d link; setfattr -n user.a -v b d; ln d/packed d/e/again
"#,
    );
    let whole = fs::read(&image.path).unwrap();
    let mft = u64::from_le_bytes(whole[0x30..0x38].try_into().unwrap()) as usize * 512;
    // The records of the table and of the index blocks, whose update sequences are left alone mostly, so that what is
    // behind them is met.
    let mut places =
        vec![mft..mft + 5 * 1024, mft + 5 * 1024..mft + 6 * 1024, mft + 24 * 1024..mft + 60 * 1024];
    let blocks: Vec<usize> =
        (0..whole.len() - 4096).step_by(512).filter(|&at| &whole[at..at + 4] == b"INDX").collect();
    assert!(blocks.len() >= 2);
    places.extend(blocks.into_iter().map(|at| at..at + 4096));
    places.push(0..512);
    let (opened, refused) = mutate(&whole, &places, 4000);
    assert!(opened > 2500 && refused > 20, "{opened} opened, {refused} refused");
    for length in [0, 511, 512, 4096, 5000, mft + 1024, 70_000, whole.len() / 2, whole.len() - 512] {
        let device: Device = Arc::new(MemoryDevice(whole[..length].to_vec()));
        let _ = ntfs::recognise(&*device).unwrap();
        if let Ok(fs) = ntfs::open(device, &OpenOptions::default()) {
            crate::hostile::walk(&*fs);
        }
    }
}
