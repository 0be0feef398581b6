//! The files inside of a restore point over the wire: restore sessions ("mounts"), volumes, folders and files.
//!
//! Guest paths are bytes. A field that shows one is text, lossy where the bytes are no UTF-8, and beside it stands
//! the same in Base64 (`…_b64`), which is exact. A query takes either: `path` as text, or `path_b64`.

use crate::schema;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use model::{BackupId, MountKind, VmName};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// The longest that a client may be silent before what it has open is closed, where it wants that at all, in seconds.
pub const MAX_CLIENT_SECONDS: u64 = 86_400;
/// How long what a client has open stays when nothing is heard of it, in seconds, as the program's own commands want it.
pub const CLIENT_SECONDS: u64 = 120;
/// How long a session stays open that nobody uses, in seconds, where nothing is said.
pub const DEFAULT_IDLE_SECONDS: u64 = 3600;

/// `POST /restore/mount`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MountBackup {
    /// Which point; left out for all points of `vm_name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::BackupId>)]
    pub backup_id: Option<BackupId>,
    /// Instead of a point: the VM all of whose points are shown at `path`, each in a folder of its time, opened when
    /// somebody enters it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::VmName>)]
    pub vm_name: Option<VmName>,
    /// How it is opened: there is no other way than this.
    #[serde(default)]
    pub mode: MountMode,
    /// Only this disk of the point; all of them where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_id: Option<u32>,
    /// Only this volume, by its id, with its root folder as the root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
    /// Where to mount it, an absolute path on the hub's machine: an empty folder, or one that does not exist yet, whose
    /// parent does. No mount, but a session for the routes of this API, where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Let other users into the mount, as far as the guest's permissions let them.
    #[serde(default)]
    pub allow_other: bool,
    /// Let the kernel's own file system serve `path`, from a device, instead of this program. Needs root.
    #[serde(default)]
    pub kernel: bool,
    /// Closed after so many seconds without use: 3600 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub idle_timeout_seconds: Option<u64>,
    /// For a client that may vanish: closed when nobody uses it and that client has asked nothing about it
    /// (`GET /restore/{mount_id}`) for so many seconds. No such limit unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 86_400)]
    pub client_timeout_seconds: Option<u64>,
    /// Serve volumes whose journal is dirty and can't be replayed as they lie on the disk, with a warning.
    #[serde(default)]
    pub ignore_journal: bool,
    /// Passphrases and contents of key files for encrypted volumes, in Base64; each is tried on every one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys_b64: Vec<String>,
}

impl MountBackup {
    /// All points of a VM, mounted at `path`.
    pub fn all(vm_name: VmName, path: String) -> Self {
        MountBackup { vm_name: Some(vm_name), path: Some(path), ..MountBackup::new(None) }
    }

    /// All disks of a point, with everything optional left out.
    pub fn of(backup_id: BackupId) -> Self {
        MountBackup::new(Some(backup_id))
    }

    fn new(backup_id: Option<BackupId>) -> Self {
        MountBackup {
            backup_id,
            vm_name: None,
            mode: MountMode::default(),
            disk_id: None,
            volume: None,
            path: None,
            allow_other: false,
            kernel: false,
            idle_timeout_seconds: None,
            client_timeout_seconds: None,
            ignore_journal: false,
            keys_b64: Vec::new(),
        }
    }
}

/// How a point is opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub enum MountMode {
    /// Nothing is ever written to it.
    #[default]
    #[serde(rename = "read-only")]
    ReadOnly,
}

