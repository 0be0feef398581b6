//! `repo show`: one repository.

use super::RepoArg;
use api::RepositoryAnswer;
use cli::{App, During, Exit, Manual, Result, Work};

const MANUAL: Manual = Manual {
    examples: &[("the one that is made by itself", "sendense-ctl repo show default")],
    exits: cli::exits![NotFound, Unreachable, Locked, Denied],
};

/// Show a repository
#[derive(Debug, clap::Args)]
#[command(after_long_help = MANUAL.help(), add = MANUAL)]
pub struct Args {
    #[command(flatten)]
    repo: RepoArg,
}

impl Args {
    pub fn run(self, app: &App) -> Result<Exit> {
        let id = self.repo.repo;
        let hub = app.connect(Work::Requests)?;
        let repository = hub
            .wait(hub.client().repository(&id))
            .during(|| format!("the repository {id} can't be shown"))?;
        if app.ui.json {
            app.ui.document(&RepositoryAnswer { success: true, repository });
            return Ok(Exit::Done);
        }
        let show = &app.ui.show;
        let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
        let size =
            |bytes: Option<u64>| bytes.map(|bytes| show.size(bytes)).unwrap_or_else(|| "unreachable".into());
        app.ui.fields(&[
            ("name", repository.name.to_string()),
            ("id", repository.id.to_string()),
            ("type", repository.kind.to_string()),
            ("path", repository.config.disk_path.unwrap_or_default()),
            ("default", yes(repository.default)),
            ("enabled", yes(repository.enabled)),
            ("backups", repository.backup_count.to_string()),
            ("total", size(repository.total_size_bytes)),
            ("used", size(repository.used_size_bytes)),
            ("available", size(repository.available_size_bytes)),
            ("reserve", repository.reserve_bytes.map(|bytes| show.size(bytes)).unwrap_or_default()),
            ("created", show.time(repository.created_at)),
            ("changed", show.time(repository.updated_at)),
        ]);
        Ok(Exit::Done)
    }
}
