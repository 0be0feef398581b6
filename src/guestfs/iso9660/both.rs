//! Numbers that are stored in both byte orders (ECMA-119, 7.2.3 and 7.3.3).

use crate::{Fields, Result};

/// The number of 32 bits at byte `at`. Discs exist whose writer left the second one 0.
///
/// # Errors
/// [`Error::Corrupt`](crate::Error::Corrupt) where the two differ otherwise.
pub(super) fn both32(fields: &Fields<'_>, at: usize) -> Result<u32> {
    let (little, big) = (fields.le32(at)?, fields.be32(at + 4)?);
    if little == big || big == 0 {
        return Ok(little);
    }
    Err(fields.corrupt(format!("a number is {little} in one byte order and {big} in the other")))
}

/// The number of 16 bits at byte `at`.
///
/// # Errors
/// As [`both32`].
pub(super) fn both16(fields: &Fields<'_>, at: usize) -> Result<u16> {
    let (little, big) = (fields.le16(at)?, fields.be16(at + 2)?);
    if little == big || big == 0 {
        return Ok(little);
    }
    Err(fields.corrupt(format!("a number is {little} in one byte order and {big} in the other")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_have_to_say_the_same() {
        let fields = Fields::new("x", &[1, 2, 3, 4, 4, 3, 2, 1, 5, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 2]);
        assert_eq!(both32(&fields, 0).unwrap(), 0x0403_0201);
        assert_eq!(both32(&fields, 8).unwrap(), 5);
        assert!(both32(&fields, 4).is_err());
        assert!(both16(&fields, 16).is_err());
        assert!(both16(&fields, 18).is_err());
        assert_eq!(both16(&fields, 8).unwrap(), 5);
    }
}
