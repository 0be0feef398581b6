//! A Windows: what tells its volume, and which volumes its registry gives drive letters.
//!
//! `SYSTEM\MountedDevices` has a value `\DosDevices\C:` for each letter. Its data is twelve bytes for a partition of an
//! MBR (the disk's signature, the first byte), `DMIO:ID:` and the partition's GUID for one of a GPT, and text for
//! anything else. `\??\Volume{GUID}` values name the same volumes for links.

use super::candidates::{Candidate, Claim, Rank};
use super::files::Files;
use super::registry::{Hive, Value};
use super::{MountPoint, System};
use crate::content::FileReader;
use crate::tree::volumes::{Volumes, refusal};
use crate::{Content, Partition, Result, Volume};
use std::collections::BTreeMap;
use std::sync::Arc;

const CONFIG: &str = "Windows/System32/config";
/// Of an NT 4 or 2000.
const OLD_CONFIG: &str = "WINNT/System32/config";

/// What a running system writes to.
const USED: [&str; 5] = ["SYSTEM", "SOFTWARE", "SYSTEM.LOG1", "SYSTEM.LOG2", "../../../pagefile.sys"];

/// Types of GPT partitions, and of an MBR, that never have a letter: EFI, Microsoft reserved, recovery.
const WITHOUT_LETTER: [&str; 5] = [
    "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
    "E3C9E316-0B5C-4DB8-817D-F92DF00215AE",
    "DE94BBA4-06D1-4D40-A16A-BFD50179D6AC",
    "0x27",
    "0xef",
];

