//! ext4 with `metadata_csum`, its journal and fast commits.

use super::{Sum, be32, keep, le16, le32, raw_crc32c, without};
use crate::guest::image::Image;

const SUPERBLOCK: u64 = 1024;
const METADATA_CSUM: u32 = 0x400;
const CSUM_SEED: u32 = 0x2000;
const WIDE: u32 = 0x80;

/// All that hold.
pub fn find(image: &Image) -> Vec<Sum> {
    let sb = image.bytes(SUPERBLOCK, 1024);
    let mut sums = journal(image, &sb);
    if le32(&sb, 0x64) & METADATA_CSUM == 0 {
        return sums;
    }
    let block = 1024u64 << le32(&sb, 0x18);
    let seed =
        if le32(&sb, 0x60) & CSUM_SEED != 0 { le32(&sb, 0x270) } else { raw_crc32c(!0, &sb[0x68..0x78]) };
    sums.extend(keep(image, SUPERBLOCK, 1024, |bytes| {
        vec![(SUPERBLOCK + 0x3fc, raw_crc32c(!0, &bytes[..0x3fc]).to_le_bytes().to_vec())]
    }));
    let mut owners = Vec::new();
    let length = if le32(&sb, 0x60) & WIDE != 0 { usize::from(le16(&sb, 0xfe)) } else { 32 };
    let inode_size = usize::from(le16(&sb, 0x58));
    let inodes = le32(&sb, 0x28);
    let groups = le32(&sb, 0).div_ceil(inodes.max(1)).min(64);
    for group in 0..groups {
        let at = (u64::from(le32(&sb, 0x14)) + 1) * block + u64::from(group) * length as u64;
        let Some(sum) = keep(image, at, length, move |bytes| {
            let crc = raw_crc32c(raw_crc32c(seed, &group.to_le_bytes()), &without(bytes, 0x1e..0x20));
            vec![(at + 0x1e, (crc as u16).to_le_bytes().to_vec())]
        }) else {
            continue;
        };
        sums.push(sum);
        let table = u64::from(le32(&image.bytes(at, length), 8)) * block;
        for index in 0..inodes.min(512) {
            let number = group * inodes + index + 1;
            let at = table + u64::from(index) * inode_size as u64;
            let bytes = image.bytes(at, inode_size);
            if bytes.iter().all(|&byte| byte == 0) {
                continue;
            }
            sums.extend(keep(image, at, inode_size, move |bytes| inode(seed, number, at, bytes)));
            owners.push(owner(seed, number, &bytes));
        }
    }
    for at in image.used().flat_map(|at| (at..at + 4096).step_by(block as usize)) {
        sums.extend(metadata(image, at, block as usize, seed, &owners));
    }
    sums
}

/// What the checksums of an inode's own blocks begin with.
fn owner(seed: u32, number: u32, inode: &[u8]) -> u32 {
    raw_crc32c(raw_crc32c(seed, &number.to_le_bytes()), &inode[0x64..0x68])
}

fn inode(seed: u32, number: u32, at: u64, bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut blank = without(bytes, 0x7c..0x7e);
    let long = bytes.len() > 128 && le16(bytes, 0x80) >= 4;
    if long {
        blank[0x82..0x84].fill(0);
    }
    let crc = raw_crc32c(owner(seed, number, bytes), &blank).to_le_bytes();
    let mut right = vec![(at + 0x7c, crc[..2].to_vec())];
    if long {
        right.push((at + 0x82, crc[2..].to_vec()));
    }
    right
}

/// The checksum of a block of a folder, of extents or of attributes.
fn metadata(image: &Image, at: u64, block: usize, seed: u32, owners: &[u32]) -> Option<Sum> {
    let bytes = image.bytes(at, block);
    if bytes[block - 12..block - 4] == [0, 0, 0, 0, 12, 0, 0, 0xde] {
        return of_owner(image, at, block, owners, move |owner, bytes| {
            let end = bytes.len() - 4;
            Some((end, raw_crc32c(owner, &bytes[..end - 8])))
        });
    }
    if le16(&bytes, 0) == 0xf30a {
        return of_owner(image, at, block, owners, |owner, bytes| {
            let end = 12 + 12 * usize::from(le16(bytes, 4));
            (end + 4 <= bytes.len()).then(|| (end, raw_crc32c(owner, &bytes[..end])))
        });
    }
    if le32(&bytes, 0) == 0xea02_0000 {
        let number = at / block as u64;
        return keep(image, at, block, move |bytes| {
            let crc = raw_crc32c(raw_crc32c(seed, &number.to_le_bytes()), &without(bytes, 16..20));
            vec![(at + 16, crc.to_le_bytes().to_vec())]
        });
    }
    [0x20, 8].into_iter().find_map(|start| {
        of_owner(image, at, block, owners, move |owner, bytes| {
            let (limit, count) = (usize::from(le16(bytes, start)), usize::from(le16(bytes, start + 2)));
            let (end, tail) = (start + 8 * count, start + 8 * limit);
            (count > 0 && end <= tail && tail + 8 <= bytes.len()).then(|| {
                let crc = raw_crc32c(raw_crc32c(owner, &bytes[..end]), &bytes[tail..tail + 4]);
                (tail + 4, raw_crc32c(crc, &[0; 4]))
            })
        })
    })
}

