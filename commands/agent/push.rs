//! `agent push`: makes a restore point in a hub elsewhere of disks that are here.

use api::StartBackup;
use clap_complete::engine::ArgValueCompleter;
use cli::pushing::{self, Disks, PushOptions};
use cli::{
    App, Exit, Failure, Follow, Interrupts, Manual, OnStop, Reporter, Result, Work, backup_job, summary,
};
use model::{ByteSize, Compression, OnTrackingLoss, RepositoryId, RequestedType, SourceUri, VmName};
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

const MANUAL: Manual = Manual {
    examples: &[
        ("a VM of one disk, to the hub in use", "sendense-ctl agent push --vm web --source /vm/web.raw"),
        (
            "two disks, to a hub elsewhere",
            "sendense-ctl agent push --hub https://hub.example.com --vm db --source /vm/db0.qcow2 --source /vm/db1.qcow2",
        ),
        (
            "a full one, compressed",
            "sendense-ctl agent push --vm web --source /vm/web.raw --type full --compress",
        ),
        (
            "where the hub's exports have a certificate of their own authority",
            "sendense-ctl agent push --vm web --source /dev/vg/web-snapshot --tls-certificates /etc/sendense/push",
        ),
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

/// Back up disks of this machine into a hub elsewhere
///
/// The hub is asked for an export a disk, the disks are written there, and the backup is completed. Of a full only data
/// is sent; of an incremental the hub stores what differs from the last point. The disks must not change meanwhile: give
/// snapshots. Ctrl-C cancels cleanly.
#[derive(Debug, clap::Args)]
#[command(after_long_help = MANUAL.help(), add = MANUAL)]
pub struct Args {
    /// Which VM; it becomes known to the hub at its first push
    #[arg(long, value_name = "VM", add = ArgValueCompleter::new(cli::complete::vms))]
    vm: VmName,
    /// A disk of it, as this machine sees it (repeat for more disks, always in the same order)
    #[arg(long = "source", value_name = "URI", value_parser = cli::source, required = true,
        value_hint = clap::ValueHint::FilePath)]
    sources: Vec<SourceUri>,
    /// What to make; auto is incremental where there is a chain to build on, otherwise full
    #[arg(long = "type", value_name = "TYPE", default_value = "auto",
        value_parser = cli::words(RequestedType::ALL, RequestedType::as_str))]
    kind: RequestedType,
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
    /// What to do where the last point can't be built on [default: full]
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
    /// Connections to each export [default: 2 to 4, by the machine]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=16))]
    connections: Option<u8>,
    /// Folder with ca-cert.pem, by which the exports' certificates are checked [default: the system's authorities]
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    tls_certificates: Option<PathBuf>,
}

const AUTHORITY: &str = "ca-cert.pem";

impl Args {
    pub fn run(self, app: &App) -> Result<Exit> {
        if let Some(folder) = &self.tls_certificates
            && !folder.join(AUTHORITY).is_file()
        {
            return Err(Failure::usage(format!("{} holds no {AUTHORITY}", folder.display()))
                .next("name the folder with the authority of the certificate of the hub's exports"));
        }
        let disks: Disks = pushing::open(&self.sources)?;
        let request = StartBackup {
            repository_id: self.repo.clone(),
            tags: self.tags.iter().cloned().collect::<BTreeMap<_, _>>(),
            notes: self.notes.clone(),
            source: Some(SourceUri::Push),
            disks: disks.described(),
            compression: self.compress,
            on_cbt_loss: self.on_cbt_loss,
            timeout_seconds: self.timeout.map(|time| time.as_secs().max(1)),
            ..StartBackup::new(self.vm.clone(), self.kind)
        };
        let options = PushOptions {
            connections: self.connections.unwrap_or(0).into(),
            certificates: self.tls_certificates.clone(),
            bandwidth: self.bandwidth.and_then(|size| NonZeroU64::new(size.0)),
        };
        let hub = app.connect(Work::Jobs)?;
        hub.wait(async {
            // Before anything is accepted: a signal from now on is a wish and not the end.
            let mut interrupts = Interrupts::listen()?;
            let client = hub.client();
            let follow = Follow::new(client, &app.ui, OnStop::CancelAlways, Reporter::new(&app.ui));
            let work = async {
                let accepted =
                    backup_job::accept(&follow, client, &app.ui, &request, self.retry_lock).await?;
                let pushed = pushing::whole(&follow, client, disks, accepted.backup, &options).await?;
                summary::backup(&app.ui, &pushed);
                Ok(Exit::Done)
            };
            let ended = follow.all(&mut interrupts, [work]).await;
            ended.into_iter().next().unwrap_or(Ok(Exit::Failed))
        })
    }
}