/// The folder of the hives.
fn config(files: Files<'_>) -> Option<&'static str> {
    [CONFIG, OLD_CONFIG].into_iter().find(|config| files.is_folder(config))
}

/// The name and the rank of the Windows whose volume `files` are; `None` where there is none.
pub(super) fn judge(volume: &Volume, files: Files<'_>) -> Option<(Option<String>, Rank)> {
    let config = config(files);
    let hive = config.and_then(|config| files.is_file(&format!("{config}/SYSTEM")).then_some(config));
    if hive.is_none() && !(files.is_folder("Windows/System32") && files.is_folder("Program Files")) {
        return None;
    }
    let claim = match letters(files) {
        Ok(letters) if letters.all.iter().any(|letter| letter.is(volume)) => Claim::Itself,
        _ => Claim::Silent,
    };
    let name = name(files).ok();
    let used = USED.iter().filter_map(|file| files.modified(&format!("{}/{file}", config?))).max();
    Some((
        name.clone(),
        Rank { claim, named: name.is_some(), used: used.unwrap_or_default(), size: volume.size },
    ))
}

/// A hive of the system.
fn open(files: Files<'_>, name: &str) -> Result<Hive> {
    let node = files.find(&format!("{}/{name}", config(files).unwrap_or(CONFIG)))?;
    Hive::open(Arc::new(FileReader::new(Arc::clone(files.fs), node)?))
}

/// What the product is called.
fn name(files: Files<'_>) -> Result<String> {
    let hive = open(files, "SOFTWARE")?;
    let key = hive.key(r"Microsoft\Windows NT\CurrentVersion")?;
    let text = |name: &str| hive.value(&key, name).ok().and_then(|value| value.text());
    let name: String = hive.value(&key, "ProductName")?.text().unwrap_or_default();
    let name: String = name.chars().filter(|c| !c.is_control()).take(200).collect();
    // Windows 11 still calls itself 10 here; its builds begin with 22000.
    let build = text("CurrentBuildNumber").and_then(|build| build.trim().parse::<u32>().ok()).unwrap_or(0);
    Ok(match name.strip_prefix("Windows 10") {
        Some(edition) if build >= 22000 => format!("Windows 11{edition}"),
        _ => name,
    })
}

/// What a letter, or a name for links, stands for.
enum Target {
    /// A partition of an MBR: the signature of the disk, and the first byte.
    Mbr(u32, u64),
    /// A partition of a GPT: its GUID.
    Gpt(String),
}

/// A value of `MountedDevices`.
struct Letter {
    /// `C`, or `Volume{…}`.
    name: String,
    target: Target,
}

/// The values of `MountedDevices` that name partitions.
struct Letters {
    all: Vec<Letter>,
    /// Whether the registry's log may hold newer ones.
    dirty: bool,
}

impl Letter {
    /// Parses a value; `None` for a disc, a floppy, a dynamic disk, or another name.
    fn new(value: &Value) -> Option<Letter> {
        let upper = value.name.to_uppercase();
        let name = match upper.strip_prefix(r"\DOSDEVICES\") {
            Some(letter) => {
                letter.strip_suffix(':').filter(|l| l.len() == 1 && l.as_bytes()[0].is_ascii_uppercase())?
            }
            None => upper.strip_prefix(r"\??\VOLUME{").map(|_| &value.name[r"\??\".len()..])?,
        };
        let target = match value.data.len() {
            12 => Target::Mbr(
                u32::from_le_bytes(value.data[..4].try_into().ok()?),
                u64::from_le_bytes(value.data[4..].try_into().ok()?),
            ),
            24 => Target::Gpt(guid(value.data.strip_prefix(b"DMIO:ID:")?.try_into().ok()?)),
            _ => return None,
        };
        Some(Letter { name: name.to_owned(), target })
    }

    /// Whether it stands for this volume.
    fn is(&self, volume: &Volume) -> bool {
        let Some(Partition { uuid: Some(uuid), offset, .. }) = &volume.partition else { return false };
        match &self.target {
            Target::Mbr(signature, first) => {
                let disk = uuid.rsplit_once('-').map(|(disk, _)| disk);
                offset == first
                    && disk.is_some_and(|disk| disk.eq_ignore_ascii_case(&format!("{signature:08x}")))
            }
            Target::Gpt(guid) => uuid.eq_ignore_ascii_case(guid),
        }
    }
}

/// A GUID as it is stored: its first three numbers are little endian.
fn guid(bytes: [u8; 16]) -> String {
    let order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    let mut text = String::new();
    for (position, at) in order.into_iter().enumerate() {
        if [4, 6, 8, 10].contains(&position) {
            text.push('-');
        }
        text.push_str(&format!("{:02x}", bytes[at]));
    }
    text
}

fn letters(files: Files<'_>) -> Result<Letters> {
    let hive = open(files, "SYSTEM")?;
    let values = hive.values(&hive.key("MountedDevices")?)?;
    // One that is damaged is one that is not there: its volume then stands below `/@volumes`.
    let all = values.iter().flatten().filter_map(Letter::new).collect();
    Ok(Letters { all, dirty: hive.dirty() })
}

/// Puts volumes at their letters.
pub(super) fn place(volumes: &Arc<Volumes>, root: &Candidate, system: &mut System) {
    let list = volumes.list();
    let mut placed: BTreeMap<char, usize> = BTreeMap::new();
    let known = letters(root.files());
    match &known {
        Ok(letters) => {
            if letters.dirty {
                system
                    .notes
                    .push("the registry was not written to its end: drive letters may be older ones".into());
            }
            for letter in &letters.all {
                let [name] = letter.name.as_bytes() else { continue };
                let name = char::from(*name);
                let found: Vec<usize> = (0..list.len()).filter(|&at| letter.is(&list[at])).collect();
                match found[..] {
                    [] => {}
                    [only] if matches!(list[only].content, Content::FileSystem(_)) => {
                        placed.insert(name, only);
                    }
                    [only] => {
                        system.notes.push(format!(
                            "{name}: is {}: {}",
                            list[only].id,
                            refusal(&list[only].content)
                        ));
                    }
                    _ => system
                        .notes
                        .push(format!("{name}: is not placed: several partitions have its identity")),
                }
            }
        }
        Err(error) => {
            system.notes.push(format!("the registry could not be read, drive letters are guessed: {error}"))
        }
    }
    if !placed.values().any(|&at| at == root.volume) {
        if known.is_ok() {
            system.notes.push(format!("the registry has no letter for {}, its own volume", root.root.volume));
        }
        if let Some(letter) = free(&placed) {
            placed.insert(letter, root.volume);
        }
    }
    if known.is_err() {
        for (at, volume) in list.iter().enumerate() {
            let kind = match &volume.content {
                Content::FileSystem(recognised) => recognised.kind,
                _ => continue,
            };
            let hidden = volume
                .partition
                .as_ref()
                .is_some_and(|p| WITHOUT_LETTER.iter().any(|h| p.kind.eq_ignore_ascii_case(h)));
            if at == root.volume || hidden || !matches!(kind, "ntfs" | "vfat" | "exfat") {
                continue;
            }
            if let Some(letter) = free(&placed) {
                placed.insert(letter, at);
            }
        }
    }
    for (letter, at) in placed {
        system.mounts.push(MountPoint {
            path: format!("/{letter}").into_bytes(),
            volume: list[at].id.clone(),
            subvolume: super::top_subvolume(&list[at]),
            folder: Vec::new(),
            foreign: false,
        });
    }
    if let Ok(letters) = &known {
        let names = letters.all.iter().filter(|letter| letter.name.len() > 1);
        system.links = names
            .filter_map(|letter| {
                let volume = list.iter().find(|volume| letter.is(volume))?;
                Some((letter.name.clone().into_bytes(), volume.id.clone()))
            })
            .collect();
    }
}

/// The first letter from C on that nothing has.
fn free(placed: &BTreeMap<char, usize>) -> Option<char> {
    ('C'..='Z').find(|letter| !placed.contains_key(letter))
}
