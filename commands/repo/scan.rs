//! `repo scan`: the catalog made true again by what lies in a repository.

use super::RepoArg;
use cli::{App, During, Exit, Manual, Result, Work};

const MANUAL: Manual = Manual {
    examples: &[
        ("after the catalog was lost", "sendense-ctl repo scan default"),
        (
            "a repository of another machine",
            "sendense-ctl repo create old --path /mnt/old && sendense-ctl repo scan old",
        ),
    ],
    exits: cli::exits![Incomplete, NotFound, Unreachable, Locked, Denied],
};

/// Bring the catalog in line with what lies in a repository
///
/// Restore points that the catalog does not know are added from the files beside them, and what is listed
/// but no longer there is marked as failed. Nothing in the repository is changed.
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
        let report = hub
            .wait(hub.client().scan_repository(&id))
            .during(|| format!("the repository {id} was not scanned"))?;
        for problem in &report.problems {
            app.ui.warn(problem);
        }
        if app.ui.json {
            app.ui.document(&report);
        } else if !app.ui.quiet {
            app.ui.fields(&[
                ("found", report.found.to_string()),
                ("added", report.added.to_string()),
                ("updated", report.updated.to_string()),
                ("missing", report.missing.to_string()),
            ]);
        }
        Ok(if report.problems.is_empty() { Exit::Done } else { Exit::Incomplete })
    }
}