/// An open restore session. Sizes in bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Mount {
    /// Its id: `mount-` or `export-`, and a UUID.
    pub mount_id: String,
    /// `session`, `fuse`, `kernel` or `export`.
    #[schema(value_type = String)]
    pub kind: MountKind,
    /// The point; none where all points of the VM are shown.
    #[schema(value_type = Option<schema::BackupId>)]
    pub backup_id: Option<BackupId>,
    /// The VM.
    #[schema(value_type = schema::VmName)]
    pub vm_name: VmName,
    /// Where it is mounted, if anywhere.
    pub mount_path: Option<String>,
    /// The kernel's device, where the kernel mounted it.
    pub nbd_device: Option<String>,
    /// Where it is served, if it is an export.
    #[serde(default)]
    pub nbd_uri: Option<String>,
    /// The root file system's type.
    pub filesystem_type: Option<String>,
    /// What the guest calls itself: `Debian GNU/Linux 12 (bookworm)`.
    pub system: Option<String>,
    /// What was found on the disks.
    pub volumes: Vec<VolumeView>,
    /// What a person must know who looks at any file of it.
    pub warnings: Vec<String>,
    /// Why a volume does not stand where one might expect it.
    pub notes: Vec<String>,
    /// `mounted`; `unmounting` where it is out of sight and somebody still has something of it open, `ending` where that
    /// was not to count; `dead` where its
    /// process is gone, until the next command cleans it up.
    pub status: String,
    /// The machine that serves it.
    pub host: String,
    /// The process that serves it.
    pub pid: u32,
    /// It is closed after so many seconds without use.
    pub idle_seconds: u64,
    /// When it was opened.
    pub created_at: Timestamp,
    /// When it was last used, as far as its process has told.
    pub used_at: Timestamp,
    /// When it closes, if nobody uses it until then.
    pub expires_at: Timestamp,
}

/// A volume of a point. Sizes in bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct VolumeView {
    /// `disk0/part1`, `lvm/vg/lv` and the like; the same each time.
    pub id: String,
    /// The file system, `swap`, or what else it is.
    pub filesystem_type: Option<String>,
    /// Label.
    pub label: Option<String>,
    /// UUID.
    pub uuid: Option<String>,
    /// Size.
    pub size_bytes: u64,
    /// The partition's name and type, where it is one.
    pub partition: Option<String>,
    /// Where it stands in the session's tree; none where it has no files that can be read.
    pub mount_point: Option<String>,
    /// `readable`, `swap`, `member`, `locked`, `refused`, `damaged` or `unknown`.
    pub state: String,
    /// Why it can't be read, or what must be known of it.
    pub detail: Option<String>,
}

/// `GET /restore/mounts`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MountList {
    /// A page of them, newest first.
    pub mounts: Vec<Mount>,
    /// How many there are.
    pub total: u64,
}

/// `DELETE /restore/{mount_id}`: how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UnmountQuery {
    /// Also where somebody uses it: takes it out of sight, and goes on serving what is open until it is closed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lazy: Option<bool>,
    /// Also where somebody uses it: what is open can't be read any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub force: Option<bool>,
}

/// `DELETE /restore/{mount_id}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Unmounted {
    /// For a person.
    pub message: String,
    /// Which.
    pub mount_id: String,
}

/// A path of the guest, as text or exactly.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PathQuery {
    /// As text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// In Base64, where it is no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_b64: Option<String>,
    /// Of `file-info`: a link's own data, not those of what it leads to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_follow: Option<bool>,
}

impl PathQuery {
    /// The query for exactly these bytes.
    pub fn of(path: &[u8]) -> Self {
        match std::str::from_utf8(path) {
            Ok(text) => PathQuery { path: Some(text.to_owned()), ..PathQuery::default() },
            Err(_) => PathQuery { path_b64: Some(STANDARD.encode(path)), ..PathQuery::default() },
        }
    }
}

/// `GET /restore/{mount_id}/files`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct FilesQuery {
    /// The folder, as text: the root where left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The folder in Base64, where its path is no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_b64: Option<String>,
    /// Everything below it too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recursive: Option<bool>,
    /// With extended attributes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xattrs: Option<bool>,
    /// Whether all of them are counted: true unless given. To count what is below a folder, or matches a pattern, takes a
    /// walk to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<bool>,
    /// How many at most: 100 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(maximum = 1000)]
    pub limit: Option<u32>,
    /// How many to skip.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(maximum = 1_000_000_000_000_u64)]
    pub offset: Option<u64>,
}

/// A page of a folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FileList {
    /// In the order of their names' bytes; with `recursive`, a folder before what is in it.
    pub files: Vec<FileEntry>,
    /// How many there are without `limit` and `offset`; those that can't be read are among them. Where they are not counted,
    /// how many are known.
    pub total_count: u64,
    /// Whether there is something behind this page.
    pub more: bool,
    /// What can't be read of this part of the listing, with why.
    pub errors: Vec<FileError>,
    /// What a person must know of these files.
    pub warnings: Vec<String>,
}

