//! One entry of an L1 or L2 table: 64 bits, and what they say.
//!
//! Source: the QCOW2 specification, chapters "Cluster mapping" and "Extended L2 Entries". Reserved bits must
//! be clear: a set one is damage, because features that use them come with an incompatible feature bit.

/// Bits 9–55: where in the file.
pub(crate) const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;
/// Bit 63: the refcount of what is pointed at is exactly one.
pub(crate) const COPIED: u64 = 1 << 63;
/// Bit 62 of an L2 entry: the cluster is compressed.
pub(crate) const COMPRESSED: u64 = 1 << 62;
/// Bit 0 of an L2 entry: the cluster reads as zeros.
pub(crate) const ZERO: u64 = 1;
/// The unit in which a compressed cluster's length is told.
pub(crate) const SECTOR: u64 = 512;
/// Subclusters of a cluster with extended L2 entries.
pub(crate) const SUBCLUSTERS: u64 = 32;

const L1_RESERVED: u64 = !(OFFSET_MASK | COPIED);
const L2_RESERVED: u64 = !(OFFSET_MASK | COPIED | COMPRESSED | ZERO);

/// Where a compressed cluster lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Packed {
    /// First byte in the file; aligned to nothing.
    pub(crate) host: u64,
    /// Bytes up to the end of the last sector it touches; the data may end before.
    pub(crate) length: u64,
}

/// What a standard L2 entry says of its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cluster {
    /// Look in the backing file.
    Unallocated,
    /// Zeros; `host` is a preallocated cluster that is not read.
    Zero { host: Option<u64> },
    /// Stored as it is.
    Data { host: u64 },
    /// Stored compressed.
    Compressed(Packed),
}

/// What of the header decides how L2 entries are read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EntryFormat {
    /// log2 of the cluster size, 9 to 21.
    pub(crate) cluster_bits: u32,
    /// Bit 0 may say "zeros" (version 3 without extended entries).
    pub(crate) zero_flag: bool,
    /// Entries are 128 bits, with a bitmap of subclusters.
    pub(crate) extended: bool,
}

impl EntryFormat {
    /// The cluster size in bytes.
    pub(crate) fn cluster_size(self) -> u64 {
        1 << self.cluster_bits
    }

    /// Words of 64 bits an entry takes.
    pub(crate) fn words(self) -> u64 {
        if self.extended { 2 } else { 1 }
    }

    /// Entries of one L2 table.
    pub(crate) fn table_entries(self) -> u64 {
        self.cluster_size() / 8 / self.words()
    }

    /// Bytes of the disk that one L2 table describes.
    pub(crate) fn table_span(self) -> u64 {
        self.table_entries() << self.cluster_bits
    }

    /// Where a compressed cluster's descriptor changes from offset to length: "x" of the specification.
    fn packed_bits(self) -> u32 {
        62 - (self.cluster_bits - 8)
    }

    /// Reads the (first) word of an L2 entry.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub(crate) fn cluster(self, word: u64) -> Result<Cluster, &'static str> {
        if word & COMPRESSED != 0 {
            let bits = self.packed_bits();
            let host = word & ((1 << bits) - 1);
            if host >> 56 != 0 {
                return Err("a compressed cluster lies beyond 64 PiB");
            }
            if host < self.cluster_size() {
                return Err("the header cluster is used as data");
            }
            if word & COPIED != 0 {
                return Err("a compressed cluster is marked as not shared");
            }
            let sectors = ((word & (COMPRESSED - 1)) >> bits) + 1;
            return Ok(Cluster::Compressed(Packed { host, length: sectors * SECTOR - host % SECTOR }));
        }
        if word & L2_RESERVED != 0 || (word & ZERO != 0 && !self.zero_flag) {
            return Err("reserved bits are set");
        }
        let host = word & OFFSET_MASK;
        if !host.is_multiple_of(self.cluster_size()) {
            return Err("the offset is not on a cluster boundary");
        }
        if word & ZERO != 0 {
            return Ok(Cluster::Zero { host: (host != 0).then_some(host) });
        }
        if host == 0 {
            return if word & COPIED == 0 {
                Ok(Cluster::Unallocated)
            } else {
                Err("the header cluster is used as data")
            };
        }
        Ok(Cluster::Data { host })
    }

    /// The L2 entry of a compressed cluster of `length` bytes at byte `host`; `None` where it lies too far
    /// behind or is too long to be described.
    pub(crate) fn packed_entry(self, host: u64, length: u64) -> Option<u64> {
        let bits = self.packed_bits();
        let last = host.checked_add(length.checked_sub(1)?)?;
        let sectors = last / SECTOR - host / SECTOR;
        let fits = host >> bits.min(56) == 0 && sectors >> (self.cluster_bits - 8) == 0;
        fits.then_some(COMPRESSED | (sectors << bits) | host)
    }
}

