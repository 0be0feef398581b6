//! `backup tag`: labels and notes.

use api::{BackupAnswer, PatchBackup};
use clap_complete::engine::ArgValueCompleter;
use cli::{App, BackupArg, During, Exit, Failure, Manual, Result, Work};
use std::collections::BTreeMap;

const MANUAL: Manual = Manual {
    examples: &[
        ("label it", "sendense-ctl backup tag pgtest2@latest --set reason=upgrade"),
        ("take a label off", "sendense-ctl backup tag pgtest2@latest --remove reason"),
        ("write a note", "sendense-ctl backup tag pgtest2@latest --notes 'before the move'"),
    ],
    exits: cli::exits![NotFound, Unreachable, Locked, Denied],
};

/// Change the labels and notes of a backup
#[derive(Debug, clap::Args)]
#[command(after_long_help = MANUAL.help(), add = MANUAL)]
pub struct Args {
    #[command(flatten)]
    backup: BackupArg,
    /// Set a label (repeat for more)
    #[arg(long, value_name = "KEY=VALUE", value_parser = cli::tag,
        add = ArgValueCompleter::new(cli::complete::tags))]
    set: Vec<(String, String)>,
    /// Take a label off (repeat for more)
    #[arg(long, value_name = "KEY")]
    remove: Vec<String>,
    /// Free text; an empty one removes it
    #[arg(long, value_name = "TEXT")]
    notes: Option<String>,
}

impl Args {
    pub fn run(self, app: &App) -> Result<Exit> {
        if self.set.is_empty() && self.remove.is_empty() && self.notes.is_none() {
            return Err(Failure::usage("there is nothing to change")
                .next("give --set KEY=VALUE, --remove KEY or --notes TEXT"));
        }
        let mut tags: BTreeMap<String, Option<String>> =
            self.remove.into_iter().map(|key| (key, None)).collect();
        tags.extend(self.set.into_iter().map(|(key, value)| (key, Some(value))));
        let patch = PatchBackup {
            tags,
            notes: self.notes.map(|text| Some(text).filter(|text| !text.is_empty())),
            ..PatchBackup::default()
        };
        let address = self.backup.address();
        let attempt = || format!("{address} was not changed");
        let hub = app.connect(Work::Requests)?;
        let id = hub.resolve(app, address).during(attempt)?.id;
        let backup = hub.wait(hub.client().patch_backup(&id, &patch)).during(attempt)?;
        if app.ui.json {
            app.ui.document(&BackupAnswer { success: true, backup });
        } else {
            let tags = super::show::tags(&backup);
            app.ui.note(&format!("{id}: {}", if tags.is_empty() { "no labels" } else { &tags }));
        }
        Ok(Exit::Done)
    }
}
