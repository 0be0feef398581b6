//! `repo delete`: forgets a repository.

use super::RepoArg;
use cli::{App, During, Exit, Manual, Result, Work};

const MANUAL: Manual = Manual {
    examples: &[("without being asked", "sendense-ctl repo delete old --yes")],
    exits: cli::exits![NotFound, Refused, Unreachable, Locked, Denied],
};

/// Forget a repository; refused while it holds backups
///
/// Its folder stays.
#[derive(Debug, clap::Args)]
#[command(after_long_help = MANUAL.help(), add = MANUAL)]
pub struct Args {
    #[command(flatten)]
    repo: RepoArg,
}

impl Args {
    pub fn run(self, app: &App) -> Result<Exit> {
        let id = self.repo.repo;
        let attempt = || format!("the repository {id} was not deleted");
        let hub = app.connect(Work::Requests)?;
        hub.wait(hub.client().repository(&id)).during(attempt)?;
        cli::confirm(&app.ui, &format!("Forget the repository {id}?"))?;
        let deleted = hub.wait(hub.client().delete_repository(&id)).during(attempt)?;
        if app.ui.json {
            app.ui.document(&deleted);
        } else {
            app.ui.note(&format!("repository {id} deleted; its folder is still there"));
        }
        Ok(Exit::Done)
    }
}
