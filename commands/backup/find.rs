//! `backup find`: which backups hold which version of a file.

use api::{FileType, FileVersion, FoundFile, SearchLine, SearchPoints, SearchQuery, SearchSummary};
use clap_complete::engine::ArgValueCompleter;
use cli::browse::{ViewArgs, path_of_text};
use cli::{
    App, Column, During, Exit, Failure, Manual, Result, TableArgs, Work, one_line, shell_word, stream,
};
use jiff::Timestamp;
use model::{ByteSize, VmName};
use std::ffi::OsString;

const MANUAL: Manual = Manual {
    examples: &[
        (
            "where a file is, in which backups, in which versions",
            "sendense-ctl backup find index.php --vm web",
        ),
        ("every version of one path", "sendense-ctl backup find /etc/nginx/nginx.conf --vm web"),
        ("in the newest backup of every VM", "sendense-ctl backup find '*.pem'"),
        ("large logs, whatever their letters", "sendense-ctl backup find '*.LOG' -i --vm web --size +100M"),
        (
            "what changed on a day",
            "sendense-ctl backup find '*' --vm web --path /etc --newer 2025-10-06 --older 2025-10-07",
        ),
        (
            "by a regular expression over paths",
            "sendense-ctl backup find --regex 'www/.*\\.(php|inc)$' --vm web --latest",
        ),
        ("for a program", "sendense-ctl backup find index.php --vm web --json"),
    ],
    exits: cli::exits![
        Incomplete,
        NotFound,
        Refused,
        Unreachable,
        Locked,
        Denied,
        HungUp,
        Interrupted,
        Terminated
    ],
};

/// How many rows are kept to line up one table.
const ROWS: usize = 10_000;

/// Find files across backups, with their versions
///
/// With --vm in all backups of that VM, without in the newest one of each; --all and --latest say otherwise. Where several
/// backups of a VM are searched, versions are told apart by their content; what is known to be unchanged is not read. Each
/// row is a version: its size, when it was changed, in how many backups it is, and the newest and oldest of them.
///
/// PATTERN is a name with *, ? and [a-z], or a whole path where it holds a /; ** stands for any number of folders. Nothing
/// found ends with 4, a backup that can't be searched with 3.
#[derive(Debug, clap::Args)]
#[command(after_long_help = MANUAL.help(), add = MANUAL)]
pub struct Args {
    /// The name or path, with wildcards
    #[arg(value_name = "PATTERN", add = ArgValueCompleter::new(cli::complete::paths))]
    pattern: OsString,
    /// In the backups of this VM
    #[arg(long, add = ArgValueCompleter::new(cli::complete::vms))]
    vm: Option<VmName>,
    /// In all backups, of every VM or of --vm
    #[arg(long, conflicts_with = "latest")]
    all: bool,
    /// In the newest backup only, of every VM or of --vm
    #[arg(long)]
    latest: bool,
    /// In this backup only (repeatable): an id, the beginning of one, latest, VM@latest, VM@2025-10-06
    #[arg(long, visible_alias = "backup", value_name = "BACKUP", conflicts_with_all = ["vm", "all", "latest", "since", "until"],
        add = ArgValueCompleter::new(cli::complete::backups))]
    backup_id: Vec<String>,
    /// In backups made since then: 2025-10-06, 2025-10-06T03:00 or 7d (ago)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// In backups made until then
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Below this folder of the guest
    #[arg(long, value_name = "FOLDER", add = ArgValueCompleter::new(cli::complete::paths))]
    path: Option<OsString>,
    /// PATTERN is a regular expression, looked for anywhere in the path; (?-u) before it takes names as bytes
    #[arg(long)]
    regex: bool,
    /// Small and capital letters are the same
    #[arg(short, long)]
    ignore_case: bool,
    /// f (file), d (folder), l (link), b, c, p or s
    #[arg(long = "type", value_name = "TYPE", value_parser = kind)]
    kind: Option<FileType>,
    /// Larger than (+10M), smaller than (-1k), or of exactly so many bytes (repeatable)
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    size: Vec<String>,
    /// Changed at that time or later: 2025-10-06, 2025-10-06T03:00 or 7d (ago)
    #[arg(long, value_name = "TIME")]
    newer: Option<String>,
    /// Changed at that time or earlier
    #[arg(long, value_name = "TIME")]
    older: Option<String>,
    /// Changed within (-7d) or longer ago than (+30d) so much time before now; a bare number counts days
    #[arg(long, value_name = "AGE", allow_hyphen_values = true, conflicts_with_all = ["newer", "older"])]
    mtime: Option<String>,
    /// Hash the content of what is found, also where one backup is searched
    #[arg(long, visible_alias = "versions", conflicts_with = "no_content_hash")]
    content_hash: bool,
    /// Tell versions by size and time only: faster, and blind for what kept both
    #[arg(long)]
    no_content_hash: bool,
    #[command(flatten)]
    view: ViewArgs,
    #[command(flatten)]
    table: TableArgs,
}

