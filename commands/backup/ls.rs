//! `backup ls`: the files in a backup.

use api::{FileEntry, FileList, FileType};
use cli::browse::{Browsing, PointArgs, ViewArgs};
use cli::{App, Column, Exit, Manual, Result, TableArgs, Work, one_line};

const MANUAL: Manual = Manual {
    examples: &[
        ("a folder of the newest backup", "sendense-ctl backup ls pgtest2@latest /var/www"),
        ("with sizes, owners and times", "sendense-ctl backup ls pgtest2@2025-10-06 /etc -l"),
        ("everything below a folder", "sendense-ctl backup ls latest /home -R"),
        ("for a program", "sendense-ctl backup ls latest / --json"),
    ],
    exits: cli::exits![Incomplete, NotFound, Refused, Damaged, Unreachable, Locked, Denied],
};

/// List the files in a backup
///
/// Nothing is restored or mounted: the files are read where the backup lies. Paths are those of the guest; volumes that
/// its fstab does not name stand in /@volumes. Links never lead out of the backup.
#[derive(Debug, clap::Args)]
#[command(after_long_help = MANUAL.help(), add = MANUAL)]
pub struct Args {
    #[command(flatten)]
    point: PointArgs,
    /// Permissions, owner, size and time too
    #[arg(short, long)]
    long: bool,
    /// Everything below it too
    #[arg(short = 'R', long)]
    recursive: bool,
    #[command(flatten)]
    view: ViewArgs,
    #[command(flatten)]
    table: TableArgs,
}

const COLUMNS: &[Column<FileEntry>] = &[
    Column { name: "mode", weight: 6, right: false, cell: |file, _| file.permissions.clone() },
    Column { name: "links", weight: 1, right: true, cell: |file, _| file.links.to_string() },
    Column { name: "uid", weight: 4, right: true, cell: |file, _| file.uid.to_string() },
    Column { name: "gid", weight: 3, right: true, cell: |file, _| file.gid.to_string() },
    Column {
        name: "size",
        weight: 7,
        right: true,
        cell: |file, show| match file.device {
            Some((major, minor)) => format!("{major}, {minor}"),
            None => show.size(file.size),
        },
    },
    Column { name: "modified", weight: 5, right: false, cell: |file, show| show.stamp(&file.modified_time) },
    Column { name: "name", weight: 9, right: false, cell: |file, _| named(&file.name, file) },
    Column { name: "path", weight: 0, right: false, cell: |file, _| named(&file.path, file) },
    Column { name: "type", weight: 0, right: false, cell: |file, _| kind(file.kind).to_owned() },
    Column { name: "allocated", weight: 0, right: true, cell: |file, show| show.size(file.allocated_bytes) },
    Column { name: "accessed", weight: 0, right: false, cell: |file, show| show.stamp(&file.accessed_time) },
    Column { name: "changed", weight: 0, right: false, cell: |file, show| show.stamp(&file.changed_time) },
    Column {
        name: "created",
        weight: 0,
        right: false,
        cell: |file, show| file.created_time.as_deref().map(|time| show.stamp(time)).unwrap_or_default(),
    },
];

/// A name with where it leads to.
fn named(name: &str, file: &FileEntry) -> String {
    match &file.link_target {
        Some(target) => format!("{} -> {}", one_line(name), one_line(target)),
        None => one_line(name),
    }
}

fn kind(kind: FileType) -> &'static str {
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

impl Args {
    pub fn run(mut self, app: &App) -> Result<Exit> {
        if self.recursive && self.table.columns.is_empty() && self.long {
            let columns = ["mode", "links", "uid", "gid", "size", "modified", "path"];
            self.table.columns = columns.map(str::to_owned).to_vec();
        }
        let hub = app.connect(Work::Requests)?;
        let session = Browsing::open(&hub, app, &self.point.address(), &self.view)?;
        let mut paths = self.point.paths();
        if paths.is_empty() {
            paths.push(b"/".to_vec());
        }
        let mut all = FileList {
            files: Vec::new(),
            total_count: 0,
            more: false,
            errors: Vec::new(),
            warnings: Vec::new(),
        };
        let mut failed = false;
        for path in &paths {
            let mut titled = paths.len() > 1 && !app.ui.json;
            session.folder(path, self.recursive, false, &mut |page| {
                failed |= !page.errors.is_empty();
                if app.ui.json {
                    all.files.extend(page.files);
                    all.errors.extend(page.errors);
                    all.warnings = page.warnings;
                    return Ok(());
                }
                if titled {
                    app.ui.line(&format!("{}:", one_line(&String::from_utf8_lossy(path))));
                    titled = false;
                }
                for error in &page.errors {
                    app.ui.warn(&one_line(&format!("{}: {}", error.path, error.error)));
                }
                if std::mem::replace(&mut all.warnings, page.warnings).is_empty() {
                    all.warnings.iter().for_each(|warning| app.ui.warn(&one_line(warning)));
                }
                self.show(app, &page.files)
            })?;
        }
        if app.ui.json {
            all.total_count = all.files.len() as u64 + all.errors.len() as u64;
            app.ui.document(&all);
        }
        Ok(if failed { Exit::Incomplete } else { Exit::Done })
    }

    fn show(&self, app: &App, files: &[FileEntry]) -> Result<()> {
        if self.long || !self.table.columns.is_empty() {
            return app.ui.table(files, COLUMNS, &self.table, "");
        }
        for file in files {
            let shown = if self.recursive { &file.path } else { &file.name };
            let slash = if file.is_directory && file.name != "/" { "/" } else { "" };
            app.ui.line(&format!("{}{slash}", one_line(shown)));
        }
        Ok(())
    }
}