/// A checksum that begins with one of `owners`: `sum` tells where it stands in the block, and what it is.
fn of_owner(
    image: &Image,
    at: u64,
    block: usize,
    owners: &[u32],
    sum: impl Fn(u32, &[u8]) -> Option<(usize, u32)> + Copy + Send + Sync + 'static,
) -> Option<Sum> {
    owners.iter().find_map(|&owner| {
        keep(image, at, block, move |bytes| {
            let found = sum(owner, bytes);
            found.map(|(place, crc)| (at + place as u64, crc.to_le_bytes().to_vec())).into_iter().collect()
        })
    })
}

const JOURNAL: u32 = 0xc03b_3998;

/// Those of the journal's own blocks and of what lies in it.
fn journal(image: &Image, sb: &[u8]) -> Vec<Sum> {
    let block = 1024usize << le32(sb, 0x18);
    let blocks: Vec<u64> = image.used().flat_map(|at| (at..at + 4096).step_by(block)).collect();
    let kind = |at: u64| {
        let head = image.bytes(at, 8);
        (be32(&head, 0) == JOURNAL).then(|| be32(&head, 4))
    };
    let mut sums = Vec::new();
    let Some(&start) = blocks.iter().find(|&&at| kind(at) == Some(4)) else { return sums };
    let seed = raw_crc32c(!0, &image.bytes(start + 0x30, 16));
    for &at in &blocks {
        match kind(at) {
            // The data before the descriptor that has its sums.
            Some(1) => {
                sums.extend(data(image, at, block, seed));
                sums.extend(keep(image, at, block, move |bytes| tail(seed, at, bytes)));
            }
            Some(5) => sums.extend(keep(image, at, block, move |bytes| tail(seed, at, bytes))),
            Some(2) => sums.extend(keep(image, at, block, move |bytes| {
                vec![(at + 0x10, raw_crc32c(seed, &without(bytes, 0x10..0x14)).to_be_bytes().to_vec())]
            })),
            Some(4) => sums.extend(keep(image, at, 1024, move |bytes| {
                vec![(at + 0xfc, raw_crc32c(!0, &without(bytes, 0xfc..0x100)).to_be_bytes().to_vec())]
            })),
            _ if image.bytes(at, 4) == [9, 0, 8, 0] => sums.extend(fast(image, at)),
            _ => {}
        }
    }
    sums
}

fn tail(seed: u32, at: u64, bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let end = bytes.len() - 4;
    vec![(at + end as u64, raw_crc32c(raw_crc32c(seed, &bytes[..end]), &[0; 4]).to_be_bytes().to_vec())]
}

/// The sums in the tags of a descriptor, each of a block behind it.
fn data(image: &Image, descriptor: u64, block: usize, seed: u32) -> Vec<Sum> {
    let bytes = image.bytes(descriptor, block);
    let mut sums = Vec::new();
    let (mut tag, mut at) = (12, descriptor + block as u64);
    while tag + 16 <= block - 4 {
        let (flags, place) = (be32(&bytes, tag + 4), descriptor + tag as u64 + 12);
        sums.extend(keep(image, at, block, {
            let sequence = bytes[8..12].to_vec();
            move |bytes| vec![(place, raw_crc32c(raw_crc32c(seed, &sequence), bytes).to_be_bytes().to_vec())]
        }));
        tag += if flags & 2 == 0 { 32 } else { 16 };
        at += block as u64;
        if flags & 8 != 0 {
            break;
        }
    }
    sums
}

/// The sum at the end of a fast commit that begins here.
fn fast(image: &Image, start: u64) -> Option<Sum> {
    let bytes = image.bytes(start, 4096);
    let mut at = 0;
    while at + 12 <= bytes.len() {
        let (tag, length) = (le16(&bytes, at), usize::from(le16(&bytes, at + 2)));
        if tag == 8 {
            return keep(image, start, at + 8, move |bytes| {
                vec![(start + bytes.len() as u64, raw_crc32c(0, bytes).to_le_bytes().to_vec())]
            });
        }
        at += 4 + length;
    }
    None
}
