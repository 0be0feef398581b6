//! `backup diff`: what differs between two backups.

use api::{ChangeKind, ChangedPart, DiffLine, DiffQuery, DiffSummary, FileChange, FileState, FileType};
use clap_complete::engine::ArgValueCompleter;
use cli::browse::{ViewArgs, path_of_text};
use cli::{App, During, Exit, Manual, Result, Show, Work, one_line, stream};
use std::ffi::OsString;

const MANUAL: Manual = Manual {
    examples: &[
        ("since the backup before", "sendense-ctl backup diff web@latest~1 web@latest"),
        ("below a folder", "sendense-ctl backup diff web@latest~1 web@latest /etc"),
        ("two days, in numbers", "sendense-ctl backup diff web@2025-10-01 web@2025-10-06 --stat"),
        ("two machines", "sendense-ctl backup diff web1@latest web2@latest /etc --content"),
        ("paths for a script", "sendense-ctl backup diff web@latest~1 web@latest --name-only"),
        ("for a program", "sendense-ctl backup diff web@latest~1 web@latest --json"),
    ],
    exits: cli::exits![
        Incomplete,
        NotFound,
        Refused,
        Damaged,
        Unreachable,
        Locked,
        Denied,
        HungUp,
        Interrupted,
        Terminated
    ],
};

/// Show what differs between two backups
///
/// A line for each file and folder: A added, D removed, M other content, U only owner, mode, time or extended attributes
/// differ, T it became something else. Where the backups tell that content did not change, it is not read; all else is
/// compared byte by byte. Times of folders, and the times of access and of changed inodes, are not compared.
///
/// Ends with 0 whether there are differences or not; with 3 where something could not be compared, which is named.
#[derive(Debug, clap::Args)]
#[command(after_long_help = MANUAL.help(), add = MANUAL)]
pub struct Args {
    /// The first backup: an id, the beginning of one, latest~1, VM@latest~1 or VM@2025-10-06
    #[arg(value_name = "BACKUP", add = ArgValueCompleter::new(cli::complete::backups))]
    before: String,
    /// The second backup
    #[arg(value_name = "BACKUP", add = ArgValueCompleter::new(cli::complete::backups))]
    after: String,
    /// Only this file, or this folder and what is below it
    #[arg(value_name = "PATH", add = ArgValueCompleter::new(cli::complete::paths))]
    path: Option<OsString>,
    /// Only numbers
    #[arg(long, conflicts_with = "name_only")]
    stat: bool,
    /// Only paths
    #[arg(long)]
    name_only: bool,
    /// Only differences of content: owners, modes, times and extended attributes do not count
    #[arg(long)]
    content: bool,
    #[command(flatten)]
    view: ViewArgs,
}

impl Args {
    pub fn run(self, app: &App) -> Result<Exit> {
        let ui = &app.ui;
        let keys = self.view.keys()?;
        let hub = app.connect(Work::Requests)?;
        let attempt = || format!("{} and {} can't be compared", self.before, self.after);
        let before = hub.resolve(app, &self.before).during(attempt)?.id;
        let after = hub.resolve(app, &self.after).during(attempt)?.id;
        let (path, path_b64) = self.path.as_ref().map(|path| path_of_text(path)).unwrap_or_default();
        let query = DiffQuery {
            path,
            path_b64,
            disk_id: self.view.disk,
            volume: self.view.volume.clone(),
            ignore_journal: self.view.ignore_journal,
            content_only: self.content,
            ..DiffQuery::default()
        };
        let mut summary = DiffSummary::default();
        let open = hub.client().diff(&before, &after, &query, keys);
        let interrupted = stream::follow(&hub, ui, open, &mut |line, progress| {
            match line {
                DiffLine::Status(status) => progress.show(ui, status),
                DiffLine::Change(_) if self.stat => {}
                line if ui.json => {
                    stream::json_line(ui, &line)?;
                    if let DiffLine::Summary(ended) = line {
                        summary = *ended;
                    }
                }
                DiffLine::Change(change) if self.name_only => ui.line(&one_line(&change.path)),
                DiffLine::Change(change) => ui.line(&shown(&change, &ui.show)),
                DiffLine::Error(error) => stream::warn_unsearched(ui, &error),
                DiffLine::Warning { message } => ui.warn(&message),
                DiffLine::Summary(ended) => summary = *ended,
                DiffLine::Fatal(_) => {}
            }
            Ok(())
        })
        .during(attempt)?;
        if let Some(exit) = interrupted {
            return Ok(exit);
        }
        if !ui.json {
            self.conclude(app, &summary);
        }
        Ok(if summary.failed > 0 || summary.truncated { Exit::Incomplete } else { Exit::Done })
    }

