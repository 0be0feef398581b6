//! Completion of live values: VMs, backups, paths in backups, repositories, tags, mounts.
//!
//! The shell runs the program itself at every Tab, with `COMPLETE` set. An answer comes within
//! `TIME_LIMIT` or not at all, nothing is ever said on the terminal, and nothing is made or changed: a state
//! folder that is not there yet is left so.

mod bash;
mod paths;

pub use paths::{backup_then_folder, backup_then_paths, paths, volumes};

use crate::connect::peek;
use crate::exit::Exit;
use crate::place::Said;
use crate::profiles::Profiles;
use crate::show::{Show, one_line};
use api::{Backup, BackupQuery, Client};
use clap::builder::StyledStr;
use clap_complete::engine::CompletionCandidate;
use clap_complete::env::{CompleteEnv, Elvish, EnvCompleter, Fish, Powershell, Shells, Zsh};
use model::Status;
use std::ffi::{OsStr, OsString};
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

/// The variable in which the shell asks.
const VARIABLE: &str = "COMPLETE";
const PROGRAM: &str = "sendense-ctl";
const SHELLS: Shells<'static> = Shells(&[&bash::WholeWords, &Zsh, &Fish, &Powershell, &Elvish]);

/// How long a shell may be kept waiting, the start of the program included.
const TIME_LIMIT: Duration = Duration::from_millis(120);

/// How many candidates are still of use.
const MOST: u32 = 200;

/// Answers the shell, where it asks. Must come first in `main`: it reads and clears `VARIABLE`.
pub fn answer(command: fn() -> clap::Command) -> Option<Exit> {
    let shell = std::env::var_os(VARIABLE)?;
    drop(paths::ASKED.set((shell, command)));
    // Whatever goes wrong, the user is in the middle of typing.
    std::panic::set_hook(Box::new(|_| {}));
    let asked = std::panic::catch_unwind(|| {
        CompleteEnv::with_factory(command)
            .var(VARIABLE)
            .shells(SHELLS)
            .try_complete(std::env::args_os(), std::env::current_dir().ok().as_deref())
    });
    match asked {
        Ok(Ok(false)) => {
            drop(std::panic::take_hook());
            None
        }
        Ok(Ok(true)) => Some(Exit::Done),
        Ok(Err(_)) | Err(_) => Some(Exit::Failed),
    }
}

/// Writes the script that makes `shell` ask `program`.
///
/// # Errors
/// An unknown shell; the writer's own.
pub fn script(shell: &str, program: &str, out: &mut dyn io::Write) -> io::Result<()> {
    let shell: &dyn EnvCompleter =
        SHELLS.completer(shell).ok_or_else(|| io::Error::other(format!("there is no script for {shell}")))?;
    shell.write_registration(VARIABLE, PROGRAM, PROGRAM, program, out)
}

/// How the script should call this program: by its name where it was found on the PATH, by its whole path
/// where it was called by one.
pub fn program() -> String {
    let called = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    if called.components().count() > 1
        && let Ok(whole) = std::path::absolute(&called)
        && let Some(text) = whole.to_str()
    {
        return text.to_owned();
    }
    PROGRAM.to_owned()
}

/// Names of VMs.
pub fn vms(current: &OsStr) -> Vec<CompletionCandidate> {
    let Some(current) = current.to_str() else { return Vec::new() };
    let found = ask(async |client| Some(client.all_vms().await.ok()?.vms));
    found
        .unwrap_or_default()
        .into_iter()
        .filter(|vm| vm.name.as_str().starts_with(current))
        .map(|vm| {
            let disks = match vm.disks.len() {
                1 => "1 disk".to_owned(),
                count => format!("{count} disks"),
            };
            candidate(vm.name.as_str(), disks)
        })
        .collect()
}

