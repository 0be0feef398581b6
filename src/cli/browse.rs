//! Looking into a restore point: what the commands on files share.
//!
//! A [`Browsing`] is an open restore session of the hub. It is closed when it is dropped, whatever happened.

use crate::connect::{App, Connection, During};
use crate::failure::{Failure, Result};
use crate::{complete, show};
use api::{
    CLIENT_SECONDS, ClientError, ErrorCode, FileEntry, FileInfo, FileList, FilesQuery, Mount, MountBackup,
    PathQuery, from_base64, to_base64,
};
use clap::Args;
use clap_complete::engine::ArgValueCompleter;
use std::ffi::{OsStr, OsString};
use std::future::Future;
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;
use tokio::task::JoinHandle;

/// How many entries are asked for at once.
const PAGE: u32 = 1000;
/// How often a hub elsewhere is told that this process is still there.
const SIGN_OF_LIFE: Duration = Duration::from_secs(CLIENT_SECONDS / 6);
/// More than this is no key file.
const MAX_KEY: u64 = 8 << 20;

/// A backup and paths in it, as positional words: `BACKUP [PATH…]`, or `--backup-id BACKUP [PATH…]`.
#[derive(Debug, Clone, Args)]
pub struct PointArgs {
    /// The backup (an id, the beginning of one, latest, VM@latest, VM@2025-10-06), then paths in it
    #[arg(value_name = "BACKUP] [PATH", required_unless_present = "backup_id", add = ArgValueCompleter::new(complete::backup_then_paths))]
    words: Vec<OsString>,
    /// The backup as an option; all words are paths then
    #[arg(long, value_name = "BACKUP", add = ArgValueCompleter::new(complete::backups))]
    backup_id: Option<String>,
}

impl PointArgs {
    /// The address of the backup.
    pub fn address(&self) -> String {
        match (&self.backup_id, self.words.first()) {
            (Some(id), _) => id.clone(),
            (None, Some(word)) => word.to_string_lossy().into_owned(),
            (None, None) => String::new(),
        }
    }

    /// The paths.
    pub fn paths(&self) -> Vec<Vec<u8>> {
        let skipped = usize::from(self.backup_id.is_none());
        self.words.iter().skip(skipped).map(|word| word.as_bytes().to_vec()).collect()
    }
}

/// What of a point is looked at, and how.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Disk options")]
pub struct ViewArgs {
    /// Only this disk of the backup, from 0
    #[arg(long, value_name = "N")]
    pub disk: Option<u32>,
    /// Only this volume, such as disk0/part1; its root folder is / then
    #[arg(long, value_name = "ID", add = ArgValueCompleter::new(complete::volumes))]
    pub volume: Option<String>,
    /// Show volumes whose journal can't be replayed as they lie on the disk
    #[arg(long)]
    pub ignore_journal: bool,
    /// A file that opens encrypted volumes: a key file, or a passphrase in its first line
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Vec<PathBuf>,
    /// Ask for a passphrase on the terminal
    #[arg(long)]
    pub ask_passphrase: bool,
}

impl ViewArgs {
    /// The keys, in Base64.
    ///
    /// # Errors
    /// A file can't be read, or there is no terminal to ask on.
    pub fn keys(&self) -> Result<Vec<String>> {
        let mut keys = Vec::new();
        for path in &self.passphrase_file {
            let failed =
                |error: &std::io::Error| Failure::local(format!("{} can't be read", path.display()), error);
            let size = std::fs::metadata(path).map_err(|error| failed(&error))?.len();
            if size > MAX_KEY {
                return Err(Failure::usage(format!("{} is too large for a key file", path.display())));
            }
            let content = std::fs::read(path).map_err(|error| failed(&error))?;
            let line = content.split(|&byte| byte == b'\n').next().unwrap_or_default();
            if line.len() != content.len() {
                keys.push(to_base64(line));
            }
            keys.push(to_base64(&content));
        }
        if self.ask_passphrase {
            let asked =
                dialoguer::Password::new().with_prompt("Passphrase of the guest's volumes").interact();
            let asked = asked.map_err(|error| {
                Failure::usage("there is no terminal to ask on")
                    .why(error.to_string())
                    .next("give --passphrase-file FILE")
            })?;
            keys.push(to_base64(asked.as_bytes()));
        }
        Ok(keys)
    }
}