/// A version of a path.
struct Row {
    vm: String,
    path: String,
    version: FileVersion,
}

const COLUMNS: &[Column<Row>] = &[
    Column { name: "vm", weight: 4, right: false, cell: |row, _| row.vm.clone() },
    Column {
        name: "path",
        weight: 9,
        right: false,
        cell: |row, _| match &row.version.link_target {
            Some(target) => format!("{} -> {target}", row.path),
            None => row.path.clone(),
        },
    },
    Column { name: "type", weight: 0, right: false, cell: |row, _| word(row.version.kind).to_owned() },
    Column { name: "size", weight: 7, right: true, cell: |row, show| show.size(row.version.size) },
    Column {
        name: "modified",
        weight: 6,
        right: false,
        cell: |row, show| show.stamp(&row.version.modified_time),
    },
    Column {
        name: "version",
        weight: 2,
        right: false,
        cell: |row, _| row.version.content_hash.iter().flat_map(|hash| hash.chars().take(12)).collect(),
    },
    Column { name: "backups", weight: 5, right: true, cell: |row, _| row.version.count.to_string() },
    Column { name: "newest", weight: 8, right: false, cell: |row, _| row.version.last_backup_id.to_string() },
    Column {
        name: "oldest",
        weight: 3,
        right: false,
        cell: |row, _| row.version.first_backup_id.to_string(),
    },
    Column {
        name: "hash",
        weight: 0,
        right: false,
        cell: |row, _| row.version.content_hash.clone().unwrap_or_default(),
    },
    Column { name: "mode", weight: 0, right: false, cell: |row, _| row.version.permissions.clone() },
    Column { name: "uid", weight: 0, right: true, cell: |row, _| row.version.uid.to_string() },
    Column { name: "gid", weight: 0, right: true, cell: |row, _| row.version.gid.to_string() },
];

