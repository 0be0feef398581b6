//! What is known of a tree: as `list.py` records a mount or a folder, and as the program's JSON lists a point.

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// All that is in a tree, by exact path; the top is `/`.
pub type Entries = BTreeMap<Vec<u8>, Entry>;

/// What is known of one of them. Times are nanoseconds since 1970.
#[derive(Debug, Clone, Default)]
pub struct Entry {
    pub kind: String,
    pub mode: u64,
    pub owner: (u64, u64),
    pub size: u64,
    pub links: u64,
    /// The same for two names of one file.
    pub group: String,
    pub modified: i128,
    pub changed: i128,
    pub accessed: i128,
    /// Whether `modified` and `changed` are only the time of the look; only recorded.
    pub shown_now: bool,
    /// A link's target, in Base64.
    pub target: Option<String>,
    pub device: Option<(u64, u64)>,
    /// Name to digest of the value; only recorded.
    pub xattrs: BTreeMap<String, Value>,
    /// Digest of a file's content; only recorded.
    pub content: Option<String>,
    pub allocated: u64,
    /// Why it could not be read.
    pub error: Option<String>,
}

/// Lists a folder with `list.py`.
pub fn of_folder(folder: &Path) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/list.py");
    let done = Command::new(script).arg(folder).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

fn bytes(base64: &Value) -> Vec<u8> {
    api::from_base64(base64.as_str().unwrap()).unwrap()
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn device(value: &Value) -> Option<(u64, u64)> {
    value.as_array().map(|pair| (number(&pair[0]), number(&pair[1])))
}

/// Adds an entry. A name that a folder has twice (as a file system without a journal may, when it was copied under load)
/// has a NUL and a word at the end the second time.
fn add(all: &mut Entries, mut path: Vec<u8>, entry: Entry) {
    while all.contains_key(&path) {
        path.extend(b"\0again");
    }
    all.insert(path, entry);
}

/// The lines of `list.py`.
pub fn recorded(lines: &str) -> Entries {
    let mut all = Entries::new();
    for line in lines.lines() {
        let entry: Value = serde_json::from_str(line).unwrap();
        let kind = text(&entry["type"]).unwrap();
        if kind == "unknown" {
            let unknown = Entry { kind, error: text(&entry["error"]), ..Entry::default() };
            add(&mut all, bytes(&entry["path"]), unknown);
            continue;
        }
        let moment = |name: &str| match (entry[name].as_i64(), entry[name].as_u64()) {
            (Some(at), _) => i128::from(at),
            (_, Some(at)) => i128::from(at),
            _ => panic!("{name}: {line}"),
        };
        let xattrs = entry["xattrs"].as_object().into_iter().flatten();
        let recorded = Entry {
            kind,
            mode: number(&entry["mode"]),
            owner: (number(&entry["uid"]), number(&entry["gid"])),
            size: number(&entry["size"]),
            links: number(&entry["links"]),
            group: text(&entry["group"]).unwrap(),
            modified: moment("mtime"),
            changed: moment("ctime"),
            accessed: moment("atime"),
            shown_now: entry["now"] == true,
            target: text(&entry["target"]),
            device: device(&entry["device"]),
            xattrs: xattrs.map(|(name, value)| (name.clone(), value.clone())).collect(),
            content: text(&entry["content"]),
            allocated: number(&entry["blocks"]),
            error: text(&entry["error"]),
        };
        add(&mut all, bytes(&entry["path"]), recorded);
    }
    all
}

/// The document of `backup ls --json`.
pub fn listed(document: &Value) -> Entries {
    let mut all = Entries::new();
    for file in document["files"].as_array().unwrap() {
        let moment = |name: &str| {
            let at: jiff::Timestamp = file[name].as_str().unwrap().parse().unwrap();
            at.as_nanosecond()
        };
        let listed = Entry {
            kind: text(&file["type"]).unwrap(),
            mode: u64::from_str_radix(file["mode"].as_str().unwrap(), 8).unwrap(),
            owner: (number(&file["uid"]), number(&file["gid"])),
            size: number(&file["size"]),
            links: number(&file["links"]),
            group: text(&file["node"]).unwrap(),
            modified: moment("modified_time"),
            changed: moment("changed_time"),
            accessed: moment("accessed_time"),
            target: text(&file["link_target_b64"]),
            device: device(&file["device"]),
            allocated: number(&file["allocated_bytes"]),
            ..Entry::default()
        };
        add(&mut all, bytes(&file["path_b64"]), listed);
    }
    all
}
