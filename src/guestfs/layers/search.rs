//! The search through the layers: from candidates to volumes, and from collected members to further candidates.

use crate::Result;
use crate::device::{Device, Window};
use crate::layers::partitioned::{self, Entry, Found, Table};
use crate::layers::{LayerOptions, MAX_DEPTH, MAX_VOLUMES, luks, lvm, md, pool, probe};
use crate::volume::{Content, Disk, Partition, Volume};
use std::collections::HashSet;
use std::sync::Arc;

/// A range of bytes with a name, to be looked at.
pub struct Candidate {
    /// The id of the volume that it becomes.
    pub id: String,
    /// Its bytes.
    pub device: Device,
    /// How many layers it lies on.
    pub depth: usize,
    /// Whether it is a partition, of a disk or of something else.
    pub is_partition: bool,
    /// The entry, where it is a partition of a disk.
    pub partition: Option<Partition>,
    /// Group and name, where it is a logical volume.
    pub logical: Option<(String, String)>,
    /// The disk that it lies on, or the first one.
    pub disk: u32,
}

/// Types of partitions of which the table alone does not tell where their volumes are: by GPT GUID or MBR type.
const ELSEWHERE: &[(&str, &str)] = &[
    ("0x42", "a dynamic disk of Windows (LDM)"),
    ("5808C8AA-7E8F-42E0-85D2-E1E90434CFB3", "the database of a dynamic disk of Windows (LDM)"),
    ("AF9B60A0-1431-4F62-BC68-3311714A69AD", "a dynamic disk of Windows (LDM)"),
    ("E75CAF8F-F680-4CEE-AFA3-B001E56EFC2D", "a pool of Windows Storage Spaces"),
];

/// Containers whose headers are read: each is megabytes of text, and costs seconds where keys are tried on it.
const MAX_CONTAINERS: usize = 64;
/// Unknown candidates in which a second header of LUKS2 is looked for.
const MAX_SECOND_LOOKS: usize = 64;
/// Members of arrays, and physical volumes, that are put together.
const MAX_PARTS: usize = 512;
/// Groups that are put together.
const MAX_GROUPS: usize = 128;

/// One search through all disks of a point.
pub struct Search<'a> {
    options: &'a LayerOptions,
    volumes: Vec<Volume>,
    /// Members of arrays, as they were met.
    members: Vec<md::Member>,
    /// Physical volumes, as they were met.
    physical: Vec<lvm::Physical>,
    /// Arrays and groups that were put together already, by their identities.
    arrays: HashSet<md::Identity>,
    groups: HashSet<String>,
    /// Candidates that were looked at.
    looks: usize,
    /// Containers that were met.
    containers: usize,
    /// Unknown candidates in which a second header was looked for.
    second_looks: usize,
    /// Bytes of LVM metadata that may still be read.
    text: u64,
}

/// How much was found before something was tried.
struct Mark {
    volumes: usize,
    members: usize,
    physical: usize,
}

impl<'a> Search<'a> {
    /// Nothing looked at yet.
    pub fn new(options: &'a LayerOptions) -> Self {
        Search {
            options,
            volumes: Vec::new(),
            members: Vec::new(),
            physical: Vec::new(),
            arrays: HashSet::new(),
            groups: HashSet::new(),
            looks: 0,
            containers: 0,
            second_looks: 0,
            text: lvm::MAX_TEXTS,
        }
    }

    /// Looks at all disks, and at all that comes of them.
    pub fn run(mut self, disks: &[Disk]) -> Vec<Volume> {
        for disk in disks {
            self.look(Candidate {
                id: format!("disk{}", disk.index),
                device: disk.device.clone(),
                depth: 0,
                is_partition: false,
                partition: None,
                logical: None,
                disk: disk.index,
            });
        }
        // What is whole first: what is missing may still come out of another layer. Each round puts at least one
        // array or group together, and there are at most as many as members.
        while self.assemble(true) || self.assemble(false) {}
        pool::join(&mut self.volumes);
        self.volumes
    }