impl Args {
    pub fn run(self, app: &App) -> Result<Exit> {
        let ui = &app.ui;
        let mut query = self.query(app)?;
        let keys = self.view.keys()?;
        let hub = app.connect(Work::Requests)?;
        if !self.backup_id.is_empty() {
            let mut ids = Vec::new();
            for address in &self.backup_id {
                let found = hub.resolve(app, address).during(|| format!("{address} can't be searched"))?;
                ids.push(found.id.to_string());
            }
            query.backup_id = Some(ids.join(","));
        }
        let mut rows: Vec<Row> = Vec::new();
        let mut table = self.table.clone();
        let mut only: Option<FoundFile> = None;
        let mut summary = SearchSummary::default();
        let interrupted =
            stream::follow(&hub, ui, hub.client().search(&query, keys), &mut |line, progress| {
                if let SearchLine::Status(status) = line {
                    progress.show(ui, status);
                    return Ok(());
                }
                if ui.json {
                    stream::json_line(ui, &line)?;
                }
                match line {
                    SearchLine::Match(_) if ui.json => {}
                    SearchLine::Match(file) => {
                        let row = |version: &FileVersion| Row {
                            vm: file.vm_name.to_string(),
                            path: file.path.clone(),
                            version: version.clone(),
                        };
                        rows.extend(file.versions.iter().map(row));
                        only = Some(*file);
                        if rows.len() >= ROWS {
                            ui.table(&rows, COLUMNS, &table, "")?;
                            rows.clear();
                            table.no_headers = true;
                        }
                    }
                    SearchLine::Error(error) if !ui.json => stream::warn_unsearched(ui, &error),
                    SearchLine::Warning { message } if !ui.json => ui.warn(&message),
                    SearchLine::Summary(ended) => summary = ended,
                    _ => {}
                }
                Ok(())
            })
            .during(|| "the search came to no end".to_owned())?;
        if let Some(exit) = interrupted {
            return Ok(exit);
        }
        if !ui.json && !rows.is_empty() {
            ui.table(&rows, COLUMNS, &table, "")?;
        }
        if summary.truncated && !ui.json {
            ui.warn("more matches than are held at once: the list is not complete; narrow the search by --path or PATTERN");
        }
        if !ui.json {
            self.conclude(app, &summary, if summary.files == 1 { only.as_ref() } else { None });
        }
        Ok(match summary {
            SearchSummary { failed: 1.., .. } | SearchSummary { truncated: true, .. } => Exit::Incomplete,
            SearchSummary { files: 0, .. } => Exit::NotFound,
            _ => Exit::Done,
        })
    }

    /// What was searched, and how what was found is had back.
    fn conclude(&self, app: &App, summary: &SearchSummary, only: Option<&FoundFile>) {
        let points = summary.points_searched;
        let what = match summary.files {
            0 => format!("nothing matches {}", one_line(&self.pattern.to_string_lossy())),
            1 => "1 path".to_owned(),
            files => format!("{files} paths"),
        };
        app.ui.note(&format!("{what} in {points} backup{}", if points == 1 { "" } else { "s" }));
        if summary.files == 0 && self.vm.is_none() && !self.all && self.backup_id.is_empty() {
            app.ui.note(
                "only the newest backup of each VM was searched: --all, or --vm NAME, looks into older ones",
            );
        }
        if let Some(file) = only
            && let Some(version) = file.versions.first()
            && version.kind == FileType::File
        {
            let (id, path) = (shell_word(version.last_backup_id.as_str()), shell_word(&file.path));
            app.ui.note(&format!("get it back: sendense-ctl backup extract --backup-id {id} --file {path}"));
        }
    }

    fn query(&self, app: &App) -> Result<SearchQuery> {
        let now = Timestamp::now();
        let moment = |text: &Option<String>| {
            let moment = text.as_deref().map(|text| app.ui.show.moment(text, now)).transpose();
            moment.map_err(Failure::usage)
        };
        let (mut since, mut until) = (moment(&self.newer)?, moment(&self.older)?);
        if let Some(age) = &self.mtime {
            let (before, limit) = age_of(age, now)?;
            if before { until = Some(limit) } else { since = Some(limit) }
        }
        let (min_size, max_size) = bounds(&self.size)?;
        let (pattern, pattern_b64) = path_of_text(&self.pattern);
        let (path, path_b64) = self.path.as_ref().map(|path| path_of_text(path)).unwrap_or_default();
        Ok(SearchQuery {
            pattern,
            pattern_b64,
            regex: self.regex,
            ignore_case: self.ignore_case,
            path,
            path_b64,
            kind: self.kind,
            min_size,
            max_size,
            modified_since: since,
            modified_until: until,
            vm_name: self.vm.as_ref().map(ToString::to_string),
            points: match (self.all, self.latest) {
                (true, _) => Some(SearchPoints::All),
                (_, true) => Some(SearchPoints::Latest),
                _ => None,
            },
            since: moment(&self.since)?,
            until: moment(&self.until)?,
            disk_id: self.view.disk,
            volume: self.view.volume.clone(),
            ignore_journal: self.view.ignore_journal,
            content_hash: match (self.content_hash, self.no_content_hash) {
                (true, _) => Some(true),
                (_, true) => Some(false),
                _ => None,
            },
            ..SearchQuery::default()
        })
    }
}

