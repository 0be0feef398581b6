//! `repo storage`: the room of a repository.

use super::RepoArg;
use api::StorageAnswer;
use cli::{App, During, Exit, Manual, Result, Work};

const MANUAL: Manual = Manual {
    examples: &[
        ("how much room there is", "sendense-ctl repo storage default"),
        ("for a script", "sendense-ctl repo storage default --json"),
    ],
    exits: cli::exits![NotFound, Unreachable, Locked, Denied],
};

/// Show how much room a repository has
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
        let storage = hub
            .wait(hub.client().repository_storage(&id))
            .during(|| format!("the room of the repository {id} can't be told"))?;
        if app.ui.json {
            app.ui.document(&StorageAnswer { success: true, storage });
            return Ok(Exit::Done);
        }
        let show = &app.ui.show;
        app.ui.fields(&[
            ("total", show.size(storage.total_size_bytes)),
            ("used", show.size(storage.used_size_bytes)),
            ("available", show.size(storage.available_size_bytes)),
            ("reserve", show.size(storage.reserve_bytes)),
            (
                "backups",
                format!("{} in {}", show.size(storage.backups_size_bytes), points(storage.backup_count)),
            ),
        ]);
        Ok(Exit::Done)
    }
}

fn points(count: u64) -> String {
    if count == 1 { "1 backup".to_owned() } else { format!("{count} backups") }
}
