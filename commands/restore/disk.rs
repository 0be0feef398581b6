//! `restore disk`: writes a disk of a restore point somewhere.

use api::{ErrorCode, JobResult, RestoreDisk};
use cli::{
    App, BackupArg, During, Exit, Failure, Follow, Interrupts, Manual, OnStop, Reporter, Result, Task, Work,
    summary,
};
use model::{ByteSize, ImageFormat, JobType, SourceUri};
use std::io::IsTerminal;

const MANUAL: Manual = Manual {
    examples: &[
        (
            "the newest point, as a raw image",
            "sendense-ctl restore disk pgtest2@latest --to /vm/restored.raw",
        ),
        (
            "the second disk, as it was on a day, onto a device",
            "sendense-ctl restore disk pgtest2@2025-10-06 --disk 1 --to /dev/vdb --overwrite",
        ),
        ("to an NBD server", "sendense-ctl restore disk latest --to nbd://nbdhost:10809/target --overwrite"),
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

/// Write a disk of a backup to a file, a device or an NBD export
///
/// All data is compared with its hashes while it is written. A file that could not be written whole is removed.
#[derive(Debug, clap::Args)]
#[command(after_long_help = MANUAL.help(), add = MANUAL)]
pub struct Args {
    #[command(flatten)]
    backup: BackupArg,
    /// Which disk, from 0; may be left out where there is one only
    #[arg(long, value_name = "N")]
    disk: Option<u32>,
    /// Where to, as the hub sees it: a path, a device, nbd://… or nbd+unix://…
    #[arg(long, value_name = "TARGET", value_parser = cli::source, value_hint = clap::ValueHint::FilePath)]
    to: SourceUri,
    /// As what; by the file's name where left out, raw for devices and exports
    #[arg(long, value_parser = cli::words(&[ImageFormat::Raw, ImageFormat::Qcow2], ImageFormat::as_str))]
    format: Option<ImageFormat>,
    /// Write over what is there
    #[arg(long)]
    overwrite: bool,
    /// Don't compare the data with its hashes
    #[arg(long)]
    no_verify: bool,
    /// Write at most so much a second, such as 100M
    #[arg(long, value_name = "SIZE")]
    bandwidth: Option<ByteSize>,
}

impl Args {
    pub fn run(self, app: &App) -> Result<Exit> {
        let address = self.backup.address();
        let attempt = || format!("{address} was not restored");
        let hub = app.connect(Work::Jobs)?;
        let backup = hub.resolve(app, address).during(attempt)?;
        let mut request = RestoreDisk {
            backup_id: backup.id.clone(),
            disk_id: self.disk,
            target: self.to,
            format: self.format,
            verify: !self.no_verify,
            overwrite: self.overwrite,
            bandwidth_limit_bps: self.bandwidth.map(|size| size.0),
        };
        let client = hub.client();
        let what = format!("the restore of {} to {} failed", backup.id, request.target);
        hub.wait(async {
            let mut asked = client.restore_disk(&request).await;
            if matches!(&asked, Err(error) if error.code() == ErrorCode::AlreadyExists) && can_ask(app) {
                cli::confirm(&app.ui, &format!("{} exists. Write over it?", request.target))
                    .during(attempt)?;
                request.overwrite = true;
                asked = client.restore_disk(&request).await;
            }
            let mut interrupts = Interrupts::listen()?;
            let job = asked.during(attempt)?;
            let task = Task {
                vm: Some(backup.vm_name.to_string()),
                backup_id: Some(backup.id.to_string()),
                job_id: job.id.to_string(),
                job: JobType::Restore,
            };
            let follow = Follow::new(client, &app.ui, OnStop::Cancel, Reporter::new(&app.ui));
            let note = format!("{}: restore to {} started", backup.id, request.target);
            let ended = follow.all(&mut interrupts, [follow.job(task, &note)]).await.pop();
            let job = ended.unwrap_or(Ok(job))?;
            let job = follow.outcome(job, &what)?;
            match &job.result {
                Some(JobResult::Restore(report)) => summary::restore(&app.ui, &job, report),
                _ => return Err(Failure::new(Exit::Failed, "internal", what)),
            }
            Ok(Exit::Done)
        })
    }
}

/// `--yes` does not stand for `--overwrite`: what is overwritten is gone, so somebody must have said so.
fn can_ask(app: &App) -> bool {
    !app.ui.yes && !app.ui.json && std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}
