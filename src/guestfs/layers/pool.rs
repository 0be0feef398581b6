//! File systems over several devices: the parts of a btrfs find each other.

use crate::btrfs;
use crate::volume::{Content, Volume};

/// A volume that is a part of a btrfs.
struct Part {
    volume: usize,
    member: btrfs::Member,
}

/// Gives each btrfs of several devices all of those that are there, in the order of their ids, under the first one, and
/// makes the others members of it.
pub fn join(volumes: &mut [Volume]) {
    let mut parts = Vec::new();
    for (index, volume) in volumes.iter().enumerate() {
        let Content::FileSystem(recognised) = &volume.content else { continue };
        if recognised.kind != "btrfs" {
            continue;
        }
        if let Some(device) = volume.devices.first()
            && let Ok(Some(member)) = btrfs::member(device.as_ref())
            && member.devices > 1
        {
            parts.push(Part { volume: index, member });
        }
    }
    parts.sort_by_key(|part| (part.member.fsid, part.member.device_id));
    for pool in parts.chunk_by(|a, b| a.member.fsid == b.member.fsid) {
        if let Some(twice) = pool.windows(2).find(|two| two[0].member.device_id == two[1].member.device_id) {
            let reason = format!(
                "a btrfs of which {} and {} are the same device: one disk is a copy of the other",
                volumes[twice[0].volume].id, volumes[twice[1].volume].id
            );
            for part in pool {
                volumes[part.volume].content = Content::Refused(reason.clone());
            }
            continue;
        }
        let Some(first) = pool.first() else { continue };
        let devices = pool.iter().flat_map(|part| volumes[part.volume].devices.clone()).collect();
        let id = volumes[first.volume].id.clone();
        for part in &pool[1..] {
            let what = format!("device {} of the btrfs on {id}", part.member.device_id);
            volumes[part.volume].content = Content::Member(what);
        }
        volumes[first.volume].devices = devices;
    }
}
