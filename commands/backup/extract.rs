//! `backup extract`: files out of a backup.

use api::{ArchiveFormat, FileEntry, FileType};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap_complete::engine::ArgValueCompleter;
use cli::archive::{Archiver, Order};
use cli::browse::{Browsing, Copied, PointArgs, ViewArgs, path_of};
use cli::complete;
use cli::extract::{Extraction, Overwrite, Report, Wanted, split};
use cli::{App, Connection, Exit, Failure, Manual, Result, Work, one_line, shell_word};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io::{ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

const MANUAL: Manual = Manual {
    examples: &[
        (
            "one file, back to here",
            "sendense-ctl backup extract --backup-id backup-pgtest2-20251004 --file /var/www/index.php --output ./index.php",
        ),
        (
            "a folder of the newest backup",
            "sendense-ctl backup extract pgtest2@latest /etc --output ./restored",
        ),
        ("all that match", "sendense-ctl backup extract latest '/var/log/**/*.log' --output ./logs/"),
        ("a folder as an archive", "sendense-ctl backup extract pgtest2@latest /etc --output ./etc.tar.gz"),
        (
            "an archive into a pipe",
            "sendense-ctl backup extract latest /srv --archive tar --output - | ssh web1 tar -xpf - -C /",
        ),
        (
            "one file into a pipe",
            "sendense-ctl backup extract latest --file /srv/dump.sql --output - | mysql",
        ),
    ],
    exits: cli::exits![
        Incomplete,
        NotFound,
        Refused,
        Damaged,
        Unreachable,
        Locked,
        Denied,
        NoSpace,
        HungUp,
        Interrupted,
        Terminated
    ],
};

/// Get files and folders out of a backup
///
/// Nothing is mounted, and no root is needed. Modes, times, links, holes and extended attributes are kept, owners too
/// where root runs it. One file goes to exactly the place that --output names; a folder or several files go into it, or
/// become one archive where --archive says so or --output is called .zip, .tar, .tar.gz or .tar.zst.
#[derive(Debug, clap::Args)]
#[command(after_long_help = MANUAL.help(), add = MANUAL)]
pub struct Args {
    #[command(flatten)]
    point: PointArgs,
    /// A file, folder or pattern (*, ?, […], ** over folders) in the backup; may be given several times
    #[arg(short, long, value_name = "PATH", add = ArgValueCompleter::new(complete::paths))]
    file: Vec<OsString>,
    /// Where to: a file, a folder, or - for stdout
    #[arg(short, long, value_name = "DEST", default_value = ".", value_hint = clap::ValueHint::AnyPath)]
    output: PathBuf,
    /// Make one archive: zip, tar, tar.gz or tar.zst; by the name of --output where folders or several files go into it
    #[arg(long, value_name = "FORMAT", value_parser = formats())]
    archive: Option<ArchiveFormat>,
    /// What happens to files that are there already: never (leave them), newer (replace older ones), always
    #[arg(long, value_name = "WHEN")]
    overwrite: Option<When>,
    /// Leave files to who runs this, also as root
    #[arg(long)]
    no_owner: bool,
    /// Make device nodes too, and keep setuid and setgid bits; only as root, or in a tar archive
    #[arg(long)]
    special: bool,
    #[command(flatten)]
    view: ViewArgs,
}

fn formats() -> impl TypedValueParser<Value = ArchiveFormat> {
    let words = ArchiveFormat::ALL.map(ArchiveFormat::as_str);
    PossibleValuesParser::new(words).try_map(|word| word.parse::<ArchiveFormat>())
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum When {
    Never,
    Newer,
    Always,
}

/// What one word of the command line means.
struct Found {
    entry: FileEntry,
    name: Vec<u8>,
}

impl Args {
    pub fn run(self, app: &App) -> Result<Exit> {
        let mut words = self.point.paths();
        words.extend(self.file.iter().map(|path| path.as_bytes().to_vec()));
        if words.is_empty() {
            return Err(Failure::usage("no file is named")
                .next("sendense-ctl backup extract BACKUP PATH --output DEST"));
        }
        let hub = app.connect(Work::Requests)?;
        let session = Browsing::open(&hub, app, &self.point.address(), &self.view)?;
        if let Some(format) = self.archive {
            return self.pack(&hub, &session, app, &words, format);
        }
        let (found, several) = find(&session, &words, app)?;
        if self.output == Path::new("-") {
            return to_stdout(&session, &found);
        }
        let one_file = !several && found.iter().all(|one| one.entry.kind != FileType::Directory);
        if let Some(format) = self.named_format().filter(|_| !one_file) {
            return self.pack(&hub, &session, app, &words, format);
        }
        let wanted = Wanted { overwrite: self.overwrite(), owners: !self.no_owner, special: self.special };
        let mut extraction = Extraction::new(&hub, &session, &app.ui, wanted, &words)?;
        if let (true, [one]) = (one_file && !self.is_folder(), found.as_slice()) {
            let (folder, name) = split(&self.output);
            extraction.file(&one.entry, &folder, name.as_bytes())?;
            let skipped = extraction.report.skipped > 0;
            if skipped && self.overwrite.is_none() {
                let output = self.output.display();
                return Err(Failure::new(
                    Exit::Refused,
                    "already_exists",
                    format!("{output} exists, and was left as it is"),
                )
                .next("choose another --output, or replace it: --overwrite always"));
            }
        } else {
            distinct(&found)?;
            for one in &found {
                match (one.entry.kind, one.name.is_empty()) {
                    (FileType::Directory, true) => extraction.content(&one.entry, &self.output)?,
                    _ => extraction.file(&one.entry, &self.output, &one.name)?,
                }
            }
        }
        let report = extraction.report.clone();
        drop(extraction);
        self.tell(app, &session, &report, "extracted")
    }

    /// Makes one archive of what the words name.
    fn pack(
        &self,
        hub: &Connection,
        session: &Browsing<'_>,
        app: &App,
        words: &[Vec<u8>],
        format: ArchiveFormat,
    ) -> Result<Exit> {
        if self.no_owner {
            return Err(Failure::usage("an archive has the owners, and --no-owner leaves them out")
                .next("unpack it with: tar --no-same-owner"));
        }
        let archiver = Archiver::new(hub, session, &app.ui);
        let order = Order { words, format, special: self.special };
        let report = if self.output == Path::new("-") {
            let Some(report) = archiver.to_stdout(&order)? else { return Ok(Exit::Done) };
            report
        } else if self.is_folder() {
            return Err(Failure::usage("--output is a folder, and --archive makes a file")
                .next(format!("name the file: --output backup.{format}")));
        } else {
            archiver.to_file(&order, &self.output, self.overwrite())?
        };
        self.tell(app, session, &report, "packed")
    }

    /// The format that the output's name means.
    fn named_format(&self) -> Option<ArchiveFormat> {
        let name = self.output.file_name().filter(|_| !self.is_folder())?;
        ArchiveFormat::of_name(&name.to_string_lossy())
    }

    fn overwrite(&self) -> Overwrite {
        match self.overwrite {
            None | Some(When::Never) => Overwrite::Never,
            Some(When::Newer) => Overwrite::Newer,
            Some(When::Always) => Overwrite::Always,
        }
    }

    /// Whether the output is meant as a folder.
    fn is_folder(&self) -> bool {
        self.output.is_dir() || self.output.as_os_str().as_bytes().ends_with(b"/")
    }

    fn tell(&self, app: &App, session: &Browsing<'_>, report: &Report, done: &str) -> Result<Exit> {
        for warning in session.now()?.warnings {
            app.ui.warn(&one_line(&warning));
        }
        let incomplete = report.failed > 0 || (report.skipped > 0 && self.overwrite.is_none());
        let piped = self.output == Path::new("-");
        if app.ui.json && !piped {
            app.ui.json_line(&summary(report));
        } else if !app.ui.quiet {
            let mut parts = vec![format!("{} files", report.files)];
            let counts =
                [(report.folders, "folders"), (report.links, "links"), (report.special, "special files")];
            parts.extend(
                counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")),
            );
            let size = app.ui.show.size(report.bytes);
            let output = self.output.to_string_lossy();
            app.ui.note(&format!(
                "{}, {size} {done} to {}",
                parts.join(", "),
                if piped { "stdout".into() } else { shell_word(&output) }
            ));
            let left = [
                (report.skipped, "left as they are, because they exist (--overwrite newer|always)"),
                (report.left_out, "device nodes, pipes and sockets left out (--special, as root)"),
                (report.incomplete, "without some of their attributes"),
                (report.failed, "could not be extracted"),
            ];
            for (count, what) in left.iter().filter(|(count, _)| *count > 0) {
                app.ui.note(&format!("{count} {what}"));
            }
            let done = report.files + report.folders + report.links + report.special;
            if done + left.iter().map(|(count, _)| count).sum::<u64>() == 0 {
                app.ui.note("nothing stands there; `sendense-ctl backup volumes` shows what the disks hold, and where");
            }
        }
        Ok(if incomplete { Exit::Incomplete } else { Exit::Done })
    }
}

/// The last line of `--json`.
fn summary(report: &Report) -> serde_json::Value {
    serde_json::json!({
        "message_type": "summary",
        "schema_version": cli::SCHEMA_VERSION,
        "success": report.failed == 0,
        "files": report.files,
        "folders": report.folders,
        "links": report.links,
        "special": report.special,
        "bytes": report.bytes,
        "skipped": report.skipped,
        "left_out": report.left_out,
        "incomplete": report.incomplete,
        "failed": report.failed,
    })
}

/// What the words mean, and whether they can mean several things.
fn find(session: &Browsing<'_>, words: &[Vec<u8>], app: &App) -> Result<(Vec<Found>, bool)> {
    let mut found = Vec::new();
    let mut several = words.len() > 1;
    for word in words {
        let shown = one_line(&String::from_utf8_lossy(word));
        if word.iter().any(|byte| matches!(byte, b'*' | b'?' | b'[')) {
            several = true;
            let before = found.len();
            session.glob(word, &mut |page| {
                for error in &page.errors {
                    app.ui.warn(&one_line(&format!("{}: {}", error.path, error.error)));
                }
                found.extend(page.files.into_iter().map(named));
                Ok(())
            })?;
            if found.len() == before {
                return Err(Failure::new(
                    Exit::NotFound,
                    "file_not_found",
                    format!("nothing in the backup matches {shown}"),
                )
                .next("`sendense-ctl backup ls` shows what there is"));
            }
        } else {
            found.push(named(session.info(word, true)?.file));
        }
    }
    Ok((found, several))
}

fn named(entry: FileEntry) -> Found {
    let path = path_of(&entry);
    let name = path.as_bytes().rsplit(|&byte| byte == b'/').next().unwrap_or_default().to_vec();
    Found { entry, name }
}

/// Two files of one name can't go into one folder.
fn distinct(found: &[Found]) -> Result<()> {
    let mut seen: HashMap<&[u8], &Found> = HashMap::new();
    for one in found {
        if let Some(other) = seen.insert(&one.name, one)
            && other.entry.path_b64 != one.entry.path_b64
        {
            let name = OsStr::from_bytes(&one.name).to_string_lossy().into_owned();
            return Err(Failure::usage(format!("two files would be called {}", one_line(&name)))
                .why(format!("{} and {}", one_line(&other.entry.path), one_line(&one.entry.path)))
                .next("extract them one by one, or the folder that they are in"));
        }
    }
    Ok(())
}

fn to_stdout(session: &Browsing<'_>, found: &[Found]) -> Result<Exit> {
    let mut out = std::io::stdout().lock();
    for one in found {
        match session.copy(path_of(&one.entry).as_bytes(), &mut out)? {
            Copied::All(_) => {}
            Copied::NotWritten(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(Exit::Done),
            Copied::NotWritten(error) => return Err(Failure::local("stdout can't be written", &error)),
        }
    }
    match out.flush() {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::local("stdout can't be written", &error))
        }
        _ => Ok(Exit::Done),
    }
}
