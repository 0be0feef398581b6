//! A Windows on NTFS whose hives hivex wrote.

use super::hives::hivexsh;
use super::{inventory, mounts, paths};
use crate::fixture::{can_mount, sh};
use guestfs::OpenOptions;
use guestfs::system::SystemKind;
use guestfs::tree::{Follow, Tree};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

const MAKE: &str = r#"
cd "$1"
truncate -s 160M disk0
printf 'label: gpt
start=2048,size=32M,type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B
size=48M,type=EBD0A0A2-B9E5-4433-87C0-68B6B72699C7,uuid=01020304-0506-0708-090A-0B0C0D0E0F10
size=24M,type=EBD0A0A2-B9E5-4433-87C0-68B6B72699C7,uuid=A1A2A3A4-0506-0708-090A-0B0C0D0E0F10
size=24M,type=DE94BBA4-06D1-4D40-A16A-BFD50179D6AC
' | sfdisk -q disk0
truncate -s 32M efi; mkfs.vfat efi >/dev/null
for part in c:48 data:24 recovery:24; do
    truncate -s "${part#*:}M" "${part%:*}"; mkntfs -q -F -Q "${part%:*}" >/dev/null 2>&1
done
mkdir -p c.mnt data.mnt
"#;

/// A volume that ntfs-3g serves; when this is dropped, all of it is written.
struct Served {
    process: Child,
    at: PathBuf,
}

impl Served {
    fn new(image: &Path) -> Self {
        let at = image.with_extension("mnt");
        let outside = fs::metadata(&at).unwrap().dev();
        let process = Command::new("ntfs-3g").args(["-o", "no_detach"]).arg(image).arg(&at).spawn().unwrap();
        let served = Served { process, at };
        let since = Instant::now();
        while fs::metadata(&served.at).map_or(outside, |at| at.dev()) == outside {
            assert!(since.elapsed() < Duration::from_secs(20), "ntfs-3g does not come up");
            std::thread::sleep(Duration::from_millis(10));
        }
        served
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.at).status();
        let _ = self.process.wait();
    }
}

/// A junction, as Windows stores it in a reparse point.
fn junction(target: &str) -> String {
    let name: Vec<u8> = target.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut data = Vec::new();
    for field in [0, name.len(), name.len() + 2, 0] {
        data.extend((field as u16).to_le_bytes());
    }
    data.extend(&name);
    data.extend([0; 4]);
    let mut point = 0xa000_0003u32.to_le_bytes().to_vec();
    point.extend((data.len() as u16).to_le_bytes());
    point.extend([0, 0]);
    point.extend(data);
    point.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_windows_stands_at_the_letters_of_its_registry() {
    if !can_mount(&["sfdisk", "mkfs.vfat", "mkntfs", "ntfs-3g", "hivexsh", "setfattr"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("make.sh"), format!("set -eu\n{MAKE}")).unwrap();
    sh(&format!("bash '{}' '{}'", at("make.sh").display(), folder.path().display()));
    let mounted = [Served::new(&at("c")), Served::new(&at("data"))];
    let c = at("c.mnt");
    for name in ["Windows/System32/config", "Program Files", "Users/me/Documents", "Documents and Settings"] {
        fs::create_dir_all(c.join(name)).unwrap();
    }
    fs::write(c.join("Users/me/Documents/letter.txt"), "Dear all").unwrap();
    let sets = |first: &str| {
        let id = "44,4d,49,4f,3a,49,44,3a";
        format!("hex:3:{id},{first},06,05,08,07,09,0a,0b,0c,0d,0e,0f,10")
    };
    let (system, data) = (sets("04,03,02,01"), sets("a4,a3,a2,a1"));
    hivexsh(
        &at("SYSTEM"),
        &format!(
            "add MountedDevices\ncd MountedDevices\nsetval 3\n\\DosDevices\\C:\n{system}\n\\DosDevices\\Q:\n{data}\n\\??\\Volume{{77}}\n{data}"
        ),
    );
    hivexsh(
        &at("SOFTWARE"),
        "add Microsoft\ncd Microsoft\nadd Windows NT\ncd Windows NT\nadd CurrentVersion\ncd CurrentVersion\nsetval 2\n\
         ProductName\nstring:Windows Server 2022 Standard\nCurrentBuildNumber\nstring:20348",
    );
    for hive in ["SYSTEM", "SOFTWARE"] {
        fs::copy(at(hive), c.join("Windows/System32/config").join(hive)).unwrap();
    }
    fs::create_dir_all(at("data.mnt").join("away")).unwrap();
    fs::create_dir_all(c.join("mounted")).unwrap();
    fs::write(at("data.mnt").join("report"), "42").unwrap();
    for (path, target) in [
        ("c.mnt/Documents and Settings", r"\??\C:\Users"),
        ("data.mnt/away", r"\??\C:\Users\me"),
        ("c.mnt/mounted", r"\??\Volume{77}\"),
    ] {
        let point = junction(target);
        sh(&format!("setfattr -h -n system.ntfs_reparse_data -v 0x{point} '{}'", at(path).display()));
    }
    drop(mounted);
    sh(&format!(
        "cd '{}'; at=1; for part in efi c data recovery; do dd if=$part of=disk0 bs=1M seek=$at conv=notrunc,sparse \
         status=none; at=$((at + $(stat -c %s $part) / 1048576)); done",
        folder.path().display()
    ));
    let tree = Tree::open(inventory(&[&at("disk0")]), OpenOptions::default());
    let system = tree.system();
    assert_eq!(system.kind, SystemKind::Windows, "{system:?}");
    assert_eq!(system.name.as_deref(), Some("Windows Server 2022 Standard"));
    assert_eq!(system.notes, [] as [&str; 0]);
    assert_eq!(
        mounts(&tree),
        [
            "/C disk0/part2",
            "/Q disk0/part3",
            "/@volumes/disk0/part1 disk0/part1",
            "/@volumes/disk0/part4 disk0/part4",
        ]
    );
    for (path, expected) in [
        ("/c/documents AND settings/me/documents/LETTER.TXT", "/C/Users/me/documents/LETTER.TXT"),
        ("/q/away/Documents", "/C/Users/me/Documents"),
        ("/C/mounted/report", "/Volume{77}/report"),
        ("/C/../../Q/report", "/Q/report"),
    ] {
        let found = tree.resolve(path.as_bytes(), Follow::All);
        let found =
            found.map_or_else(|error| error.to_string(), |found| String::from_utf8(found.path).unwrap());
        assert_eq!(found, expected, "{path}");
    }
    let all = paths(&tree);
    assert!(
        all.contains(&"/C/Users/me/Documents/letter.txt".to_owned()) && all.contains(&"/Q/report".to_owned())
    );
    let letter = tree.resolve(b"/C/Users/me/Documents/letter.txt", Follow::All).unwrap().node;
    let mut content = [0; 20];
    let length = tree.read_at(letter, 0, &mut content).unwrap();
    assert_eq!(&content[..length], b"Dear all");
}
