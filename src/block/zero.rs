//! Finding zeros.

/// Whether `bytes` are all zeros. Runs at memory speed, and ends at the first piece that is not.
pub fn is_zero(bytes: &[u8]) -> bool {
    /// Words looked at between two decisions: 256 bytes, a few registers wide.
    const PIECE: usize = 16;
    let (head, words, tail) = as_words(bytes);
    head.iter().chain(tail).all(|byte| *byte == 0)
        && words.chunks(PIECE).all(|piece| piece.iter().fold(0, |all, word| all | word) == 0)
}

/// `bytes` as a few loose ones, aligned words, and a few loose ones.
#[allow(unsafe_code)]
fn as_words(bytes: &[u8]) -> (&[u8], &[u128], &[u8]) {
    // SAFETY: any 16 bytes are a valid u128, and u128 has no padding and no drop.
    unsafe { bytes.align_to::<u128>() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_byte_anywhere_is_seen() {
        let mut bytes = vec![0u8; 4096 + 37];
        for start in [0, 1, 7, 15, 16, 17, 255] {
            assert!(is_zero(&bytes[start..]));
        }
        for at in (0..bytes.len()).step_by(13).chain([bytes.len() - 1]) {
            bytes[at] = 1;
            assert!(!is_zero(&bytes));
            assert!(!is_zero(&bytes[at..=at]));
            assert!(is_zero(&bytes[..at]));
            assert!(is_zero(&bytes[at + 1..]));
            bytes[at] = 0;
        }
        assert!(is_zero(&[]));
    }
}
