//! `backup watch`: follows backups that another process runs.

use api::{Backup, Client, JobQuery, JobView};
use clap_complete::engine::ArgValueCompleter;
use cli::{
    App, During, Exit, Failure, Follow, Interrupts, Manual, OnStop, Reporter, Result, Work, backup_job,
};
use model::{JobType, VmName};

const MANUAL: Manual = Manual {
    examples: &[
        ("whatever runs", "sendense-ctl backup watch"),
        ("the one of a VM", "sendense-ctl backup watch --vm pgtest2"),
        ("one started with --detach", "sendense-ctl backup watch backup-pgtest2-20251006-120000"),
    ],
    exits: cli::exits![
        Incomplete,
        NotFound,
        Damaged,
        Unreachable,
        Locked,
        Denied,
        Source,
        NoSpace,
        HungUp,
        Interrupted,
        Terminated
    ],
};

/// Follow backups until they end
///
/// Without BACKUP: those that run now. Ends as the backup does: with its summary and 0, or with its failure and
/// that failure's code. Ctrl-C ends the watching only.
#[derive(Debug, clap::Args)]
#[command(after_long_help = MANUAL.help(), add = MANUAL)]
pub struct Args {
    /// Which backup: an id or the beginning of one
    #[arg(value_name = "BACKUP", add = ArgValueCompleter::new(cli::complete::backups))]
    backup: Option<String>,
    /// The same, as an option
    #[arg(long, value_name = "BACKUP", conflicts_with = "backup",
        add = ArgValueCompleter::new(cli::complete::backups))]
    backup_id: Option<String>,
    /// Those of this VM that run now
    #[arg(long, conflicts_with_all = ["backup", "backup_id"],
        add = ArgValueCompleter::new(cli::complete::vms))]
    vm: Option<VmName>,
}

impl Args {
    pub fn run(self, app: &App) -> Result<Exit> {
        let hub = app.connect(Work::Requests)?;
        let client = hub.client();
        let backups = match self.backup.or(self.backup_id) {
            Some(address) => {
                vec![hub.resolve(app, &address).during(|| format!("{address} can't be watched"))?]
            }
            None => hub.wait(running(client, self.vm))?,
        };
        hub.wait(async {
            let mut interrupts = Interrupts::listen()?;
            let follow = Follow::new(client, &app.ui, OnStop::Leave, Reporter::new(&app.ui));
            let works = backups.iter().map(|backup| backup_job::to_its_end(&follow, client, &app.ui, backup));
            Ok(Exit::of_several(follow.all(&mut interrupts, works).await))
        })
    }
}

/// The backups that have not ended, of that VM or of all.
async fn running(client: &Client, vm: Option<VmName>) -> Result<Vec<Backup>> {
    let attempt = || "the running backups could not be listed".to_owned();
    let query = JobQuery { job_type: Some(JobType::Backup), ..JobQuery::default() };
    let jobs = client.jobs(&query).await.during(attempt)?.jobs;
    let mut backups = Vec::new();
    let of_vm = |job: &JobView| vm.is_none() || job.vm_name == vm;
    let unfinished = jobs.into_iter().filter(|job| !job.status.is_final()).filter(of_vm);
    for id in unfinished.filter_map(|job| job.backup_id) {
        backups.push(client.backup(&id).await.during(attempt)?);
    }
    if backups.is_empty() {
        let of = vm.map(|vm| format!(" of {vm}")).unwrap_or_default();
        return Err(Failure::new(Exit::NotFound, "job_not_found", format!("no backup{of} is running"))
            .next("sendense-ctl backup list shows how the last ones ended"));
    }
    Ok(backups)
}