/// Ids of backups, newest first; `latest` and, once a VM is typed, `VM@latest`.
pub fn backups(current: &OsStr) -> Vec<CompletionCandidate> {
    let Some(current) = current.to_str() else { return Vec::new() };
    // An id names its VM, so that old backups of a VM are found behind many of others.
    let mut vms: Vec<Option<String>> = vms_in_id(current).map(|vm| Some(vm.to_owned())).collect();
    if vms.is_empty() {
        vms.push(None);
    }
    let found = ask(async |client| {
        let mut found = Vec::new();
        for vm_name in vms {
            let query = BackupQuery { limit: Some(MOST), vm_name, ..BackupQuery::default() };
            found.extend(client.backups(&query).await.ok()?.backups);
        }
        Some(found)
    })
    .unwrap_or_default();
    let show = Show::new(false, false);
    let mut candidates = Vec::new();
    if !found.is_empty() && "latest".starts_with(current) {
        candidates.push(candidate("latest", "the newest of all VMs".to_owned()));
    }
    let mut seen: Vec<&str> = Vec::new();
    for backup in found.iter().filter(|backup| backup.status == Status::Completed) {
        let vm = backup.vm_name.as_str();
        let address = format!("{vm}@latest");
        if !current.is_empty() && address.starts_with(current) && !seen.contains(&vm) {
            seen.push(vm);
            candidates.push(candidate(&address, described(backup, &show)));
        }
    }
    let ids = found.iter().filter(|backup| backup.id.as_str().starts_with(current));
    candidates.extend(ids.map(|backup| candidate(backup.id.as_str(), described(backup, &show))));
    candidates
}

/// The VMs that a typed id may belong to, once enough of it is typed: `backup-pg-2` is of `pg`. They are several where the name
/// of one ends like the day of another: `backup-pg-20261129-2` is of `pg` in the evening, or of `pg-20261129`.
fn vms_in_id(current: &str) -> impl Iterator<Item = &str> {
    let named = current.strip_prefix("backup-").unwrap_or_default();
    let splits = named.match_indices("-2").map(|(at, _)| (&named[..at], &named[at + 1..]));
    splits.filter(|(vm, stamp)| !vm.is_empty() && begins_stamp(stamp)).map(|(vm, _)| vm)
}

/// Whether a stamp ([`model::Stamp`]) begins so: `YYYYMMDD-HHMMSS`, or with its rank.
fn begins_stamp(text: &str) -> bool {
    let mut parts = text.split('-').peekable();
    let mut widths = [8, 6, usize::MAX].into_iter();
    while let (Some(part), Some(width)) = (parts.next(), widths.next()) {
        let whole = part.len() == width || parts.peek().is_none();
        if !whole || part.len() > width || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return false;
        }
    }
    parts.next().is_none()
}

/// Names of repositories.
pub fn repositories(current: &OsStr) -> Vec<CompletionCandidate> {
    let Some(current) = current.to_str() else { return Vec::new() };
    let found = ask(async |client| Some(client.all_repositories().await.ok()?.repositories));
    found
        .unwrap_or_default()
        .into_iter()
        .filter(|repository| repository.name.as_str().starts_with(current))
        .map(|repository| {
            let place = repository.config.disk_path.unwrap_or_default();
            candidate(repository.name.as_str(), format!("{} {place}", repository.kind))
        })
        .collect()
}

/// Ids and paths of what is open.
pub fn mounts(current: &OsStr) -> Vec<CompletionCandidate> {
    let Some(current) = current.to_str() else { return Vec::new() };
    let found = ask(async |client| Some(client.all_mounts().await.ok()?.mounts)).unwrap_or_default();
    let mut candidates = Vec::new();
    for mount in &found {
        let shown = mount.backup_id.as_ref().map_or(mount.vm_name.as_str(), |id| id.as_str());
        let names = [Some(mount.mount_id.as_str()), mount.mount_path.as_deref()];
        for name in names.into_iter().flatten().filter(|name| name.starts_with(current)) {
            candidates.push(candidate(name, format!("{} {shown}", mount.kind)));
        }
    }
    candidates
}

/// Tags in use, as `key=value`.
pub fn tags(current: &OsStr) -> Vec<CompletionCandidate> {
    let Some(current) = current.to_str() else { return Vec::new() };
    let found = ask(async |client| {
        let query = BackupQuery { limit: Some(MOST), ..BackupQuery::default() };
        Some(client.backups(&query).await.ok()?.backups)
    })
    .unwrap_or_default();
    let mut tags: Vec<String> = found
        .iter()
        .flat_map(|backup| &backup.tags)
        .map(|(key, value)| format!("{key}={value}"))
        .filter(|tag| tag.starts_with(current))
        .collect();
    tags.sort();
    tags.dedup();
    tags.into_iter().map(CompletionCandidate::new).collect()
}

