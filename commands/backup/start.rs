//! `backup start`: makes restore points, of several VMs at once.

use api::{BackupPlan, Client, StartBackup, Vm};
use clap_complete::engine::ArgValueCompleter;
use cli::detach::{self, Told};
use cli::place::Place;
use cli::{
    App, Connection, During, Exit, Failure, Follow, Interrupts, Manual, OnStop, Reporter, Result, Work,
    backup_job,
};
use model::{ByteSize, Compression, OnTrackingLoss, RepositoryId, RequestedType, SourceUri, VmName};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

const MANUAL: Manual = Manual {
    examples: &[
        ("the first backup of a VM with one disk", "sendense-ctl backup start --vm web --source /vm/web.raw"),
        ("incremental where possible, otherwise full", "sendense-ctl backup start --vm pgtest2"),
        ("a full one", "sendense-ctl backup start --vm pgtest2 --type full"),
        ("every known VM, for cron", "sendense-ctl backup start --all --quiet --retry-lock 10m"),
        ("compressed, with a label", "sendense-ctl backup start --vm db --compress --tag reason=upgrade"),
        ("what would be read and stored", "sendense-ctl backup start --vm db --dry-run"),
    ],
    exits: cli::exits![
        Incomplete,
        NotFound,
        Refused,
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

/// Make a backup of one or more VMs
///
/// All disks of a VM are one point in time: it exists when all of them are stored. Ctrl-C cancels cleanly, a
/// second one ends at once. With --json: a line for each step (message_type status), one summary for each VM.
#[derive(Debug, clap::Args)]
#[command(after_long_help = MANUAL.help(), add = MANUAL)]
pub struct Args {
    /// Which VM (repeat for several, which run at once)
    #[arg(long = "vm", value_name = "VM", required_unless_present = "all",
        add = ArgValueCompleter::new(cli::complete::vms))]
    vms: Vec<VmName>,
    /// Every known VM
    #[arg(long, conflicts_with = "vms")]
    all: bool,
    /// What to make; auto is incremental where there is a chain to build on, otherwise full
    #[arg(long = "type", value_name = "TYPE", default_value = "auto",
        value_parser = cli::words(RequestedType::ALL, RequestedType::as_str))]
    kind: RequestedType,
    /// Only this disk, from 0
    #[arg(long, value_name = "N")]
    disk: Option<u32>,
    /// Where a disk is read from, as the hub sees it; makes the VM known at its first backup (repeat for more disks)
    #[arg(long = "source", value_name = "URI", value_parser = cli::source, conflicts_with = "all",
        value_hint = clap::ValueHint::FilePath)]
    sources: Vec<SourceUri>,
    /// Into which repository, where not into the default one
    #[arg(long, value_name = "REPO", add = ArgValueCompleter::new(cli::complete::repositories))]
    repo: Option<RepositoryId>,
    /// Compress what is stored; without a value: zstd
    #[arg(long, value_name = "HOW", num_args = 0..=1, default_missing_value = "zstd",
        value_parser = cli::words(Compression::ALL, Compression::as_str))]
    compress: Option<Compression>,
    /// Label it (repeat for more)
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = cli::tag,
        add = ArgValueCompleter::new(cli::complete::tags))]
    tags: Vec<(String, String)>,
    /// Free text to keep with it
    #[arg(long, value_name = "TEXT")]
    notes: Option<String>,
    /// What to do where the changes since the last backup can't be told [default: full]
    #[arg(long, value_name = "CHOICE", value_parser = cli::words(OnTrackingLoss::ALL, OnTrackingLoss::as_str))]
    on_cbt_loss: Option<OnTrackingLoss>,
    /// Read at most so much a second, such as 100M
    #[arg(long, value_name = "SIZE")]
    bandwidth: Option<ByteSize>,
    /// Fail where it takes longer, such as 90m [default: 4h]
    #[arg(long, value_name = "DURATION", value_parser = cli::duration)]
    timeout: Option<Duration>,
    /// Wait so long for another run on the same VM to end, such as 10m
    #[arg(long, value_name = "DURATION", value_parser = cli::duration)]
    retry_lock: Option<Duration>,
    /// Only say what would be made
    #[arg(long, conflicts_with = "detach")]
    dry_run: bool,
    /// Return as soon as it runs, and print its id
    #[arg(long)]
    detach: bool,
    /// The child of a run with --detach
    #[arg(long, hide = true, conflicts_with = "dry_run")]
    detached: bool,
}

