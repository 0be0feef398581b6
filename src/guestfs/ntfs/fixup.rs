//! The update sequence: the last two bytes of every 512 of a record are kept apart, so that a torn write shows.
//!
//! "Fixup" of the Linux-NTFS documentation. The stride is 512 bytes whatever the size of a sector is.

use crate::{Error, Result};

/// The stride that one number of the sequence protects, in bytes.
pub const STRIDE: usize = 512;

/// Checks that `record` begins with `magic`, and puts the bytes back that its update sequence holds. `name` is what an
/// error calls it.
///
/// # Errors
/// [`Error::Corrupt`] where it has another signature, or was torn.
pub fn apply(record: &mut [u8], magic: &[u8; 4], name: &dyn Fn() -> String) -> Result<()> {
    let found = record.get(..4).unwrap_or_default();
    if found != magic {
        return Err(Error::corrupt(
            name(),
            format!("it begins with {found:02x?}, not with {}", String::from_utf8_lossy(magic)),
        ));
    }
    restore(record).map_err(|reason| Error::corrupt(name(), reason))
}

fn restore(record: &mut [u8]) -> Result<(), String> {
    let number =
        |at: usize| record.get(at..at + 2).map(|two| usize::from(u16::from_le_bytes([two[0], two[1]])));
    let (Some(at), Some(count)) = (number(4), number(6)) else { return Err("it is too short".into()) };
    let strides = record.len() / STRIDE;
    if strides == 0 || !record.len().is_multiple_of(STRIDE) || count != strides + 1 {
        return Err(format!("an update sequence of {count} numbers for {} bytes", record.len()));
    }
    // The sequence lies inside of the first stride, before the number that it protects.
    if at % 2 != 0 || at < 8 || at + 2 * count > record.len() || at + 2 > STRIDE - 2 {
        return Err(format!("its update sequence is at byte {at}"));
    }
    let sequence: Vec<u8> = record[at..at + 2 * count].to_vec();
    for (index, saved) in sequence[2..].chunks_exact(2).enumerate() {
        let tail = (index + 1) * STRIDE - 2;
        if record[tail..tail + 2] != sequence[..2] {
            return Err(format!("its part {index} was not written together with the others"));
        }
        record[tail..tail + 2].copy_from_slice(saved);
    }
    Ok(())
}

/// The other way: what [`apply`] read, or was made new, is made ready to be written, under the same number. Whether its
/// update sequence lies inside of it.
pub fn protect(record: &mut [u8]) -> bool {
    let number =
        |at: usize| record.get(at..at + 2).map(|two| usize::from(u16::from_le_bytes([two[0], two[1]])));
    let (Some(at), Some(count)) = (number(4), number(6)) else { return false };
    if record.len() / STRIDE + 1 != count || at % 2 != 0 || at < 8 || at + 2 * count > STRIDE - 2 {
        return false;
    }
    for index in 1..count {
        let tail = index * STRIDE - 2;
        let saved = [record[tail], record[tail + 1]];
        let sequence = [record[at], record[at + 1]];
        record[at + 2 * index..at + 2 * index + 2].copy_from_slice(&saved);
        record[tail..tail + 2].copy_from_slice(&sequence);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Vec<u8> {
        let mut record: Vec<u8> = (0..1024).map(|n| n as u8).collect();
        record[..4].copy_from_slice(b"FILE");
        record[4..8].copy_from_slice(&[0x30, 0, 3, 0]);
        record
    }

    #[test]
    fn what_is_protected_comes_back() {
        let name = || "a record".to_string();
        let plain = record();
        let mut stored = plain.clone();
        assert!(protect(&mut stored));
        assert_eq!(stored[510..512], stored[0x30..0x32]);
        let mut read = stored.clone();
        apply(&mut read, b"FILE", &name).unwrap();
        assert_eq!((&read[..0x30], &read[0x36..]), (&plain[..0x30], &plain[0x36..]));
        stored[1022] ^= 1;
        assert!(apply(&mut stored.clone(), b"FILE", &name).unwrap_err().to_string().contains("part 1"));
        assert!(apply(&mut stored.clone(), b"INDX", &name).unwrap_err().to_string().contains("begins with"));
    }

    #[test]
    fn a_sequence_outside_of_the_record_is_refused() {
        for (at, count) in [(0x30, 2), (0x30, 4), (0x31, 3), (6, 3), (1022, 3), (0xffff, 3), (0x1fe, 3)] {
            let mut bytes = record();
            bytes[4..6].copy_from_slice(&(at as u16).to_le_bytes());
            bytes[6..8].copy_from_slice(&(count as u16).to_le_bytes());
            assert!(apply(&mut bytes, b"FILE", &|| String::new()).is_err(), "{at} {count}");
        }
        assert!(apply(&mut [], b"FILE", &|| String::new()).is_err());
        assert!(apply(&mut b"FILE".to_vec(), b"FILE", &|| String::new()).is_err());
    }
}
