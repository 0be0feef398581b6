//! `backup retry`: the same backup again.

use cli::{
    App, BackupArg, During, Exit, Follow, Interrupts, Manual, OnStop, Reporter, Result, Work, backup_job,
};

const MANUAL: Manual = Manual {
    examples: &[("one that failed", "sendense-ctl backup retry backup-pgtest2-20251006-120000")],
    exits: cli::exits![
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

/// Make a backup that failed or was cancelled again, with the same options
#[derive(Debug, clap::Args)]
#[command(after_long_help = MANUAL.help(), add = MANUAL)]
pub struct Args {
    #[command(flatten)]
    backup: BackupArg,
}

impl Args {
    pub fn run(self, app: &App) -> Result<Exit> {
        let address = self.backup.address();
        let attempt = || format!("{address} was not tried again");
        let hub = app.connect(Work::Jobs)?;
        let failed = hub.resolve(app, address).during(attempt)?;
        let client = hub.client();
        hub.wait(async {
            let mut interrupts = Interrupts::listen()?;
            let again = client.retry_backup(&failed.id).await.during(attempt)?.backup;
            if !again.nbd_targets_string.is_empty() {
                app.ui.note(&format!("its client writes it to {}", again.nbd_targets_string));
            }
            let follow = Follow::new(client, &app.ui, OnStop::Cancel, Reporter::new(&app.ui));
            let work = backup_job::to_its_end(&follow, client, &app.ui, &again);
            let ends = follow.all(&mut interrupts, [work]).await;
            Ok(Exit::of_several(ends))
        })
    }
}