impl Args {
    pub fn run(self, app: &App) -> Result<Exit> {
        if !self.sources.is_empty() && self.vms.len() != 1 {
            return Err(Failure::usage("--source goes with one --vm only")
                .why(format!("{} VMs are named, and the sources can't be told apart", self.vms.len()))
                .next("sendense-ctl vm add NAME --disk URI for each of them first"));
        }
        // Where a hub serves, its jobs don't end with this command; otherwise a child of its own runs them.
        let served = matches!(app.said.place()?, Place::Served(_));
        if self.detach && !served {
            return report_detached(app, detach::spawn("the backup could not be detached", None)?);
        }
        if self.detached {
            detach::leave_terminal(&app.ui);
        }
        let hub = app.connect(Work::Jobs)?;
        let vms = if self.all {
            let known =
                hub.wait(hub.client().all_vms()).during(|| "the VMs could not be listed".to_owned())?;
            let (pushed, read): (Vec<Vm>, Vec<Vm>) = known.vms.into_iter().partition(is_pushed);
            for vm in &pushed {
                app.ui.note(&format!("{}: left out, a client writes its disks", vm.name));
            }
            if read.is_empty() && !pushed.is_empty() {
                return Ok(Exit::Done);
            }
            read.into_iter().map(|vm| vm.name).collect()
        } else {
            unique(&self.vms)
        };
        if vms.is_empty() {
            return Err(Failure::new(Exit::NotFound, "vm_not_found", "there is nothing to back up")
                .why("no VM is known yet")
                .next("sendense-ctl vm add NAME --disk URI"));
        }
        let requests: Vec<StartBackup> = vms.into_iter().map(|vm| self.request(vm)).collect();
        if self.dry_run {
            return dry_run(app, &hub, &requests);
        }
        if self.detach {
            let told = hub.wait(start_all(app, hub.client(), &requests, self.retry_lock))?;
            return report_detached(app, told);
        }
        let ends = hub.wait(run_all(app, hub.client(), &requests, self.retry_lock, self.detached))?;
        Ok(Exit::of_several(ends))
    }

    fn request(&self, vm: VmName) -> StartBackup {
        StartBackup {
            repository_id: self.repo.clone(),
            disk_id: self.disk,
            tags: self.tags.iter().cloned().collect::<BTreeMap<_, _>>(),
            notes: self.notes.clone(),
            sources: self.sources.clone(),
            compression: self.compress,
            on_cbt_loss: self.on_cbt_loss,
            timeout_seconds: self.timeout.map(|time| time.as_secs().max(1)),
            bandwidth_limit_bps: self.bandwidth.map(|size| size.0),
            dry_run: self.dry_run,
            ..StartBackup::new(vm, self.kind)
        }
    }
}

/// True where the hub does not read the disks by itself.
fn is_pushed(vm: &Vm) -> bool {
    vm.disks.iter().any(|disk| disk.source == SourceUri::Push)
}

fn unique(names: &[VmName]) -> Vec<VmName> {
    let mut unique: Vec<VmName> = Vec::new();
    for name in names {
        if !unique.contains(name) {
            unique.push(name.clone());
        }
    }
    unique
}