    /// Puts an array or a group together: only one without a missing part where `whole`. Tells whether there was one.
    fn assemble(&mut self, whole: bool) -> bool {
        // What is found in it is collected anew, and joins the others afterwards.
        let members = std::mem::take(&mut self.members);
        let arrays = md::arrays(&members);
        let array = arrays
            .iter()
            .find(|array| !self.arrays.contains(&array.identity) && (!whole || array.is_whole()));
        if let Some(array) = array {
            self.arrays.insert(array.identity);
            self.array(array);
        }
        let mut progress = array.is_some();
        self.members.splice(0..0, members);
        if progress {
            return true;
        }
        let physical = std::mem::take(&mut self.physical);
        let groups = lvm::groups(&physical);
        let group =
            groups.iter().find(|group| !self.groups.contains(&group.uuid) && (!whole || group.is_whole()));
        if let Some(group) = group.filter(|_| self.groups.len() < MAX_GROUPS) {
            self.groups.insert(group.uuid.clone());
            let shared = groups.iter().any(|other| other.name == group.name && other.uuid != group.uuid);
            self.group(group, shared);
            progress = true;
        }
        self.physical.splice(0..0, physical);
        progress
    }

    /// Adds a volume; beyond the bound, nothing is added.
    fn add(&mut self, volume: Volume) {
        if self.volumes.len() < MAX_VOLUMES {
            self.volumes.push(volume);
        }
    }

    /// Adds the volume that a candidate is.
    fn settle(&mut self, candidate: &Candidate, content: Content) {
        self.add(volume_of(candidate, content));
    }

    /// Looks at a candidate, and adds it and whatever comes of it.
    fn look(&mut self, candidate: Candidate) {
        self.looks += 1;
        if self.volumes.len() >= MAX_VOLUMES || self.looks > 4 * MAX_VOLUMES {
            return;
        }
        if candidate.depth > MAX_DEPTH {
            return self.settle(&candidate, Content::Refused(format!("more than {MAX_DEPTH} layers")));
        }
        if let Err(error) = self.examine(&candidate) {
            self.settle(&candidate, Content::Damaged(error.to_string()));
        }
    }

    fn examine(&mut self, candidate: &Candidate) -> Result<()> {
        let device = candidate.device.as_ref();
        let found = partitioned::read(device)?;
        // A superblock near the end of a disk may be that of the last partition.
        let superblock = md::find(device)?.filter(|found_there| {
            let Found::Table(table, _) = &found else { return true };
            !found_there.at_end || !table.entries.iter().any(|entry| contains(entry, found_there.offset))
        });
        if let Some(superblock) = superblock {
            match superblock.kind {
                md::Kind::Native(_) if self.members.len() >= MAX_PARTS => {
                    let what = format!("one of more than {MAX_PARTS} members of md arrays");
                    self.settle(candidate, Content::Refused(what));
                }
                md::Kind::Native(superblock) => {
                    self.settle(candidate, Content::Member("a member of an md array".into()));
                    self.members.push(md::Member {
                        id: candidate.id.clone(),
                        device: candidate.device.clone(),
                        depth: candidate.depth,
                        disk: candidate.disk,
                        superblock: *superblock,
                    });
                }
                md::Kind::Foreign(name) => self.settle(candidate, Content::Refused(name.to_owned())),
                md::Kind::Damaged(reason) => self.settle(candidate, Content::Damaged(reason)),
            }
            return Ok(());
        }
        if luks::begins(device)? {
            self.containers += 1;
            if self.containers > MAX_CONTAINERS {
                let what = format!("one of more than {MAX_CONTAINERS} LUKS containers");
                self.settle(candidate, Content::Refused(what));
            } else {
                let container = luks::read(device)?;
                self.container(candidate, &container);
            }
            return Ok(());
        }
        if candidate.is_partition {
            return self.partition(candidate, found);
        }
        match found {
            Found::Table(table, large) if !table.doubtful => {
                self.partitioned(candidate, &table, large.as_ref())
            }
            Found::Table(table, large) => {
                if !self.whole(candidate)? {
                    return self.partitioned(candidate, &table, large.as_ref());
                }
                Ok(())
            }
            Found::Refused(name) => {
                // Images of optical disks have a partition map of Apple's beside their own file system.
                if !self.whole(candidate)? {
                    self.settle(candidate, Content::Refused(name.into()));
                }
                Ok(())
            }
            Found::Damaged(reason) => {
                if !self.whole(candidate)? {
                    self.settle(candidate, Content::Damaged(reason));
                }
                Ok(())
            }
            Found::Nothing => {
                if !self.whole(candidate)? {
                    return self.unknown(candidate);
                }
                Ok(())
            }
        }
    }

