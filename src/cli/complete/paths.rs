//! Paths inside of the backup that is named on the line.
//!
//! What was typed so far is parsed as the program itself would, so that options may stand anywhere. The backup is then
//! opened in passing (no lease, nothing written) and one folder of it is looked at: the one that the typed path is in.
//! A folder's candidate ends with `/`, so that the next Tab goes on in it.

use super::{MOST, ask, backups, candidate};
use api::{AddressQuery, Client, FileEntry, FileType, FilesQuery, Mount, MountBackup};
use clap::ArgMatches;
use clap_complete::engine::{CompletionCandidate, PathCompleter, ValueCompleter};
use model::VmName;
use std::ffi::{OsStr, OsString};
use std::sync::OnceLock;

/// Who asks, once somebody does: the shell, and the command line that it completes.
pub(super) static ASKED: OnceLock<(OsString, fn() -> clap::Command)> = OnceLock::new();

/// After which a hub elsewhere closes what was opened for an answer.
const IDLE_SECONDS: u64 = 5;

/// What the line says of the backup.
#[derive(Debug, Default, PartialEq)]
struct Typed {
    address: String,
    disk: Option<u32>,
    volume: Option<String>,
    ignore_journal: bool,
}

/// The backup as the first word, then paths in it; with `--backup-id`, paths only.
pub fn backup_then_paths(current: &OsStr) -> Vec<CompletionCandidate> {
    match typed(before_the_cursor()) {
        None => backups(current),
        Some(typed) => inside(current, typed),
    }
}

/// The backup first, then a folder of this machine.
pub fn backup_then_folder(current: &OsStr) -> Vec<CompletionCandidate> {
    match typed(before_the_cursor()) {
        None => backups(current),
        Some(_) => PathCompleter::dir().complete(current),
    }
}

/// Volumes of the backup, wherever that is named.
pub fn volumes(current: &OsStr) -> Vec<CompletionCandidate> {
    let Some((typed, current)) = typed(before_the_cursor()).zip(current.to_str()) else { return Vec::new() };
    let found = ask(move |client| {
        let typed = Typed { volume: None, ..typed };
        look(client, typed, async |_, mount| Some(mount.volumes))
    });
    let fitting = found.unwrap_or_default().into_iter().filter(|volume| volume.id.starts_with(current));
    fitting
        .map(|volume| {
            let kind = volume.filesystem_type.as_deref().unwrap_or("unknown").to_owned();
            let place = volume.mount_point.map(|path| format!(" {path}")).unwrap_or_default();
            candidate(&volume.id, format!("{kind}{place}"))
        })
        .collect()
}

/// Paths in the backup, wherever that is named.
pub fn paths(current: &OsStr) -> Vec<CompletionCandidate> {
    typed(before_the_cursor()).map(|typed| inside(current, typed)).unwrap_or_default()
}

/// The words before the one that is being typed. They stand behind `--`; which one that is, the script tells, or it is
/// the last.
fn before_the_cursor() -> Vec<OsString> {
    let mut words: Vec<OsString> = std::env::args_os().skip_while(|word| word != "--").skip(1).collect();
    let index = std::env::var("_CLAP_COMPLETE_INDEX").ok().and_then(|text| text.parse::<usize>().ok());
    words.truncate(index.unwrap_or(words.len().saturating_sub(1)));
    words
}

/// The backup that these words name; none where there is none yet.
fn typed(words: Vec<OsString>) -> Option<Typed> {
    let (_, command) = ASKED.get()?;
    let mut matches = command().ignore_errors(true).try_get_matches_from(words).ok()?;
    while let Some((_, inner)) = matches.remove_subcommand() {
        matches = inner;
    }
    let address = address(&matches).filter(|address| !address.is_empty())?;
    Some(Typed {
        address,
        disk: matches.try_get_one("disk").ok().flatten().copied(),
        volume: matches.try_get_one::<String>("volume").ok().flatten().cloned(),
        ignore_journal: matches.try_get_one("ignore_journal").ok().flatten().copied().unwrap_or(false),
    })
}

/// The backup that a command was told to look into: the one that is named; of two, the newer; of a search, the newest of
/// its VM, or of all.
fn address(matches: &ArgMatches) -> Option<String> {
    let text = |id| matches.try_get_one::<String>(id).ok().flatten().cloned();
    let word = || {
        let words = matches.try_get_many::<OsString>("words").ok().flatten();
        words.and_then(|mut words| words.next()?.to_str().map(str::to_owned))
    };
    let of_vm = || {
        // A search is the command that needs no backup.
        matches.try_contains_id("pattern").ok()?;
        let vm = matches.try_get_one::<VmName>("vm").ok()?;
        Some(vm.map_or_else(|| "latest".to_owned(), |vm| format!("{vm}@latest")))
    };
    text("backup_id").or_else(word).or_else(|| text("after")).or_else(of_vm)
}

