//! Hashes of names: the legacy one, half of MD4, and TEA, over signed or unsigned bytes ("Hash Tree Directories").
//! SipHash, for folders that are both encrypted and ignore case, needs a key.

/// Which hash, and whether of unsigned bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version {
    kind: Kind,
    unsigned: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Legacy,
    HalfMd4,
    Tea,
}

impl Version {
    /// `hash_version` of an index's root; `unsigned` what the superblock says of names.
    pub fn new(stored: u8, unsigned: bool) -> Option<Self> {
        let kind = match stored % 3 {
            0 => Kind::Legacy,
            1 => Kind::HalfMd4,
            _ => Kind::Tea,
        };
        match stored {
            0..=2 => Some(Version { kind, unsigned }),
            3..=5 => Some(Version { kind, unsigned: true }),
            _ => None,
        }
    }
}

/// The hash of `name`, with the seed of the superblock; its lowest bit is always 0.
pub(super) fn hash(version: Version, seed: &[u32; 4], name: &[u8]) -> u32 {
    let mut state = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    if seed != &[0; 4] {
        state = *seed;
    }
    let hash = match version.kind {
        Kind::Legacy => legacy(name, version.unsigned),
        Kind::HalfMd4 => {
            for at in (0..name.len()).step_by(32) {
                half_md4(&mut state, &words::<8>(&name[at..], version.unsigned));
            }
            state[1]
        }
        Kind::Tea => {
            for at in (0..name.len()).step_by(16) {
                tea(&mut state, &words::<4>(&name[at..], version.unsigned));
            }
            state[0]
        }
    } & !1;
    // The last value stands for the end of a folder.
    if hash == 0xffff_fffe { 0xffff_fffc } else { hash }
}

/// A byte as the number that the hash adds.
fn value(byte: u8, unsigned: bool) -> u32 {
    if unsigned { byte.into() } else { i32::from(byte.cast_signed()).cast_unsigned() }
}

/// `N` words of a name that goes on, filled up with its length.
fn words<const N: usize>(name: &[u8], unsigned: bool) -> [u32; N] {
    let length = name.len() as u32;
    let mut pad = length | length << 8;
    pad |= pad << 16;
    let mut words = [pad; N];
    for (word, bytes) in words.iter_mut().zip(name.chunks(4)) {
        for &byte in bytes {
            *word = value(byte, unsigned).wrapping_add(*word << 8);
        }
    }
    words
}

fn legacy(name: &[u8], unsigned: bool) -> u32 {
    let (mut last, mut before) = (0x12a3_fe2d_u32, 0x37ab_e8f9_u32);
    for &byte in name {
        let mut next = before.wrapping_add(last ^ value(byte, unsigned).wrapping_mul(7_152_373));
        if next & 0x8000_0000 != 0 {
            next = next.wrapping_sub(0x7fff_ffff);
        }
        before = last;
        last = next;
    }
    last << 1
}

fn tea(state: &mut [u32; 4], words: &[u32; 4]) {
    let (mut a, mut b, mut sum) = (state[0], state[1], 0u32);
    let mix = |value: u32, sum: u32, left: u32, right: u32| {
        (value << 4).wrapping_add(left) ^ value.wrapping_add(sum) ^ (value >> 5).wrapping_add(right)
    };
    for _ in 0..16 {
        sum = sum.wrapping_add(0x9e37_79b9);
        a = a.wrapping_add(mix(b, sum, words[0], words[1]));
        b = b.wrapping_add(mix(a, sum, words[2], words[3]));
    }
    state[0] = state[0].wrapping_add(a);
    state[1] = state[1].wrapping_add(b);
}

/// The first eight steps of each of MD4's rounds.
fn half_md4(state: &mut [u32; 4], words: &[u32; 8]) {
    type Round = (fn(u32, u32, u32) -> u32, u32, [usize; 8], [u32; 4]);
    let rounds: [Round; 3] = [
        (|x, y, z| z ^ (x & (y ^ z)), 0, [0, 1, 2, 3, 4, 5, 6, 7], [3, 7, 11, 19]),
        (|x, y, z| (x & y).wrapping_add((x ^ y) & z), 0x5a82_7999, [1, 3, 5, 7, 0, 2, 4, 6], [3, 5, 9, 13]),
        (|x, y, z| x ^ y ^ z, 0x6ed9_eba1, [3, 7, 2, 6, 1, 5, 0, 4], [3, 9, 11, 15]),
    ];
    let [mut a, mut b, mut c, mut d] = *state;
    for (mix, add, order, turns) in rounds {
        for (step, &index) in order.iter().enumerate() {
            let sum = a.wrapping_add(mix(b, c, d)).wrapping_add(words[index]).wrapping_add(add);
            (a, b, c, d) = (d, sum.rotate_left(turns[step % 4]), b, c);
        }
    }
    for (state, value) in state.iter_mut().zip([a, b, c, d]) {
        *state = state.wrapping_add(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `debugfs -R 'dx_hash -h NAME -s 12345678-9abc-def0-1234-56789abcdef0 NAME'` of e2fsprogs says, and without
    /// a seed.
    #[test]
    fn hashes_are_those_of_e2fsprogs() {
        let seed = [0x7856_3412, 0xf0de_bc9a, 0x7856_3412, 0xf0de_bc9a];
        let names: [&[u8]; 3] = [b"a", b"hello.txt", b"a name that is longer than thirty-two bytes, by some"];
        let expected = [
            (0, [[0xe74b_53e2; 2], [0x65a0_5776; 2], [0xbc34_58f4; 2]]),
            (1, [[0xbd1a_2d4e, 0xd5fa_7d7a], [0x0399_7874, 0xa26e_1d86], [0x089f_211c, 0x0ea4_41a8]]),
            (2, [[0x42e8_f46e, 0x6d0e_a4c0], [0x46ee_81d0, 0x5107_c3f2], [0xe575_eebc, 0x3d8e_fad6]]),
        ];
        for (version, hashes) in expected {
            let version = Version::new(version, false).unwrap();
            for (name, [seeded, plain]) in names.iter().zip(hashes) {
                assert_eq!(hash(version, &[0; 4], name), plain, "{version:?}");
                assert_eq!(hash(version, &seed, name), seeded, "{version:?}");
            }
        }
        let signed = |unsigned| hash(Version::new(1, unsigned).unwrap(), &[0; 4], b"\xff\xfe");
        assert_ne!(signed(false), signed(true));
        assert_eq!(Version::new(6, false), None);
    }
}
