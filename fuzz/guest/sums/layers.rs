//! GPT, LVM2, md and LUKS2; and a bound of what LUKS may ask for.
//!
//! A key derivation of minutes is what an image may ask for, and no finding. So the numbers of rounds and the memory are
//! made small here; that they are bounded at all is a test of `src/guestfs/layers/luks/derive.rs`.

use super::{Sum, keep, le32, le64, without};
use crate::guest::image::Image;
use crc::{Algorithm, CRC_32_ISO_HDLC, Crc};
use sha2::{Digest, Sha256};

const CRC32: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);
/// Begins with a number of LVM's own, and ends without an inversion.
const LVM: Crc<u32> =
    Crc::<u32>::new(&Algorithm { init: 0xf597_a6cf_u32.reverse_bits(), xorout: 0, ..CRC_32_ISO_HDLC });

/// All that hold.
pub fn find(image: &Image) -> Vec<Sum> {
    let mut sums = Vec::new();
    for at in image.used().flat_map(|at| (at..at + 4096).step_by(512)) {
        let head = image.bytes(at, 512);
        if head.starts_with(b"EFI PART") {
            let (entries, count, size) = (le64(&head, 72), le32(&head, 80), le32(&head, 84));
            sums.extend(keep(image, entries * 512, (count * size) as usize, move |bytes| {
                vec![(at + 88, CRC32.checksum(bytes).to_le_bytes().to_vec())]
            }));
            sums.extend(keep(image, at, 92, move |bytes| {
                vec![(at + 16, CRC32.checksum(&without(bytes, 16..20)).to_le_bytes().to_vec())]
            }));
        }
        if head.starts_with(b"LABELONE") {
            sums.extend(keep(image, at + 20, 492, move |bytes| {
                vec![(at + 16, LVM.checksum(bytes).to_le_bytes().to_vec())]
            }));
        }
        if head[4..].starts_with(b" LVM2 x[5A%r0N*>") {
            let (offset, size) = (le64(&head, 40), le64(&head, 48) as usize);
            sums.extend(keep(image, at + offset, size, move |bytes| {
                vec![(at + 56, LVM.checksum(bytes).to_le_bytes().to_vec())]
            }));
            sums.extend(keep(image, at + 4, 508, move |bytes| {
                vec![(at, LVM.checksum(bytes).to_le_bytes().to_vec())]
            }));
        }
        if le32(&head, 0) == 0xa92b_4efc {
            let members = le32(&head, 220) as usize;
            let length = if le32(&head, 4) == 0 { 4096 } else { 256 + 2 * members.min(1024) };
            let place = if le32(&head, 4) == 0 { 152 } else { 216 };
            sums.extend(keep(image, at, length, move |bytes| {
                let sum = without(bytes, place..place + 4);
                let sum: u64 = sum
                    .chunks(4)
                    .map(|word| word.iter().rev().fold(0, |sum, &b| sum << 8 | u64::from(b)))
                    .sum();
                vec![(
                    at + place as u64,
                    ((sum >> 32) as u32).wrapping_add(sum as u32).to_le_bytes().to_vec(),
                )]
            }));
        }
        if head.starts_with(b"LUKS\xba\xbe\0\x01") {
            for place in [164, 212, 260, 308, 356, 404, 452, 500] {
                sums.extend(keep(image, at + place, 4, move |bytes| {
                    vec![(at + place, vec![0, 0, bytes[2] & 7, bytes[3]])]
                }));
            }
        }
        if matches!(&head[..8], b"LUKS\xba\xbe\0\x02" | b"SKUL\xba\xbe\0\x02") {
            let size = le64(&head, 8).swap_bytes() as usize;
            sums.extend(keep(image, at + 4096, size - 4096, move |bytes| {
                let mut bytes = bytes.to_vec();
                calm(&mut bytes);
                vec![(at + 4096, bytes)]
            }));
            sums.extend(keep(image, at, size, move |bytes| {
                vec![(at + 448, Sha256::digest(without(bytes, 448..512)).to_vec())]
            }));
        }
    }
    sums
}

/// Makes the numbers behind the names of what a key derivation costs small: at most three digits.
fn calm(json: &mut [u8]) {
    for name in [&b"iterations\":"[..], b"memory\":", b"time\":", b"cpus\":"] {
        let mut from = 0;
        while let Some(found) = json[from..].windows(name.len()).position(|part| part == name) {
            let start = from + found + name.len();
            let digits = json[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            if digits > 4 {
                json[start..start + digits - 3].fill(b' ');
                json[start + digits - 3] = json[start + digits - 3].max(b'1');
            }
            from = start;
        }
    }
}