fn inside(current: &OsStr, typed: Typed) -> Vec<CompletionCandidate> {
    let Some(prefix) = current.to_str().map(unquoted) else { return Vec::new() };
    // The root is where paths begin; another beginning is none.
    if !prefix.is_empty() && !prefix.starts_with('/') {
        return Vec::new();
    }
    let pattern = format!("{}*", escaped(if prefix.is_empty() { "/" } else { &prefix }));
    let found = ask(move |client| matching(client, typed, pattern)).unwrap_or_default();
    found.iter().filter_map(shown).collect()
}

/// What the shell has not unquoted itself: zsh and fish give the word as it stands on the line.
fn unquoted(word: &str) -> String {
    match ASKED.get() {
        Some((shell, _)) if shell == "zsh" || shell == "fish" => without_quotes(word),
        _ => word.to_owned(),
    }
}

fn without_quotes(word: &str) -> String {
    let mut plain = String::with_capacity(word.len());
    let mut quote = None;
    let mut letters = word.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (None, '\'' | '"') => quote = Some(letter),
            (Some(open), letter) if letter == open => quote = None,
            (None | Some('"'), '\\') => plain.extend(letters.next()),
            (_, letter) => plain.push(letter),
        }
    }
    plain
}

/// A path as a pattern that matches only itself.
fn escaped(path: &str) -> String {
    path.chars()
        .flat_map(|c| matches!(c, '*' | '?' | '[' | '\\').then_some('\\').into_iter().chain([c]))
        .collect()
}

async fn matching(client: Client, typed: Typed, pattern: String) -> Option<Vec<FileEntry>> {
    let query =
        FilesQuery { path: Some(pattern), count: Some(false), limit: Some(MOST), ..FilesQuery::default() };
    look(client, typed, async |client, mount| Some(client.glob(&mount.mount_id, &query).await.ok()?.files))
        .await
}

/// Asks something of the backup while it is open.
async fn look<T>(
    client: Client,
    typed: Typed,
    question: impl AsyncFnOnce(&Client, Mount) -> Option<T>,
) -> Option<T> {
    let query = AddressQuery { address: typed.address, vm_name: None, tz: None };
    let backup = client.resolve(&query).await.ok()?;
    let request = MountBackup {
        disk_id: typed.disk,
        volume: typed.volume,
        ignore_journal: typed.ignore_journal,
        idle_timeout_seconds: Some(IDLE_SECONDS),
        ..MountBackup::of(backup.id)
    };
    let mount = client.mount(&request).await.ok()?;
    let id = mount.mount_id.clone();
    let found = question(&client, mount).await;
    // In a hub elsewhere the session would stay until it is idle: as it does where the answer comes too late, and this
    // process has ended.
    client.unmount(&id).await.ok();
    found
}

fn shown(entry: &FileEntry) -> Option<CompletionCandidate> {
    // A name with a line break can't be given to a shell in lines, nor one that is no text.
    if entry.path.chars().any(|c| c.is_control() || c == char::REPLACEMENT_CHARACTER) {
        return None;
    }
    Some(match entry.kind {
        FileType::Directory => candidate(&format!("{}/", entry.path), "folder".to_owned()),
        FileType::Symlink => {
            let to = entry.link_target.as_deref().unwrap_or_default();
            candidate(&entry.path, format!("link to {to}"))
        }
        FileType::File => candidate(&entry.path, model::ByteSize(entry.size).to_string()),
        _ => candidate(&entry.path, "special file".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_unquoted_as_the_shell_would() {
        for (word, plain) in [
            ("/etc/ho", "/etc/ho"),
            (r"/a\ b/c\\d", r"/a b/c\d"),
            (r#"'/a b'/"c d"#, "/a b/c d"),
            (r#""/a\"b"#, r#"/a"b"#),
            ("'a\\b", "a\\b"),
        ] {
            assert_eq!(without_quotes(word), plain);
        }
    }

    #[test]
    fn a_path_matches_only_itself() {
        assert_eq!(escaped(r"/a*b?[c]\d"), r"/a\*b\?\[c]\\d");
    }
}