/// Something that can't be read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FileError {
    /// Where.
    pub path: String,
    /// Why.
    pub error: String,
}

/// A file or folder. Sizes in bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FileEntry {
    /// The last component.
    pub name: String,
    /// The whole path.
    pub path: String,
    /// The whole path, exactly, in Base64.
    pub path_b64: String,
    /// Size.
    pub size: u64,
    /// What is allocated for it.
    pub allocated_bytes: u64,
    /// Whether it is a folder.
    pub is_directory: bool,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: FileType,
    /// Last change of the content.
    pub modified_time: String,
    /// Last access.
    pub accessed_time: String,
    /// Last change of the inode.
    pub changed_time: String,
    /// Creation, where it is stored.
    pub created_time: Option<String>,
    /// As `ls` shows them: `-rw-r--r--`.
    pub permissions: String,
    /// The permission bits, in octal: `0644`.
    pub mode: String,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// How many names it has.
    pub links: u64,
    /// The same for two names of one file of this session, and for no others.
    pub node: String,
    /// Where a symbolic link leads to.
    pub link_target: Option<String>,
    /// The same, exactly, in Base64.
    pub link_target_b64: Option<String>,
    /// Major and minor number of a device node.
    pub device: Option<(u32, u32)>,
    /// Extended attributes, where they were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub xattrs: Vec<XattrView>,
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileType {
    /// A regular file.
    File,
    /// A folder.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

/// An extended attribute.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct XattrView {
    /// The whole name.
    pub name: String,
    /// The value in Base64.
    pub value_b64: String,
}

/// `GET /restore/{mount_id}/file-info`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FileInfo {
    /// The file, with its extended attributes.
    pub file: FileEntry,
    /// The volume that it is on.
    pub volume: Option<String>,
    /// The parts of a regular file that hold data, as (offset, length); what is between is zeros. At most the first
    /// 10,000: where there are more, the last one reaches to the end of the file.
    pub data: Vec<(u64, u64)>,
    /// What a person must know of it.
    pub warnings: Vec<String>,
}

/// `GET /restore/resources`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Resources {
    /// What is open in all processes of this hub's state folder.
    pub active_mounts: u64,
    /// What is open in this process.
    pub own_mounts: u64,
    /// How many there may be in one process.
    pub max_mounts: u64,
    /// Memory that the processes use which serve something, on this machine, in bytes.
    pub memory_bytes: u64,
    /// Kernel devices in use.
    pub nbd_devices: Vec<String>,
}

/// `GET /restore/cleanup-status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CleanupStatus {
    /// Whether idle sessions are closed by themselves.
    pub running: bool,
    /// How many are open, in all processes.
    pub active_mounts: u64,
    /// How many have a process that is gone, and wait for the next start to be cleaned up.
    pub dead_mounts: u64,
    /// How many have been closed because nobody used them, since this hub started.
    pub expired_total: u64,
    /// When the next one closes, if nobody uses it.
    pub next_expiry: Option<Timestamp>,
}

/// Bytes in Base64.
pub fn to_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The bytes of a Base64 text.
///
/// # Errors
/// Where it is none.
pub fn from_base64(text: &str) -> Result<Vec<u8>, base64::DecodeError> {
    STANDARD.decode(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_goes_over_the_wire_exactly() {
        assert_eq!(PathQuery::of(b"/etc/fstab").path.as_deref(), Some("/etc/fstab"));
        let odd = PathQuery::of(b"/\xff");
        assert_eq!((odd.path, from_base64(&odd.path_b64.unwrap()).unwrap()), (None, b"/\xff".to_vec()));
    }

    #[test]
    fn the_contracts_request_is_understood() {
        let request: MountBackup = serde_json::from_str(
            r#"{"backup_id":"backup-a-1","mode":"read-only","path":null,"disk_id":null,"idle_timeout_seconds":3600}"#,
        )
        .unwrap();
        assert_eq!(request.idle_timeout_seconds, Some(3600));
        assert!(
            serde_json::from_str::<MountBackup>(r#"{"backup_id":"backup-a-1","mode":"read-write"}"#).is_err()
        );
    }
}
