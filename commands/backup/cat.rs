//! `backup cat`: the content of files in a backup.

use cli::browse::{Browsing, Copied, PointArgs, ViewArgs};
use cli::{App, Exit, Failure, Manual, Result, Work, one_line};
use std::io::{ErrorKind, Write};

const MANUAL: Manual = Manual {
    examples: &[
        ("look at a file", "sendense-ctl backup cat pgtest2@latest /etc/hostname"),
        (
            "compare it with today's",
            "sendense-ctl backup cat pgtest2@2025-10-06 /etc/fstab | diff - /etc/fstab",
        ),
    ],
    exits: cli::exits![NotFound, Refused, Damaged, Unreachable, Locked, Denied],
};

/// Write the content of files in a backup to stdout
#[derive(Debug, clap::Args)]
#[command(after_long_help = MANUAL.help(), add = MANUAL)]
pub struct Args {
    #[command(flatten)]
    point: PointArgs,
    #[command(flatten)]
    view: ViewArgs,
}

impl Args {
    pub fn run(self, app: &App) -> Result<Exit> {
        let paths = self.point.paths();
        if paths.is_empty() {
            return Err(Failure::usage("no file is named").next("sendense-ctl backup cat BACKUP PATH"));
        }
        let hub = app.connect(Work::Requests)?;
        let session = Browsing::open(&hub, app, &self.point.address(), &self.view)?;
        let mut out = std::io::stdout().lock();
        for path in &paths {
            match session.copy(path, &mut out)? {
                Copied::All(_) => {}
                // Who reads has seen enough.
                Copied::NotWritten(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(Exit::Done),
                Copied::NotWritten(error) => return Err(Failure::local("stdout can't be written", &error)),
            }
        }
        if let Err(error) = out.flush()
            && error.kind() != ErrorKind::BrokenPipe
        {
            return Err(Failure::local("stdout can't be written", &error));
        }
        for warning in session.now()?.warnings {
            app.ui.warn(&one_line(&warning));
        }
        Ok(Exit::Done)
    }
}