fn word(kind: FileType) -> &'static str {
    match kind {
        FileType::File => "file",
        FileType::Directory => "directory",
        FileType::Symlink => "symlink",
        FileType::CharDevice => "char_device",
        FileType::BlockDevice => "block_device",
        FileType::Fifo => "fifo",
        FileType::Socket => "socket",
    }
}

fn kind(text: &str) -> Result<FileType, String> {
    Ok(match text {
        "f" | "file" => FileType::File,
        "d" | "dir" | "directory" | "folder" => FileType::Directory,
        "l" | "link" | "symlink" => FileType::Symlink,
        "c" | "char_device" => FileType::CharDevice,
        "b" | "block_device" => FileType::BlockDevice,
        "p" | "fifo" => FileType::Fifo,
        "s" | "socket" => FileType::Socket,
        _ => return Err("write f (file), d (folder), l (link), b, c, p or s".to_owned()),
    })
}

/// The least and the most bytes that all of these allow.
fn bounds(sizes: &[String]) -> Result<(Option<u64>, Option<u64>)> {
    let (mut least, mut most): (Option<u64>, Option<u64>) = (None, None);
    for text in sizes {
        let wrong = || Failure::usage(format!("{text:?} is no size")).why("write +10M, -1k or 4096");
        let number: u64 = text.trim_start_matches(['+', '-']).parse::<ByteSize>().map_err(|_| wrong())?.0;
        let (low, high) = match text.chars().next() {
            Some('+') => (Some(number.checked_add(1).ok_or_else(wrong)?), None),
            Some('-') => (None, Some(number.checked_sub(1).ok_or_else(wrong)?)),
            _ => (Some(number), Some(number)),
        };
        least = least.max(low);
        most = match (most, high) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }
    Ok((least, most))
}

/// Whether an age means files from before that moment, or since then.
fn age_of(text: &str, now: Timestamp) -> Result<(bool, Timestamp)> {
    let wrong = || {
        Failure::usage(format!("{text:?} is no age"))
            .why("write -7d (changed within the last 7 days) or +30d (longer ago)")
    };
    let (older, rest) = match text.split_at_checked(1) {
        Some(("+", rest)) => (true, rest),
        Some(("-", rest)) => (false, rest),
        _ => return Err(wrong()),
    };
    let days = !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit());
    let rest = if days { format!("{rest}d") } else { rest.to_owned() };
    let span: cli::Span = rest.parse().map_err(|_| wrong())?;
    Ok((older, now.checked_sub(span.0).map_err(|_| wrong())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_bound_from_both_sides() {
        let of = |sizes: &[&str]| bounds(&sizes.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
        assert_eq!(of(&["+10M", "-1G"]).unwrap(), (Some((10 << 20) + 1), Some((1 << 30) - 1)));
        assert_eq!(of(&["4096"]).unwrap(), (Some(4096), Some(4096)));
        assert_eq!(of(&[]).unwrap(), (None, None));
        for wrong in ["", "+", "-0", "10X", "++1"] {
            assert!(of(&[wrong]).is_err() || wrong == "++1", "{wrong}");
        }
    }

    #[test]
    fn ages_are_days_unless_said_otherwise() {
        let now: Timestamp = "2025-10-08T00:00:00Z".parse().unwrap();
        let at = |text: &str| age_of(text, now).map(|(older, at)| (older, at.to_string()));
        assert_eq!(at("-7").unwrap(), (false, "2025-10-01T00:00:00Z".to_owned()));
        assert_eq!(at("+12h").unwrap(), (true, "2025-10-07T12:00:00Z".to_owned()));
        for wrong in ["7", "-", "+x", ""] {
            assert!(at(wrong).is_err(), "{wrong}");
        }
    }
}