fn described(backup: &Backup, show: &Show) -> String {
    let mut text = format!("{} {}", show.minute(backup.created_at), backup.backup_type);
    if backup.status != Status::Completed {
        text.push_str(&format!(" ({})", backup.status));
    }
    text
}

fn candidate(value: &str, help: String) -> CompletionCandidate {
    CompletionCandidate::new(one_line(value)).help(Some(StyledStr::from(one_line(&help))))
}

/// Asks the hub on a thread of its own; `None` where it does not answer in time. The thread is left behind: the
/// process ends right after.
fn ask<T, F>(question: impl FnOnce(Client) -> F + Send + 'static) -> Option<T>
where
    T: Send + 'static,
    F: Future<Output = Option<T>>,
{
    let said = said();
    let (sender, answer) = mpsc::channel();
    std::thread::Builder::new()
        .name("complete".into())
        .spawn(move || {
            let answered = peek(&said, question);
            drop(sender.send(answered.flatten()));
        })
        .ok()?;
    answer.recv_timeout(TIME_LIMIT).ok().flatten()
}

/// What the command line that is being typed, and the environment, say of the hub.
fn said() -> Said {
    let path = typed("--state-dir").or_else(|| std::env::var_os("SENDENSE_HOME"));
    let hub = typed("--hub").or_else(|| std::env::var_os("SENDENSE_HUB"));
    let catalog = typed("--catalog").or_else(|| std::env::var_os("SENDENSE_CATALOG"));
    let text = |value: Option<OsString>| value.and_then(|value| value.into_string().ok());
    Said { hub: text(hub), state_dir: path.map(PathBuf::from), catalog: text(catalog) }
}

/// The value of an option on the command line that is being typed; the shell's words stand behind `--`.
fn typed(option: &str) -> Option<OsString> {
    let words: Vec<_> = std::env::args_os().skip_while(|word| word != "--").collect();
    let spelled = words
        .iter()
        .rev()
        .find_map(|word| Some(word.to_str()?.strip_prefix(option)?.strip_prefix('=')?.to_owned().into()));
    spelled.or_else(|| words.windows(2).rev().find(|pair| pair[0] == option).map(|pair| pair[1].clone()))
}

/// The hubs that are known, and the words that mean one.
pub fn hubs(current: &OsStr) -> Vec<CompletionCandidate> {
    let Some(current) = current.to_str() else { return Vec::new() };
    let known = Profiles::load().unwrap_or_default().hubs;
    let known = known.into_iter().map(|(name, profile)| (name, profile.url));
    let words = [("local", "the hub of this machine"), ("embedded", "the engine inside the command")];
    let words = words.map(|(word, about)| (word.to_owned(), about.to_owned()));
    let fits = known.chain(words).filter(|(name, _)| name.starts_with(current));
    fits.map(|(name, about)| candidate(&name, about)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typed_id_tells_its_vm() {
        let told = |typed| vms_in_id(typed).collect::<Vec<_>>();
        assert_eq!(told("backup-pg-2"), ["pg"]);
        assert_eq!(told("backup-pg-test-20251006-12"), ["pg-test"]);
        assert_eq!(told("backup-pg-2-20251006-120000"), ["pg-2"]);
        for none in ["backup-pg", "backup-db-2x", "backup--2", "pg-2", "backup-pg-20251006120000-2x"] {
            assert_eq!(told(none), Vec::<&str>::new(), "{none}");
        }
        // In the evening, and the second of its second, what follows the day begins like one.
        assert_eq!(told("backup-pg-20251006-2"), ["pg", "pg-20251006"]);
        assert_eq!(told("backup-pg-20251006-211259"), ["pg", "pg-20251006"]);
        assert_eq!(told("backup-pg-20251006-103000-2"), ["pg", "pg-20251006-103000"]);
        assert_eq!(told("backup-pg-20251006-103000-20251006-103000"), ["pg-20251006-103000"]);
    }

    #[test]
    fn every_shell_has_a_script_that_asks_the_program() {
        for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
            let mut text = Vec::new();
            script(shell, PROGRAM, &mut text).unwrap();
            let text = String::from_utf8(text).unwrap();
            assert!(text.contains(PROGRAM) && text.contains(VARIABLE), "{shell}: {text}");
        }
        assert!(script("tcsh", PROGRAM, &mut Vec::new()).is_err());
    }
}
