//! The volumes of a session as the wire shows them.

use api::VolumeView;
use guestfs::Content;
use guestfs::tree::{Tree, VolumeState};

/// All of them, in the order in which they were found.
pub(super) fn views(tree: &Tree) -> Vec<VolumeView> {
    tree.volumes().iter().map(view).collect()
}

fn view(state: &VolumeState<'_>) -> VolumeView {
    let volume = state.volume;
    let mut shown = VolumeView {
        id: volume.id.clone(),
        filesystem_type: None,
        label: None,
        uuid: None,
        size_bytes: volume.size,
        partition: volume.partition.as_ref().map(|partition| match &partition.name {
            Some(name) => format!("{} ({})", name, partition.kind),
            None => partition.kind.clone(),
        }),
        mount_point: state.mounts.first().map(|path| String::from_utf8_lossy(path).into_owned()),
        state: String::new(),
        detail: None,
    };
    let (word, detail) = match &volume.content {
        Content::FileSystem(found) => {
            shown.filesystem_type = Some(found.kind.to_owned());
            shown.label.clone_from(&found.label);
            shown.uuid.clone_from(&found.uuid);
            match &state.opened {
                Some(Err(error)) => (failed(error), Some(error.to_string())),
                Some(Ok(info)) if !info.warnings.is_empty() => ("readable", Some(info.warnings.join("; "))),
                Some(Ok(_)) | None => ("readable", None),
            }
        }
        Content::Swap { label, uuid } => {
            shown.filesystem_type = Some("swap".to_owned());
            shown.label.clone_from(label);
            shown.uuid.clone_from(uuid);
            ("swap", None)
        }
        Content::Member(of) => ("member", Some(of.clone())),
        Content::Locked { kind, uuid, reason } => {
            shown.filesystem_type = Some((*kind).to_owned());
            shown.uuid.clone_from(uuid);
            ("locked", Some(reason.clone()))
        }
        Content::Refused(why) => ("refused", Some(why.clone())),
        Content::Damaged(why) => ("damaged", Some(why.clone())),
        Content::Unknown => ("unknown", None),
    };
    shown.state = word.to_owned();
    shown.detail = detail;
    shown
}

/// The state of a file system that can't be opened.
fn failed(error: &guestfs::Error) -> &'static str {
    match error {
        guestfs::Error::Corrupt { .. } | guestfs::Error::Io { .. } => "damaged",
        guestfs::Error::Encrypted(_) => "locked",
        _ => "refused",
    }
}
