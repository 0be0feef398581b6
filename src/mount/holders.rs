//! Which processes use a mount: from `/proc`, without touching the mount.
//!
//! An ordinary user sees its own processes only, which are those that can be in its mounts.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The most processes that are told.
const MOST: usize = 32;

/// A process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its name.
    pub name: String,
}

/// The processes that have a file or folder below `path` open, mapped, or as their working folder.
pub fn holders(path: &Path) -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut found: Vec<Process> =
        pids.filter(|pid| holds(*pid, path)).take(MOST).map(|pid| Process { pid, name: name(pid) }).collect();
    found.sort_by_key(|process| process.pid);
    found
}

fn holds(pid: u32, path: &Path) -> bool {
    let process = format!("/proc/{pid}");
    let leads_in =
        |link: &Path| fs::read_link(link).is_ok_and(|target| is_below(target.as_os_str().as_bytes(), path));
    let direct = ["cwd", "root", "exe"].iter().any(|link| leads_in(&Path::new(&process).join(link)));
    if direct {
        return true;
    }
    let files = fs::read_dir(format!("{process}/fd"));
    if files.is_ok_and(|mut files| files.any(|file| file.is_ok_and(|file| leads_in(&file.path())))) {
        return true;
    }
    let maps = fs::read(format!("{process}/maps")).unwrap_or_default();
    let mapped = |line: &[u8]| {
        line.iter().position(|&byte| byte == b'/').is_some_and(|at| is_below(&line[at..], path))
    };
    maps.split(|&byte| byte == b'\n').any(mapped)
}

fn is_below(target: &[u8], path: &Path) -> bool {
    let rest = target.strip_prefix(path.as_os_str().as_bytes());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/") || rest == b" (deleted)")
}

fn name(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).map(|name| name.trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_a_file_open_or_stands_in_a_folder_is_found_and_nobody_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap();
        let me = std::process::id();
        assert!(holders(&path).is_empty());
        let file = fs::File::create(path.join("file")).unwrap();
        assert!(holders(&path).iter().any(|process| process.pid == me));
        drop(file);
        let mut child = std::process::Command::new("sleep").arg("600").current_dir(&path).spawn().unwrap();
        let found = holders(&path);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(found, [Process { pid: child.id(), name: "sleep".into() }]);
        assert!(!is_below(b"/mnt/ab", Path::new("/mnt/a")));
    }
}