/// Runs the backups, all at once. Failures are shown as they come; the codes are in the order of the VMs.
async fn run_all(
    app: &App,
    client: &Client,
    requests: &[StartBackup],
    retry_lock: Option<Duration>,
    detached: bool,
) -> Result<Vec<Exit>> {
    // Before anything is accepted: a signal from now on is a wish and not the end.
    let mut interrupts = Interrupts::listen()?;
    let ui = &app.ui;
    let reporter = if detached { Reporter::silent() } else { Reporter::new(ui) };
    let follow = Follow::new(client, ui, OnStop::Cancel, reporter);
    let untold = Cell::new(requests.len());
    let told = || {
        untold.set(untold.get().saturating_sub(1));
        if detached && untold.get() == 0 {
            detach::told_everything(ui);
        }
    };
    let works = requests.iter().map(async |request| {
        let backup = match backup_job::accept(&follow, client, ui, request, retry_lock).await {
            Ok(started) => started.backup,
            Err(failure) => {
                ui.fail(&failure);
                told();
                return failure.exit;
            }
        };
        if !detached {
            return backup_job::to_its_end(&follow, client, ui, &backup).await;
        }
        ui.json_line(&detach::accepted(&backup_job::task(&backup)));
        told();
        match backup_job::completed(&follow, client, ui, &backup).await {
            Ok(_) => Exit::Done,
            Err(failure) => failure.exit,
        }
    });
    Ok(follow.all(&mut interrupts, works).await)
}

/// Starts the backups in a hub that serves, and leaves them to it.
async fn start_all(
    app: &App,
    client: &Client,
    requests: &[StartBackup],
    retry_lock: Option<Duration>,
) -> Result<Vec<Told>> {
    let mut interrupts = Interrupts::listen()?;
    let follow = Follow::new(client, &app.ui, OnStop::Cancel, Reporter::silent());
    let works = requests.iter().map(async |request| {
        match backup_job::accept(&follow, client, &app.ui, request, retry_lock).await {
            Ok(started) => Told::Accepted(detach::accepted(&backup_job::task(&started.backup))),
            Err(failure) => Told::Refused(failure),
        }
    });
    Ok(follow.all(&mut interrupts, works).await)
}

/// Says what a detached run has told.
fn report_detached(app: &App, told: Vec<Told>) -> Result<Exit> {
    let mut ends = Vec::new();
    for job in told {
        match job {
            Told::Accepted(line) => {
                if app.ui.json {
                    app.ui.json_line(&line);
                } else {
                    app.ui.line(line["backup_id"].as_str().unwrap_or_default());
                }
                ends.push(Exit::Done);
            }
            Told::Refused(failure) => {
                app.ui.fail(&failure);
                ends.push(failure.exit);
            }
        }
    }
    Ok(Exit::of_several(ends))
}

fn dry_run(app: &App, hub: &Connection, requests: &[StartBackup]) -> Result<Exit> {
    let mut ends = Vec::new();
    for request in requests {
        let vm = &request.vm_name;
        let planned = hub
            .wait(hub.client().start_backup(request))
            .during(|| format!("a backup of {vm} could not be made"));
        match planned {
            Ok(planned) => {
                if app.ui.json {
                    app.ui.document(&planned);
                } else if let Some(plan) = &planned.plan {
                    show_plan(app, vm, plan);
                }
                let fits = planned.plan.as_ref().is_none_or(|plan| plan.fits);
                ends.push(if fits { Exit::Done } else { Exit::NoSpace });
            }
            Err(failure) => {
                app.ui.fail(&failure);
                ends.push(failure.exit);
            }
        }
    }
    Ok(Exit::of_several(ends))
}

fn show_plan(app: &App, vm: &VmName, plan: &BackupPlan) {
    let ui = &app.ui;
    for disk in &plan.disks {
        let parent = disk.parent_backup_id.as_ref().map(|id| format!(" on {id}")).unwrap_or_default();
        let reason = disk.fallback_reason.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
        ui.line(&cli::one_line(&format!(
            "{vm} disk {}: {}{parent}, {} of {} at most{reason}",
            disk.disk_id,
            disk.backup_type,
            ui.show.size(disk.estimated_bytes),
            ui.show.size(disk.capacity_bytes),
        )));
    }
    let room = if plan.fits { "fits" } else { "does not fit" };
    ui.line(&format!(
        "{vm}: up to {} to store, {} available: {room}; nothing was made",
        ui.show.size(plan.estimated_bytes),
        ui.show.size(plan.available_bytes),
    ));
}