    /// A partition: its content counts before a table in it, because the boot sectors of file systems look like one.
    fn partition(&mut self, candidate: &Candidate, found: Found) -> Result<()> {
        if self.whole(candidate)? {
            return Ok(());
        }
        match found {
            Found::Table(table, large) if !table.doubtful => {
                return self.partitioned(candidate, &table, large.as_ref());
            }
            Found::Refused(name) => self.settle(candidate, Content::Refused(name.into())),
            // A partition with a damaged table inside is no likelier than one that holds something unknown.
            _ => return self.unknown(candidate),
        }
        Ok(())
    }

    /// A candidate that is not divided: a physical volume or some content. False, and nothing added, where nothing is
    /// known of it.
    fn whole(&mut self, candidate: &Candidate) -> Result<bool> {
        if let Some(label) = lvm::read(candidate.device.as_ref(), &mut self.text)? {
            match label {
                Ok(_) if self.physical.len() >= MAX_PARTS => {
                    let what = format!("one of more than {MAX_PARTS} physical volumes of LVM");
                    self.settle(candidate, Content::Refused(what));
                }
                Ok(label) => {
                    let what = match &label.damaged {
                        Some(reason) if label.groups.is_empty() => {
                            format!("a physical volume of LVM: {reason}")
                        }
                        _ => "a physical volume of LVM".into(),
                    };
                    self.settle(candidate, Content::Member(what));
                    self.physical.push(lvm::Physical {
                        id: candidate.id.clone(),
                        device: candidate.device.clone(),
                        depth: candidate.depth,
                        disk: candidate.disk,
                        label,
                    });
                }
                Err(reason) => self.settle(candidate, Content::Damaged(reason)),
            }
            return Ok(true);
        }
        match probe::content(candidate.device.as_ref())? {
            Content::Unknown => Ok(false),
            content => {
                self.settle(candidate, content);
                Ok(true)
            }
        }
    }

    /// A candidate of which nothing is known: the second header of a LUKS2 container may be all that is left of it.
    fn unknown(&mut self, candidate: &Candidate) -> Result<()> {
        self.second_looks += 1;
        if self.second_looks <= MAX_SECOND_LOOKS
            && let Some(container) = luks::read_second(candidate.device.as_ref())?
        {
            self.container(candidate, &container);
        } else {
            self.settle(candidate, Content::Unknown);
        }
        Ok(())
    }

    /// A candidate with a partition table. What its partitions hold counts; where they hold nothing that is known, the
    /// candidate is looked at as a whole too, because tables are left over where whole disks were formatted.
    fn partitioned(&mut self, candidate: &Candidate, table: &Table, large: Option<&Table>) -> Result<()> {
        let mark = self.mark();
        let mut known = self.entries(candidate, table);
        if !known && let Some(large) = large {
            self.back_to(&mark);
            known = self.entries(candidate, large);
            if !known {
                self.back_to(&mark);
                self.entries(candidate, table);
            }
        }
        let content = match probe::content(candidate.device.as_ref())? {
            Content::FileSystem(recognised) if !known || recognised.kind == "iso9660" => {
                // These begin with a boot sector, whose code only looks like a table.
                if !known && matches!(recognised.kind, "vfat" | "exfat" | "ntfs") {
                    self.back_to(&mark);
                }
                Content::FileSystem(recognised)
            }
            _ if candidate.depth > 0 || table.entries.is_empty() => {
                Content::Member(format!("divided by a partition table ({})", table.kind))
            }
            _ => return Ok(()),
        };
        let at = mark.volumes.min(self.volumes.len());
        self.volumes.insert(at, volume_of(candidate, content));
        Ok(())
    }

    /// Looks at all partitions of a table, and tells whether something is known of at least one.
    fn entries(&mut self, candidate: &Candidate, table: &Table) -> bool {
        let mark = self.mark();
        for entry in &table.entries {
            let device = match entry.wrong {
                Some(_) => None,
                None => {
                    Some(Arc::new(Window::new(candidate.device.clone(), entry.offset, entry.size)) as Device)
                }
            };
            let of_a_disk = Partition {
                disk: candidate.disk,
                number: entry.number,
                offset: entry.offset,
                kind: entry.kind.clone(),
                name: entry.name.clone(),
                uuid: entry.uuid.clone(),
            };
            let part = Candidate {
                id: format!("{}/part{}", candidate.id, entry.number),
                device: device.unwrap_or_else(|| Arc::new(crate::MemoryDevice(Vec::new()))),
                depth: candidate.depth + 1,
                is_partition: true,
                // What lies in something else is no `sda1`.
                partition: (candidate.depth == 0).then_some(of_a_disk),
                logical: None,
                disk: candidate.disk,
            };
            match &entry.wrong {
                None => match ELSEWHERE.iter().find(|(kind, _)| *kind == entry.kind) {
                    Some((_, name)) => self.settle(&part, Content::Refused((*name).to_owned())),
                    None => self.look(part),
                },
                Some(reason) => {
                    let mut volume = volume_of(&part, Content::Damaged(reason.clone()));
                    volume.size = entry.size;
                    volume.devices = Vec::new();
                    self.add(volume);
                }
            }
        }
        self.volumes[mark.volumes..]
            .iter()
            .any(|volume| !matches!(volume.content, Content::Unknown | Content::Damaged(_)))
    }

