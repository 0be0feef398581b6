//! Files out of a restore session as one archive, which the hub makes while it is fetched.
//!
//! A file gets its name when the archive is complete, and can be read by who made it only: an archive holds what the
//! guest let nobody else read. Whatever ends it before, Ctrl-C too, leaves nothing. A pipe gets the bytes as they come;
//! where the archive breaks off, the exit code tells.

use crate::browse::Browsing;
use crate::connect::Connection;
use crate::exit::Exit;
use crate::extract::target::{Attributes, Folder};
use crate::extract::{Meter, Overwrite, Report, split, tell_swept};
use crate::failure::{Failure, Result};
use crate::interrupt::{Interrupts, Wish};
use crate::show::one_line;
use crate::ui::Ui;
use api::{
    ArchiveDownload, ArchiveFormat, ArchiveProgress, ArchiveStatus, ErrorCode, MakeArchive, Selection,
};
use std::io::{self, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What is wanted.
#[derive(Debug)]
pub struct Order<'a> {
    /// Paths and patterns in the backup.
    pub words: &'a [Vec<u8>],
    /// The form.
    pub format: ArchiveFormat,
    /// With device nodes, pipes, and the setuid and setgid bits.
    pub special: bool,
}

/// Fetches archives out of one session.
pub struct Archiver<'a> {
    hub: &'a Connection,
    session: &'a Browsing<'a>,
    ui: &'a Ui,
}

/// Where the bytes go.
enum Ended {
    /// All of them are there.
    Well,
    /// Nobody reads them any more.
    ReaderGone,
}

impl<'a> Archiver<'a> {
    /// Nothing is done yet.
    pub fn new(hub: &'a Connection, session: &'a Browsing<'a>, ui: &'a Ui) -> Self {
        Archiver { hub, session, ui }
    }

    /// Makes the file `path`. The report's counts are those of the archive.
    ///
    /// # Errors
    /// Where the file is there already, unless it is to be replaced; where it can't be written; where the archive breaks
    /// off; a signal. No file is left then.
    pub fn to_file(&self, order: &Order<'_>, path: &Path, overwrite: Overwrite) -> Result<Report> {
        let shown = one_line(&path.to_string_lossy());
        if overwrite == Overwrite::Never && path.symlink_metadata().is_ok() {
            return Err(Failure::new(
                Exit::Refused,
                "already_exists",
                format!("{shown} exists, and was left as it is"),
            )
            .next("choose another --output, or replace it: --overwrite always"));
        }
        let (folder, name) = split(path);
        let unwritable = |error: &io::Error| unwritable(&shown, error);
        let folder = Folder::target(&folder).map_err(|error| unwritable(&error))?;
        tell_swept(self.ui, &folder);
        let mut partial = folder.begin().map_err(|error| unwritable(&error))?;
        let interrupts = self.hub.wait(async { Interrupts::listen() })?;
        let report = match self.fetch(order, &mut partial.file, Some(interrupts))? {
            (Ended::Well, report) => report,
            (Ended::ReaderGone, _) => return Err(unwritable(&io::ErrorKind::BrokenPipe.into())),
        };
        let attributes = Attributes { mode: 0o600, ..Attributes::default() };
        partial
            .finish(name.as_bytes(), &attributes, overwrite != Overwrite::Never)
            .map_err(|error| unwritable(&error))?;
        Ok(report)
    }

    /// Writes the archive to stdout. `None` where its reader has gone away.
    ///
    /// # Errors
    /// Where stdout is a terminal or can't be written; where the archive breaks off; a signal.
    pub fn to_stdout(&self, order: &Order<'_>) -> Result<Option<Report>> {
        let mut out = io::stdout().lock();
        if out.is_terminal() {
            return Err(Failure::usage("an archive is nothing to read on a terminal")
                .next("name a file with --output, or pipe it to a program"));
        }
        // A signal ends the program as it ends any other in a pipe: there is nothing to clean up.
        Ok(match self.fetch(order, &mut out, None)? {
            (Ended::Well, report) => Some(report),
            (Ended::ReaderGone, _) => None,
        })
    }

