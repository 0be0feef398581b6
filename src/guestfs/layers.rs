//! From disks to volumes: partition tables, LVM, md RAID, encryption.

use crate::volume::Volume;

/// How disks are looked at.
#[derive(Debug, Clone, Default)]
pub struct LayerOptions {
    /// Passphrases and contents of key files, each tried on every container that is met.
    pub keys: Vec<Vec<u8>>,
}

/// All volumes of the disks of a restore point.
#[derive(Debug, Clone)]
pub struct Inventory {
    /// In the order of disks and partitions, logical volumes and arrays after them.
    pub volumes: Vec<Volume>,
}
