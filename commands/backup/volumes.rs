//! `backup volumes`: what is on the disks of a backup.

use api::VolumeView;
use cli::browse::{Browsing, PointArgs, ViewArgs};
use cli::{App, Column, Exit, Manual, Result, TableArgs, Work, one_line};

const MANUAL: Manual = Manual {
    examples: &[
        ("partitions, logical volumes, file systems", "sendense-ctl backup volumes pgtest2@latest"),
        ("as a program sees them", "sendense-ctl backup volumes latest --json"),
    ],
    exits: cli::exits![NotFound, Refused, Damaged, Unreachable, Locked, Denied],
};

/// Show the volumes on the disks of a backup
///
/// Partitions, logical volumes, arrays and what is in them; where each stands among the files; and why one can't be read.
#[derive(Debug, clap::Args)]
#[command(after_long_help = MANUAL.help(), add = MANUAL)]
pub struct Args {
    #[command(flatten)]
    point: PointArgs,
    #[command(flatten)]
    view: ViewArgs,
    #[command(flatten)]
    table: TableArgs,
}

const COLUMNS: &[Column<VolumeView>] = &[
    Column { name: "volume", weight: 9, right: false, cell: |volume, _| one_line(&volume.id) },
    Column {
        name: "type",
        weight: 8,
        right: false,
        cell: |volume, _| text(volume.filesystem_type.as_deref()),
    },
    Column { name: "size", weight: 6, right: true, cell: |volume, show| show.size(volume.size_bytes) },
    Column {
        name: "mounted",
        weight: 7,
        right: false,
        cell: |volume, _| text(volume.mount_point.as_deref()),
    },
    Column { name: "state", weight: 5, right: false, cell: |volume, _| volume.state.clone() },
    Column { name: "label", weight: 3, right: false, cell: |volume, _| text(volume.label.as_deref()) },
    Column { name: "detail", weight: 4, right: false, cell: |volume, _| text(volume.detail.as_deref()) },
    Column { name: "uuid", weight: 0, right: false, cell: |volume, _| text(volume.uuid.as_deref()) },
    Column {
        name: "partition",
        weight: 0,
        right: false,
        cell: |volume, _| text(volume.partition.as_deref()),
    },
];

fn text(value: Option<&str>) -> String {
    value.map(one_line).unwrap_or_default()
}

impl Args {
    pub fn run(self, app: &App) -> Result<Exit> {
        let hub = app.connect(Work::Requests)?;
        let session = Browsing::open(&hub, app, &self.point.address(), &self.view)?;
        let mount = session.now()?;
        if app.ui.json {
            app.ui.document(&mount);
            return Ok(Exit::Done);
        }
        if let Some(system) = &mount.system {
            app.ui.line(&one_line(system));
        }
        app.ui.table(&mount.volumes, COLUMNS, &self.table, "nothing was found on the disks")?;
        mount.notes.iter().for_each(|note| app.ui.note(&one_line(note)));
        mount.warnings.iter().for_each(|warning| app.ui.warn(&one_line(warning)));
        Ok(Exit::Done)
    }
}
