//! `repo create`: a new repository, or one that was there before.

use api::{CreateRepository, RepositoryAnswer, RepositoryConfig};
use cli::{App, During, Exit, Failure, Manual, Result, Work};
use model::{ByteSize, RepositoryId, RepositoryType};
use std::path::PathBuf;

const MANUAL: Manual = Manual {
    examples: &[
        ("on a disk of its own, used from now on", "sendense-ctl repo create big --path /backup --default"),
        ("keep 50 GiB free there", "sendense-ctl repo create big --path /backup --reserve 50G"),
    ],
    exits: cli::exits![Refused, Unreachable, Locked, Denied, NoSpace],
};

/// Make a repository in a folder
///
/// A folder that was a repository before is one again, with its backups: sendense-ctl repo scan lists them in the
/// catalog.
#[derive(Debug, clap::Args)]
#[command(after_long_help = MANUAL.help(), add = MANUAL)]
pub struct Args {
    /// What to call it
    name: RepositoryId,
    /// Its folder on the hub's machine; made where it is missing
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    path: PathBuf,
    /// Kind of storage
    #[arg(long = "type", value_name = "TYPE", default_value = "local", value_parser = ["local"])]
    kind: String,
    /// Use it where no repository is named
    #[arg(long)]
    default: bool,
    /// What backups must leave free there, such as 50G [default: 1 % of the file system, 1 GiB at most]
    #[arg(long, value_name = "SIZE")]
    reserve: Option<ByteSize>,
}

impl Args {
    pub fn run(self, app: &App) -> Result<Exit> {
        let path = std::path::absolute(&self.path)
            .ok()
            .and_then(|path| path.to_str().map(str::to_owned))
            .ok_or_else(|| {
                Failure::usage(format!("{} can't be a repository", self.path.display()))
                    .why("its path is empty or not UTF-8")
            })?;
        // The only kind that the parser lets through.
        debug_assert_eq!(self.kind, RepositoryType::Local.as_str());
        let request = CreateRepository {
            name: self.name,
            kind: RepositoryType::Local,
            config: RepositoryConfig::local(path),
            immutable: false,
            default: self.default,
            reserve_bytes: self.reserve.map(|size| size.0),
        };
        let hub = app.connect(Work::Requests)?;
        let repository = hub
            .wait(hub.client().create_repository(&request))
            .during(|| format!("the repository {} was not made", request.name))?;
        if app.ui.json {
            app.ui.document(&RepositoryAnswer { success: true, repository });
        } else {
            let place = repository.config.disk_path.unwrap_or_default();
            app.ui.note(&format!("repository {} made in {place}", repository.name));
        }
        Ok(Exit::Done)
    }
}