/// An open session.
pub struct Browsing<'a> {
    hub: &'a Connection,
    /// Tells a hub elsewhere that this process is still there.
    signs: Option<JoinHandle<()>>,
    /// As it was when it was opened.
    pub mount: Mount,
}

impl<'a> Browsing<'a> {
    /// Opens a point.
    ///
    /// # Errors
    /// No such point; what hides all of it.
    pub fn open(hub: &'a Connection, app: &App, address: &str, view: &ViewArgs) -> Result<Browsing<'a>> {
        let attempt = || format!("{address} can't be opened");
        let backup = hub.resolve(app, address).during(attempt)?;
        let request = MountBackup {
            disk_id: view.disk,
            volume: view.volume.clone(),
            ignore_journal: view.ignore_journal,
            keys_b64: view.keys()?,
            client_timeout_seconds: hub.client_timeout(),
            ..MountBackup::of(backup.id)
        };
        let mount = hub.wait(hub.client().mount(&request)).during(attempt)?;
        let (client, id) = (hub.client().clone(), mount.mount_id.clone());
        let signs = async move {
            loop {
                tokio::time::sleep(SIGN_OF_LIFE).await;
                if let Err(error) = client.mounted(&id).await {
                    tracing::debug!(%error, "the session could not be asked for");
                }
            }
        };
        let signs = request.client_timeout_seconds.map(|_| hub.spawn(signs));
        Ok(Browsing { hub, signs, mount })
    }

    fn id(&self) -> &str {
        &self.mount.mount_id
    }

    /// The session as it is now.
    ///
    /// # Errors
    /// Where it is closed.
    pub fn now(&self) -> Result<Mount> {
        Ok(self.hub.wait(self.hub.client().mounted(self.id()))?)
    }

    /// All of a folder, page by page; `take` may end it.
    ///
    /// # Errors
    /// Where the folder can't be read.
    pub fn folder(
        &self,
        path: &[u8],
        recursive: bool,
        xattrs: bool,
        take: &mut dyn FnMut(FileList) -> Result<()>,
    ) -> Result<()> {
        let (client, id) = (self.hub.client().clone(), self.id().to_owned());
        let ask = move |query: FilesQuery| {
            let (client, id) = (client.clone(), id.clone());
            async move { client.files(&id, &query).await }
        };
        self.pages(path, recursive, xattrs, ask, take)
    }

    /// All that matches a pattern, page by page.
    ///
    /// # Errors
    /// Where the pattern is beyond the bounds.
    pub fn glob(&self, pattern: &[u8], take: &mut dyn FnMut(FileList) -> Result<()>) -> Result<()> {
        let (client, id) = (self.hub.client().clone(), self.id().to_owned());
        let ask = move |query: FilesQuery| {
            let (client, id) = (client.clone(), id.clone());
            async move { client.glob(&id, &query).await }
        };
        self.pages(pattern, false, true, ask, take)
    }

    /// Asks for the next page while the one before is taken.
    fn pages<F>(
        &self,
        path: &[u8],
        recursive: bool,
        xattrs: bool,
        ask: impl Fn(FilesQuery) -> F,
        take: &mut dyn FnMut(FileList) -> Result<()>,
    ) -> Result<()>
    where
        F: Future<Output = Result<FileList, ClientError>> + Send + 'static,
    {
        let place = PathQuery::of(path);
        let page = |offset: u64| FilesQuery {
            path: place.path.clone(),
            path_b64: place.path_b64.clone(),
            recursive: recursive.then_some(true),
            xattrs: xattrs.then_some(true),
            count: Some(false),
            limit: Some(PAGE),
            offset: Some(offset),
        };
        let mut offset = 0;
        let mut list = self.hub.wait(ask(page(0)))?;
        loop {
            // Those that can't be read count too.
            offset += u64::from(PAGE);
            let next = list.more.then(|| self.hub.spawn(ask(page(offset))));
            take(list)?;
            let Some(next) = next else { return Ok(()) };
            list = self.hub.wait(next).map_err(|error| {
                Failure::new(crate::Exit::Failed, "internal", "a page of the listing was lost")
                    .why(error.to_string())
            })??;
        }
    }

    /// Everything about one file.
    ///
    /// # Errors
    /// Where it is not there or can't be read.
    pub fn info(&self, path: &[u8], follow: bool) -> Result<FileInfo> {
        let query = PathQuery { no_follow: (!follow).then_some(true), ..PathQuery::of(path) };
        Ok(self.hub.wait(self.hub.client().file_info(self.id(), &query))?)
    }

    /// Writes a file's content to `out`. Where `out` takes it so slowly that the hub gives up, it is taken up again.
    ///
    /// # Errors
    /// Where it can't be read, or `out` not be written: told apart by [`Copied`].
    pub fn copy(&self, path: &[u8], out: &mut dyn Write) -> Result<Copied> {
        let query = PathQuery::of(path);
        let (mut at, mut end, mut broken_at) = (0, None, None);
        loop {
            let error = match self.hub.wait(self.stream(&query, &mut at, &mut end, out)) {
                Ok(copied) => return Ok(copied),
                Err(error) => Failure::from(error),
            };
            let Some(end) = end else { return Err(error) };
            match self.rest(&error, at, end, &mut broken_at) {
                Rest::MayCome => {}
                Rest::Unreadable | Rest::HubGone => {
                    let name = show::one_line(&String::from_utf8_lossy(path));
                    return Err(error.during(format!("{name} could not be read whole")));
                }
            }
        }
    }

    /// Writes what comes from `at` on, which moves with it; `end` is where the file ends, once that is known.
    async fn stream(
        &self,
        query: &PathQuery,
        at: &mut u64,
        end: &mut Option<u64>,
        out: &mut dyn Write,
    ) -> Result<Copied, ClientError> {
        let range = end.map(|end| *at..end);
        let mut download = self.hub.client().download(self.id(), query, range).await?;
        *end = end.or(download.length);
        while let Some(part) = download.next().await? {
            if let Err(error) = out.write_all(&part) {
                return Ok(Copied::NotWritten(error));
            }
            *at += part.len() as u64;
        }
        Ok(Copied::All(*at))
    }

    /// What can be expected after a stream of a file has broken off at `at`.
    ///
    /// That is the end of a hub that is gone, of a connection that was lost or given up, and of a file that can't be read any
    /// further: they look alike from here. So the hub is asked whether it is there, and then for the rest of the bytes; where
    /// it breaks off at the same place, it is the file.
    pub(crate) fn rest(&self, failure: &Failure, at: u64, end: u64, broken_at: &mut Option<u64>) -> Rest {
        if !is_cut(failure) || *broken_at == Some(at) || at >= end {
            return Rest::Unreadable;
        }
        *broken_at = Some(at);
        match self.now() {
            Err(gone) if is_cut(&gone) => Rest::HubGone,
            _ => {
                tracing::debug!(at, "a download broke off and is taken up again");
                Rest::MayCome
            }
        }
    }
}

/// True where there was no answer, or not all of it.
fn is_cut(failure: &Failure) -> bool {
    *failure.code == *ErrorCode::HubUnreachable.as_str()
}

/// What of a file may still come.
pub(crate) enum Rest {
    /// All of it, perhaps: it is to be asked for.
    MayCome,
    /// Nothing: it can't be read.
    Unreadable,
    /// Nothing: there is no hub any more.
    HubGone,
}

impl Drop for Browsing<'_> {
    fn drop(&mut self) {
        if let Some(signs) = &self.signs {
            signs.abort();
        }
        // What the process leaves open is closed at its end.
        if let Err(error) = self.hub.wait(self.hub.client().unmount(&self.mount.mount_id)) {
            tracing::debug!(%error, "the session could not be closed");
        }
    }
}

/// How far a copy came.
#[derive(Debug)]
pub enum Copied {
    /// All of it: so many bytes.
    All(u64),
    /// What was read could not be written.
    NotWritten(std::io::Error),
}

/// A path as a query takes it: as text, or where it is none, in Base64.
pub fn path_of_text(path: &OsStr) -> (Option<String>, Option<String>) {
    match path.to_str() {
        Some(text) => (Some(text.to_owned()), None),
        None => (None, Some(to_base64(path.as_bytes()))),
    }
}

/// The exact path of an entry.
pub fn path_of(entry: &FileEntry) -> OsString {
    exact(&entry.path_b64, &entry.path)
}

/// The exact target of a link.
pub fn target_of(entry: &FileEntry) -> Option<OsString> {
    let target = entry.link_target.as_deref()?;
    Some(
        entry
            .link_target_b64
            .as_deref()
            .map_or_else(|| OsStr::new(target).to_owned(), |b64| exact(b64, target)),
    )
}

fn exact(b64: &str, text: &str) -> OsString {
    from_base64(b64).map_or_else(|_| OsStr::new(text).to_owned(), OsString::from_vec)
}