    fn mark(&self) -> Mark {
        Mark { volumes: self.volumes.len(), members: self.members.len(), physical: self.physical.len() }
    }

    fn back_to(&mut self, mark: &Mark) {
        self.volumes.truncate(mark.volumes);
        self.members.truncate(mark.members);
        self.physical.truncate(mark.physical);
    }

    /// A LUKS container: opened where a key fits, and looked into.
    fn container(&mut self, candidate: &Candidate, container: &luks::Container) {
        let kind = container.kind();
        let uuid = container.uuid();
        match container.unlock(&candidate.device, &self.options.keys) {
            Ok(device) => {
                self.settle(candidate, Content::Member(format!("an opened {kind} container")));
                self.look(Candidate {
                    id: format!("{}/luks", candidate.id),
                    device,
                    depth: candidate.depth + 1,
                    is_partition: false,
                    partition: None,
                    logical: None,
                    disk: candidate.disk,
                });
            }
            Err(reason) => self.settle(candidate, Content::Locked { kind, uuid, reason }),
        }
    }

    /// Puts an array together, and looks at it.
    fn array(&mut self, array: &md::Array<'_>) {
        let id = format!("md/{}", array.short_id());
        let id = self.unused(id, || array.long_id());
        for (member, what) in array.describe() {
            self.say(&member, what);
        }
        match array.open() {
            Ok(device) => self.look(Candidate {
                id,
                device,
                depth: array.depth() + 1,
                is_partition: false,
                partition: None,
                logical: None,
                disk: array.disk(),
            }),
            Err(reason) => self.add(Volume {
                id,
                size: array.size(),
                partition: None,
                logical: None,
                content: reason,
                devices: Vec::new(),
            }),
        }
    }

    /// Puts a group's logical volumes together, and looks at each. `shared` tells that another group has its name.
    fn group(&mut self, group: &lvm::Group<'_>, shared: bool) {
        for (member, what) in group.describe() {
            self.say(&member, what);
        }
        let prefix = match shared {
            true => format!("lvm/{}@{}", group.name, group.uuid.chars().take(8).collect::<String>()),
            false => format!("lvm/{}", group.name),
        };
        for logical in group.volumes() {
            let id = self.unused(format!("{prefix}/{}", logical.name), || {
                format!("lvm/{}@{}/{}", group.name, group.uuid, logical.name)
            });
            let names = Some((group.name.clone(), logical.name.clone()));
            match logical.device {
                Ok(device) => self.look(Candidate {
                    id,
                    device,
                    depth: group.depth() + 1,
                    is_partition: false,
                    partition: None,
                    logical: names,
                    disk: group.disk(),
                }),
                Err(content) => self.add(Volume {
                    id,
                    size: logical.size,
                    partition: None,
                    logical: names,
                    content,
                    devices: Vec::new(),
                }),
            }
        }
    }

    /// `id`, or the longer one where a volume has that already.
    fn unused(&self, id: String, longer: impl FnOnce() -> String) -> String {
        if self.volumes.iter().any(|volume| volume.id == id) { longer() } else { id }
    }

    /// Says more of a member that is listed already.
    fn say(&mut self, id: &str, what: String) {
        if let Some(volume) = self.volumes.iter_mut().find(|volume| volume.id == id)
            && matches!(volume.content, Content::Member(_))
        {
            volume.content = Content::Member(what);
        }
    }
}

fn volume_of(candidate: &Candidate, content: Content) -> Volume {
    Volume {
        id: candidate.id.clone(),
        size: candidate.device.size(),
        partition: candidate.partition.clone(),
        logical: candidate.logical.clone(),
        content,
        devices: vec![candidate.device.clone()],
    }
}

fn contains(entry: &Entry, offset: u64) -> bool {
    offset >= entry.offset && offset - entry.offset < entry.size
}