/// What one subcluster of an extended entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subcluster {
    /// Look in the backing file.
    Unallocated,
    /// Zeros.
    Zero,
    /// Stored in the cluster.
    Data,
}

/// Reads bit `index` (0 to 31) of a subcluster bitmap.
pub(crate) fn subcluster(bitmap: u64, index: u64) -> Result<Subcluster, &'static str> {
    let index = index % SUBCLUSTERS;
    match ((bitmap >> index) & 1 != 0, (bitmap >> (index + SUBCLUSTERS)) & 1 != 0) {
        (true, true) => Err("a subcluster is both stored and zero"),
        (true, false) => Ok(Subcluster::Data),
        (false, true) => Ok(Subcluster::Zero),
        (false, false) => Ok(Subcluster::Unallocated),
    }
}

/// Reads an L1 entry: where its L2 table lies, or `None` where it has none.
///
/// # Errors
/// What is wrong with it, for a person.
pub(crate) fn l2_offset(word: u64, cluster_size: u64) -> Result<Option<u64>, &'static str> {
    if word & L1_RESERVED != 0 {
        return Err("reserved bits are set");
    }
    let offset = word & OFFSET_MASK;
    if !offset.is_multiple_of(cluster_size) {
        return Err("the offset is not on a cluster boundary");
    }
    Ok((offset != 0).then_some(offset))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn format(cluster_bits: u32) -> EntryFormat {
        EntryFormat { cluster_bits, zero_flag: true, extended: false }
    }

    #[test]
    fn standard_entries_mean_what_the_specification_says() {
        let f = format(16);
        assert_eq!(f.cluster(0), Ok(Cluster::Unallocated));
        assert_eq!(f.cluster(ZERO), Ok(Cluster::Zero { host: None }));
        assert_eq!(f.cluster(0x50000 | ZERO | COPIED), Ok(Cluster::Zero { host: Some(0x50000) }));
        assert_eq!(f.cluster(0x50000 | COPIED), Ok(Cluster::Data { host: 0x50000 }));
        assert!(f.cluster(0x50200).is_err(), "not aligned");
        assert!(f.cluster(0x50002).is_err(), "reserved");
        assert!(f.cluster(COPIED).is_err(), "offset 0");
        assert!(EntryFormat { zero_flag: false, ..f }.cluster(ZERO).is_err(), "version 2 has no zero flag");
    }

    proptest! {
        #[test]
        fn packed_entries_survive_the_round_trip(bits in 9u32..=21, host in (1u64 << 21)..(1 << 45), part in 0.0f64..1.0) {
            let f = format(bits);
            let length = 1 + (part * (f.cluster_size() - 1) as f64) as u64;
            let word = f.packed_entry(host, length).expect("fits");
            let Ok(Cluster::Compressed(packed)) = f.cluster(word) else { panic!("not compressed") };
            prop_assert_eq!(packed.host, host);
            prop_assert!(packed.length >= length && packed.length < length + SECTOR);
            prop_assert_eq!((packed.host + packed.length) % SECTOR, 0);
        }

        #[test]
        fn no_word_makes_the_decoder_panic(bits in 9u32..=21, word: u64, zero_flag: bool, extended: bool) {
            let f = EntryFormat { cluster_bits: bits, zero_flag, extended };
            let _ = f.cluster(word);
            let _ = l2_offset(word, f.cluster_size());
            let _ = subcluster(word, word);
        }
    }
}
