//! `hub use`: which hub commands work with where nothing else is said.

use cli::profiles::Profiles;
use cli::{App, Exit, Failure, Manual, Result};
use serde_json::json;

const MANUAL: Manual = Manual {
    examples: &[
        ("one that is known", "sendense-ctl hub use prod"),
        ("back to the hub of this machine", "sendense-ctl hub use local"),
    ],
    exits: cli::exits![NotFound],
};

/// Choose the hub that commands work with
///
/// --hub and SENDENSE_HUB say otherwise for one command.
#[derive(Debug, clap::Args)]
#[command(after_long_help = MANUAL.help(), add = MANUAL)]
pub struct Args {
    /// Which: a name of hub list, or local
    #[arg(value_name = "NAME", add = clap_complete::engine::ArgValueCompleter::new(cli::complete::hubs))]
    name: String,
}

impl Args {
    pub fn run(self, app: &App) -> Result<Exit> {
        let mut profiles = Profiles::load()?;
        if self.name == "local" {
            profiles.current = None;
        } else if profiles.hubs.contains_key(&self.name) {
            profiles.current = Some(self.name.clone());
        } else {
            return Err(Failure::new(Exit::NotFound, "not_found", format!("there is no hub named {}", self.name))
                .next("sendense-ctl hub list shows those that are known; make one known with: sendense-ctl hub login URL"));
        }
        profiles.save()?;
        if app.ui.json {
            app.ui.document(&json!({ "success": true, "name": self.name }));
        } else {
            let shown =
                profiles.hubs.get(&self.name).map_or("the hub of this machine", |profile| &profile.url);
            app.ui.done(&format!("commands use {shown} from now on"));
            if let Some(said) = &app.said.hub {
                app.ui.note(&format!("but here they use {said}: --hub or SENDENSE_HUB says so"));
            }
        }
        Ok(Exit::Done)
    }
}