    fn conclude(&self, app: &App, sum: &DiffSummary) {
        let show = &app.ui.show;
        if self.stat {
            let size = |bytes| show.size(bytes);
            app.ui.fields(&[
                ("added", format!("{} ({})", sum.added, size(sum.added_bytes))),
                ("removed", format!("{} ({})", sum.removed, size(sum.removed_bytes))),
                (
                    "changed",
                    format!(
                        "{} ({} → {})",
                        sum.changed,
                        size(sum.changed_bytes_before),
                        size(sum.changed_bytes_after)
                    ),
                ),
                ("metadata only", sum.metadata.to_string()),
                ("other type", sum.type_changed.to_string()),
                ("not compared", if sum.failed > 0 { sum.failed.to_string() } else { String::new() }),
                ("in both", sum.compared.to_string()),
                ("read", format!("{} of files, {} of disks", size(sum.content_bytes), size(sum.bytes_read))),
            ]);
        } else if sum.differences() == 0 {
            app.ui.note("nothing differs");
        } else {
            let mut told = Vec::new();
            for (count, word) in [
                (sum.added, "added"),
                (sum.removed, "removed"),
                (sum.changed, "changed"),
                (sum.metadata, "with other metadata"),
                (sum.type_changed, "of another type"),
            ] {
                if count > 0 {
                    told.push(format!("{count} {word}"));
                }
            }
            app.ui.note(&told.join(", "));
        }
        for (volumes, word) in [(&sum.volumes_added, "second"), (&sum.volumes_removed, "first")] {
            if !volumes.is_empty() {
                app.ui.note(&format!("only the {word} backup has {}", volumes.join(", ")));
            }
        }
    }
}

/// A difference in one line.
fn shown(change: &FileChange, show: &Show) -> String {
    let letter = match change.change {
        ChangeKind::Added => 'A',
        ChangeKind::Removed => 'D',
        ChangeKind::Changed => 'M',
        ChangeKind::Metadata => 'U',
        ChangeKind::TypeChanged => 'T',
    };
    let state = change.after.as_ref().or(change.before.as_ref());
    let slash = if state.is_some_and(|state| state.kind == FileType::Directory) { "/" } else { "" };
    let path = if change.path == "/" { "/".to_owned() } else { format!("{}{slash}", one_line(&change.path)) };
    let mut details: Vec<String> = Vec::new();
    if let (Some(before), Some(after)) = (&change.before, &change.after) {
        details.extend(change.parts.iter().map(|part| detail(*part, before, after, show)));
    } else if let Some(state) = state.filter(|state| state.kind == FileType::File) {
        details.push(show.size(state.size));
    }
    if details.is_empty() {
        format!("{letter}  {path}")
    } else {
        format!("{letter}  {path}  ({})", details.join(", "))
    }
}

fn detail(part: ChangedPart, before: &FileState, after: &FileState, show: &Show) -> String {
    match part {
        ChangedPart::Type => format!("{} → {}", kind(before.kind), kind(after.kind)),
        ChangedPart::Content if before.size == after.size => {
            format!("content, {} as before", show.size(after.size))
        }
        ChangedPart::Content => format!("content, {} → {}", show.size(before.size), show.size(after.size)),
        ChangedPart::Target => "target".to_owned(),
        ChangedPart::Mode => format!("mode {} → {}", before.mode, after.mode),
        ChangedPart::Owner => {
            format!("owner {}:{} → {}:{}", before.uid, before.gid, after.uid, after.gid)
        }
        ChangedPart::Modified => "time".to_owned(),
        ChangedPart::Xattrs => "xattrs".to_owned(),
    }
}

fn kind(kind: FileType) -> &'static str {
    match kind {
        FileType::File => "file",
        FileType::Directory => "folder",
        FileType::Symlink => "link",
        FileType::CharDevice => "character device",
        FileType::BlockDevice => "block device",
        FileType::Fifo => "pipe",
        FileType::Socket => "socket",
    }
}
