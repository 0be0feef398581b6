//! `repo test`: whether a repository, or a folder that is to be one, can take backups.

use api::{RepositoryConfig, TestRepository};
use clap_complete::engine::ArgValueCompleter;
use cli::{App, During, Exit, Failure, Manual, Result, Work};
use model::{RepositoryId, RepositoryType};
use std::path::PathBuf;

const MANUAL: Manual = Manual {
    examples: &[
        ("one that exists", "sendense-ctl repo test default"),
        ("a folder, before it becomes one", "sendense-ctl repo test --path /mnt/nas/backup"),
    ],
    exits: cli::exits![NotFound, Unreachable, Locked, Denied],
};

/// Check that a repository can be reached and written, has room, and how fast it is
#[derive(Debug, clap::Args)]
#[command(after_long_help = MANUAL.help(), add = MANUAL)]
pub struct Args {
    /// Which repository: its name or id
    #[arg(
        value_name = "REPO",
        required_unless_present = "path",
        add = ArgValueCompleter::new(cli::complete::repositories)
    )]
    repo: Option<RepositoryId>,
    /// A folder that is no repository yet
    #[arg(long, value_name = "DIR", conflicts_with = "repo", value_hint = clap::ValueHint::DirPath)]
    path: Option<PathBuf>,
}

impl Args {
    pub fn run(self, app: &App) -> Result<Exit> {
        let mut request = TestRepository { repository_id: self.repo, name: None, kind: None, config: None };
        let mut what = request.repository_id.as_ref().map(|id| format!("the repository {id}"));
        if let Some(path) = self.path {
            let path = std::path::absolute(&path)
                .ok()
                .and_then(|path| path.to_str().map(str::to_owned))
                .ok_or_else(|| Failure::usage(format!("{} can't be a repository", path.display())))?;
            what = Some(path.clone());
            request.kind = Some(RepositoryType::Local);
            request.config = Some(RepositoryConfig::local(path));
        }
        let what = what.unwrap_or_default();
        let hub = app.connect(Work::Requests)?;
        let report = hub
            .wait(hub.client().test_repository(&request))
            .during(|| format!("{what} could not be tested"))?;
        if app.ui.json {
            app.ui.document(&report);
        } else {
            let paint = app.ui.stdout_paint();
            for check in &report.checks {
                let state = if check.ok { paint.good("ok    ") } else { paint.error("failed") };
                app.ui.line(&format!("{state}  {:<10}  {}", check.name, cli::one_line(&check.detail)));
            }
        }
        Ok(if report.success { Exit::Done } else { Exit::Unreachable })
    }
}
