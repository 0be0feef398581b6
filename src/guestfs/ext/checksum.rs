//! The checksums of ext4 ("Checksums"): all of them CRC32c from a given state without a final inversion, but for the
//! CRC16 of group descriptors before `metadata_csum`, and the CRC32 of the journal's first checksum feature.

const CRC16: crc::Crc<u16> = crc::Crc::<u16>::new(&crc::CRC_16_MODBUS);
const CRC32_BE: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_MPEG_2);

/// CRC32c of `bytes` from the state `seed`, as the kernel's `crc32c` gives it.
pub(super) fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    !crc32c::crc32c_append(!seed, bytes)
}

/// The kernel's `crc16` from the state 0xffff, of the parts one after another.
pub(super) fn crc16(parts: &[&[u8]]) -> u16 {
    let mut digest = CRC16.digest();
    for part in parts {
        digest.update(part);
    }
    digest.finalize()
}

/// The kernel's `crc32_be` over a transaction of the journal (`JBD2_FEATURE_COMPAT_CHECKSUM`), from all ones.
pub(super) struct TransactionChecksum(crc::Digest<'static, u32>);

impl TransactionChecksum {
    /// Of nothing yet.
    pub fn new() -> Self {
        static TABLE: crc::Crc<u32> = CRC32_BE;
        TransactionChecksum(TABLE.digest())
    }

    /// With `bytes` after what was there.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The sum, and a new beginning.
    pub fn take(&mut self) -> u32 {
        std::mem::replace(self, TransactionChecksum::new()).0.finalize()
    }
}

/// The first state for everything that belongs to one inode: its number and generation.
pub(super) fn inode_seed(seed: u32, inode: u32, generation: u32) -> u32 {
    crc32c(crc32c(seed, &inode.to_le_bytes()), &generation.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_the_kernels() {
        // CRC32c of "123456789" is 0xe3069283 with the final inversion.
        assert_eq!(crc32c(!0, b"123456789"), !0xe306_9283);
        assert_eq!(crc32c(crc32c(!0, b"1234"), b"56789"), crc32c(!0, b"123456789"));
        assert_eq!(crc16(&[b"1234", b"56789"]), 0x4b37);
        let mut sum = TransactionChecksum::new();
        sum.update(b"123456789");
        assert_eq!((sum.take(), sum.take()), (0x0376_e6e7, !0));
    }
}