    fn fetch(
        &self,
        order: &Order<'_>,
        out: &mut dyn Write,
        mut interrupts: Option<Interrupts>,
    ) -> Result<(Ended, Report)> {
        let selection = Selection::of(order.words);
        let request = MakeArchive {
            paths: selection.paths,
            paths_b64: selection.paths_b64,
            format: order.format,
            special: order.special,
        };
        let mut meter = Meter::new(self.hub, self.session, self.ui, order.words);
        let mount = &self.session.mount.mount_id;
        self.hub.wait(async {
            let mut download = self.hub.client().archive(mount, &request).await?;
            loop {
                let next = tokio::select! {
                    biased;
                    wish = wish(&mut interrupts) => match wish {
                        Wish::Stop(exit) => {
                            let failure = Failure::new(exit, "cancelled", "the archive was stopped");
                            return Err(failure.why("nothing is left of it"));
                        }
                        Wish::Status => {
                            if let Some(now) = self.progress(&download).await {
                                self.ui.note(&meter.line(now.files, now.bytes));
                            }
                            continue;
                        }
                    },
                    next = download.bytes.next() => next,
                };
                match next {
                    Ok(Some(bytes)) => match out.write_all(&bytes) {
                        Ok(()) => {}
                        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                            return Ok((Ended::ReaderGone, Report::default()));
                        }
                        Err(error) => return Err(unwritable("the archive", &error)),
                    },
                    Ok(None) => break,
                    Err(error) => {
                        let ended = self.progress(&download).await;
                        return Err(broken(ended, error.into()));
                    }
                }
                if meter.is_due()
                    && let Some(now) = self.progress(&download).await
                {
                    meter.show(now.files, now.bytes);
                }
            }
            out.flush().map_err(|error| unwritable("the archive", &error))?;
            let Some(now) = self.progress(&download).await else {
                return Err(Failure::new(
                    Exit::Failed,
                    "internal",
                    "the hub does not tell what is in the archive",
                )
                .why("what could not be read is missing in it without a word"));
            };
            for error in &now.errors {
                self.ui.warn(&one_line(&format!("{}: {}", error.path, error.error)));
            }
            Ok((Ended::Well, report(&now)))
        })
    }

    async fn progress(&self, download: &ArchiveDownload) -> Option<ArchiveProgress> {
        let id = download.archive_id.as_ref()?;
        self.hub.client().archive_progress(&self.session.mount.mount_id, id).await.ok()
    }
}

/// The next wish; never, where nobody listens.
async fn wish(interrupts: &mut Option<Interrupts>) -> Wish {
    match interrupts {
        Some(interrupts) => interrupts.next().await,
        None => std::future::pending().await,
    }
}

fn report(now: &ArchiveProgress) -> Report {
    Report {
        files: now.files,
        folders: now.folders,
        links: now.links,
        special: now.special,
        bytes: now.bytes,
        left_out: now.left_out,
        failed: now.failed,
        ..Report::default()
    }
}

/// The stream broke off: the hub may know why.
fn broken(ended: Option<ArchiveProgress>, cut: Failure) -> Failure {
    let Some(ended) = ended.filter(|ended| ended.status == ArchiveStatus::Failed) else { return cut };
    let Some(reason) = ended.error else { return cut };
    let code =
        ended.error_code.and_then(|code| code.parse::<ErrorCode>().ok()).unwrap_or(ErrorCode::Internal);
    Failure::new(Exit::from_number(code.exit_code()), code.as_str(), "the archive broke off, and is not kept")
        .why(reason)
        .next("without --archive, files that can't be read are left out by themselves")
}

fn unwritable(what: &str, error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Failure::new(Exit::NoSpace, "no_space", format!("there is no room for {what}"))
                .why(error.to_string())
                .next("make room, or choose another --output")
        }
        _ => Failure::local(format!("{what} can't be written"), error).next("choose another --output"),
    }
}
