//! Everything that is found on disks, and what is in it.

use super::walk;
use guestfs::layers::{Inventory, LayerOptions, discover};
use guestfs::{Device, Disk, OpenOptions};
use std::collections::HashSet;

/// The passphrase of all containers.
const KEYS: [&[u8]; 2] = [b"key", b"correct horse"];

/// The inventory of disks.
pub fn inventory(disks: &[Device]) -> Inventory {
    let disks: Vec<Disk> =
        (0..).zip(disks).map(|(index, device)| Disk { index, device: device.clone() }).collect();
    discover(&disks, &LayerOptions { keys: KEYS.iter().map(|key| key.to_vec()).collect() })
}

/// Looks at disks, reads the beginning and the end of what is found, and walks over file systems.
pub fn look(disks: &[Device], options: &OpenOptions, whole: bool) {
    let found = inventory(disks);
    let ids: HashSet<_> = found.volumes.iter().map(|volume| &volume.id).collect();
    assert_eq!(ids.len(), found.volumes.len(), "ids are unique");
    for volume in found.volumes.iter().take(64) {
        for device in &volume.devices {
            let mut buf = vec![0; device.size().min(20_000) as usize];
            if whole {
                let last = device.size() - buf.len() as u64;
                let _ = device.read_at(&mut buf, 0);
                let _ = device.read_at(&mut buf, last);
            }
            assert!(device.read_at(&mut [0; 1], device.size()).is_err());
        }
        if let Ok(fs) = found.open(&volume.id, options) {
            walk::walk(&*fs, false);
        }
    }
}
