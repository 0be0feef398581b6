//! `backup protect` and `backup unprotect`: whether a restore point may be deleted.

use api::{BackupAnswer, PatchBackup};
use cli::{App, BackupArg, During, Exit, Manual, Result, Work};

const MANUAL: Manual = Manual {
    examples: &[("with a reason", "sendense-ctl backup protect pgtest2@latest --reason 'court order 12/25'")],
    exits: cli::exits![NotFound, Unreachable, Locked, Denied],
};

const UNPROTECT: Manual = Manual {
    examples: &[("it may be deleted again", "sendense-ctl backup unprotect backup-pgtest2-20251006-120000")],
    exits: cli::exits![NotFound, Unreachable, Locked, Denied],
};

/// Keep a backup from being deleted
#[derive(Debug, clap::Args)]
#[command(after_long_help = MANUAL.help(), add = MANUAL)]
pub struct Args {
    #[command(flatten)]
    backup: BackupArg,
    /// Why; shown to whoever tries to delete it
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

/// Let a backup be deleted again
#[derive(Debug, clap::Args)]
#[command(after_long_help = UNPROTECT.help(), add = UNPROTECT)]
pub struct UnprotectArgs {
    #[command(flatten)]
    backup: BackupArg,
}

impl Args {
    pub fn run(self, app: &App) -> Result<Exit> {
        let patch =
            PatchBackup { protected: Some(true), protect_reason: self.reason, ..PatchBackup::default() };
        change(app, &self.backup, &patch, "protected")
    }
}

impl UnprotectArgs {
    pub fn run(self, app: &App) -> Result<Exit> {
        let patch = PatchBackup { protected: Some(false), ..PatchBackup::default() };
        change(app, &self.backup, &patch, "not protected any more")
    }
}

fn change(app: &App, backup: &BackupArg, patch: &PatchBackup, done: &str) -> Result<Exit> {
    let address = backup.address();
    let attempt = || format!("{address} was not changed");
    let hub = app.connect(Work::Requests)?;
    let id = hub.resolve(app, address).during(attempt)?.id;
    let backup = hub.wait(hub.client().patch_backup(&id, patch)).during(attempt)?;
    if app.ui.json {
        app.ui.document(&BackupAnswer { success: true, backup });
    } else {
        app.ui.note(&format!("{id} is {done}"));
    }
    Ok(Exit::Done)
}
