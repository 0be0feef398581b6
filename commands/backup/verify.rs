//! `backup verify`: reads restore points back and looks for damage.

use api::{Backup, BackupQuery, Client, JobResult, Subset, VerifyReport, VerifyRequest};
use clap_complete::engine::ArgValueCompleter;
use cli::{
    App, During, Exit, Failure, Follow, Interrupts, Manual, OnStop, Reporter, Result, Task, Work, summary,
};
use model::{BackupId, JobType, Status, VmName};

const MANUAL: Manual = Manual {
    examples: &[
        ("a backup and all it is built on", "sendense-ctl backup verify pgtest2@latest"),
        ("every backup of a VM", "sendense-ctl backup verify --vm pgtest2"),
        ("everything, for cron", "sendense-ctl backup verify --all --quiet"),
        (
            "a tenth of the data, another one each time",
            "sendense-ctl backup verify latest --read-data-subset 10%",
        ),
        ("the first seventh, on Mondays", "sendense-ctl backup verify --vm db --read-data-subset 1/7"),
    ],
    exits: cli::exits![
        Incomplete,
        NotFound,
        Damaged,
        Unreachable,
        Locked,
        Denied,
        HungUp,
        Interrupted,
        Terminated
    ],
};

/// Read backups back and look for damage
///
/// Looks at the files' structure, compares the data with its hashes, and the catalog with what lies in the
/// repository; all that a backup is built on is included. Damage ends with 6 and names every backup that is hit.
#[derive(Debug, clap::Args)]
#[command(after_long_help = MANUAL.help(), add = MANUAL)]
pub struct Args {
    /// Which backups: ids, beginnings of ids, latest, latest~2, VM@latest or VM@2025-10-06
    #[arg(value_name = "BACKUP", required_unless_present_any = ["vm", "backup_id", "all"],
        add = ArgValueCompleter::new(cli::complete::backups))]
    backups: Vec<String>,
    /// The same, as an option
    #[arg(long, value_name = "BACKUP", add = ArgValueCompleter::new(cli::complete::backups))]
    backup_id: Vec<String>,
    /// Every backup of this VM
    #[arg(long, conflicts_with_all = ["backups", "backup_id"],
        add = ArgValueCompleter::new(cli::complete::vms))]
    vm: Option<VmName>,
    /// Every backup there is
    #[arg(long, conflicts_with_all = ["backups", "backup_id", "vm"])]
    all: bool,
    /// Read only a part of the data: a sample (10%), a fixed part (1/7) or a size (20G)
    #[arg(long, value_name = "PART")]
    read_data_subset: Option<Subset>,
}

impl Args {
    pub fn run(self, app: &App) -> Result<Exit> {
        let hub = app.connect(Work::Jobs)?;
        let client = hub.client();
        let mut backups = Vec::new();
        for address in self.backups.iter().chain(&self.backup_id) {
            backups.push(hub.resolve(app, address).during(|| format!("{address} can't be verified"))?);
        }
        if self.all || self.vm.is_some() {
            backups = hub.wait(points(client, self.vm.as_ref()))?;
        }
        if backups.is_empty() {
            summary::nothing_verified(&app.ui);
            return Ok(Exit::Done);
        }
        let request = VerifyRequest { subset: self.read_data_subset };
        hub.wait(async {
            let mut interrupts = Interrupts::listen()?;
            let mut seen: Vec<BackupId> = Vec::new();
            let mut ends = Vec::new();
            let follow = Follow::new(client, &app.ui, OnStop::Cancel, Reporter::new(&app.ui));
            // One after the other: a newer one includes the older ones it is built on.
            for backup in &backups {
                if seen.contains(&backup.id) {
                    continue;
                }
                let work = one(app, client, &follow, backup, &request);
                let end = follow.all(&mut interrupts, [work]).await.pop();
                match end {
                    Some(Ok(report)) => {
                        ends.push(if report.ok { Exit::Done } else { Exit::Damaged });
                        seen.extend(report.checked);
                    }
                    Some(Err(failure)) => {
                        app.ui.fail(&failure);
                        ends.push(failure.exit);
                    }
                    None => {}
                }
                if let Some(exit) = follow.stopping() {
                    return Ok(exit);
                }
            }
            // Damage is what a script asks about, whatever else went wrong.
            if ends.contains(&Exit::Damaged) {
                return Ok(Exit::Damaged);
            }
            Ok(Exit::of_several(ends))
        })
    }
}

/// The restore points of a VM or of all, newest first.
async fn points(client: &Client, vm: Option<&VmName>) -> Result<Vec<Backup>> {
    let query = BackupQuery {
        vm_name: vm.map(VmName::to_string),
        status: Some(Status::Completed),
        ..BackupQuery::default()
    };
    let list = super::list::page_by_page(client, query, 0).await?;
    match vm {
        Some(vm) if list.backups.is_empty() => {
            Err(Failure::new(Exit::NotFound, "backup_not_found", format!("{vm} can't be verified"))
                .why("it has no backups")
                .next(format!("sendense-ctl backup start --vm {}", cli::shell_word(vm.as_str()))))
        }
        _ => Ok(list.backups),
    }
}

async fn one(
    app: &App,
    client: &Client,
    follow: &Follow<'_>,
    backup: &Backup,
    request: &VerifyRequest,
) -> Result<VerifyReport> {
    let id = &backup.id;
    let job = client.verify_backup(id, request).await.during(|| format!("{id} was not verified"))?;
    let task = Task {
        vm: Some(backup.vm_name.to_string()),
        backup_id: Some(id.to_string()),
        job_id: job.id.to_string(),
        job: JobType::Verify,
    };
    let job = follow.job(task, &format!("{id}: verification started")).await?;
    let job = follow.outcome(job, &format!("{id} was not verified to the end"))?;
    match &job.result {
        Some(JobResult::Verify(report)) => {
            summary::verify(&app.ui, &job, report);
            Ok(report.clone())
        }
        _ => Err(Failure::new(Exit::Failed, "internal", format!("{id} was verified without a result"))),
    }
}
