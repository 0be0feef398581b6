//! `backup consolidate`: keeps the later points of a chain, and merges the earlier ones into them.

use super::delete::{follow, question};
use api::Consolidate;
use clap_complete::engine::ArgValueCompleter;
use cli::{App, During, Exit, Failure, Manual, Result, Work, summary};
use jiff::Timestamp;
use model::{RepositoryId, VmName};

const MANUAL: Manual = Manual {
    examples: &[
        (
            "keep a month: a rolling full, without a new full backup",
            "sendense-ctl backup consolidate --vm pgtest2 --keep-since 30d --yes",
        ),
        ("what would go", "sendense-ctl backup consolidate --vm pgtest2 --keep-since 2025-10-06 --dry-run"),
    ],
    exits: cli::exits![
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

/// Merge the older backups of a chain into the later ones
///
/// The oldest backup that stays becomes the full. Every backup since then stays as it is; so do protected ones and the latest.
/// It may be interrupted at any time: what is left is whole.
#[derive(Debug, clap::Args)]
#[command(after_long_help = MANUAL.help(), add = MANUAL)]
pub struct Args {
    /// Of which VM
    #[arg(long, add = ArgValueCompleter::new(cli::complete::vms))]
    vm: VmName,
    /// What is older goes: 2025-10-06, 2025-10-06T03:00 or a time ago such as 30d
    #[arg(long, value_name = "WHEN")]
    keep_since: String,
    /// The disk whose latest chain is meant, the first where left out; backups go with all their disks
    #[arg(long, value_name = "N")]
    disk: Option<u32>,
    /// In this repository; that of the latest backup where left out
    #[arg(long, add = ArgValueCompleter::new(cli::complete::repositories))]
    repo: Option<RepositoryId>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

impl Args {
    pub fn run(self, app: &App) -> Result<Exit> {
        let vm = &self.vm;
        let attempt = || format!("the chain of {vm} was not consolidated");
        let keep_since = app.ui.show.moment(&self.keep_since, Timestamp::now());
        let request = Consolidate {
            disk_id: self.disk,
            keep_since: keep_since.map_err(Failure::usage)?,
            repository_id: self.repo,
            dry_run: true,
        };
        let hub = app.connect(Work::Jobs)?;
        let client = hub.client();
        hub.wait(async {
            let plan = client.consolidate(vm, &request).await.during(attempt)?.plan;
            let plan = plan.ok_or_else(|| Failure::new(Exit::Failed, "internal", attempt()))?;
            if self.dry_run {
                summary::deleted(&app.ui, None, &plan);
                return Ok(Exit::Done);
            }
            if plan.deleted.is_empty() {
                app.ui.note(&format!("{vm}: nothing is older than that, every backup stays"));
            } else {
                cli::confirm_plan(&app.ui, &question(&plan, &app.ui.show)).during(attempt)?;
            }
            let request = Consolidate { dry_run: false, ..request.clone() };
            follow(app, client, attempt(), async {
                let job = client.consolidate(vm, &request).await.during(attempt)?.job;
                job.ok_or_else(|| Failure::new(Exit::Failed, "internal", attempt()))
            })
            .await
        })
    }
}
