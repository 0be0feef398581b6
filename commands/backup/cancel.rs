//! `backup cancel`: ends a running backup.

use api::BackupAnswer;
use cli::{App, BackupArg, During, Exit, Manual, Result, Work};

const MANUAL: Manual = Manual {
    examples: &[("one that runs", "sendense-ctl backup cancel backup-pgtest2-20251006-120000")],
    exits: cli::exits![NotFound, Refused, Unreachable, Locked, Denied],
};

/// Cancel a running backup
///
/// Whatever process runs it ends it cleanly within seconds: nothing of it is left. Backups that are complete are
/// not touched.
#[derive(Debug, clap::Args)]
#[command(after_long_help = MANUAL.help(), add = MANUAL)]
pub struct Args {
    #[command(flatten)]
    backup: BackupArg,
}

impl Args {
    pub fn run(self, app: &App) -> Result<Exit> {
        let address = self.backup.address();
        let attempt = || format!("{address} was not cancelled");
        let hub = app.connect(Work::Requests)?;
        let backup = hub.resolve(app, address).during(attempt)?;
        let asked = hub.wait(hub.client().cancel_backup(&backup.id)).during(attempt)?;
        if app.ui.json {
            app.ui.document(&BackupAnswer { success: true, backup: asked.backup });
        } else {
            app.ui.note(&format!(
                "{} is asked to end; see it with: sendense-ctl backup watch {}",
                backup.id,
                cli::shell_word(backup.id.as_str())
            ));
        }
        Ok(Exit::Done)
    }
}
