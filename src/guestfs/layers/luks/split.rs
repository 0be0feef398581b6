//! The anti-forensic splitter: a key spread over many stripes, all of which are needed (*LUKS1 On-Disk Format
//! Specification*, section 2.4; LUKS2 has the same).

use super::hash::Hash;
use zeroize::Zeroizing;

/// The key of `length` bytes that `stripes` stripes hold.
pub fn merge(material: &[u8], length: usize, stripes: usize, hash: Hash) -> Zeroizing<Vec<u8>> {
    let mut key = Zeroizing::new(vec![0; length]);
    for (number, stripe) in material.chunks_exact(length).take(stripes).enumerate() {
        if number > 0 {
            diffuse(&mut key, hash);
        }
        for (byte, other) in key.iter_mut().zip(stripe) {
            *byte ^= other;
        }
    }
    key
}

/// Replaces each part of the length of a hash by the hash of its number and itself.
fn diffuse(key: &mut [u8], hash: Hash) {
    for (number, part) in key.chunks_mut(hash.length()).enumerate() {
        let digest = Zeroizing::new(hash.digest(&[&(number as u32).to_be_bytes(), part]));
        let length = part.len();
        part.copy_from_slice(&digest[..length]);
    }
}
