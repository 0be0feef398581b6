//! `restore resources`: what mounts take.

use cli::{App, During, Exit, Manual, Result, Work};
use serde_json::json;

const MANUAL: Manual = Manual {
    examples: &[("how many mounts, and what they take", "sendense-ctl restore resources")],
    exits: cli::exits![Unreachable, Locked, Denied],
};

/// Show what mounts and restore sessions take
#[derive(Debug, clap::Args)]
#[command(after_long_help = MANUAL.help(), add = MANUAL)]
pub struct Args {}

impl Args {
    pub fn run(self, app: &App) -> Result<Exit> {
        let hub = app.connect(Work::Requests)?;
        let attempt = || "what is open could not be counted".to_owned();
        let resources = hub.wait(hub.client().restore_resources()).during(attempt)?;
        let cleanup = hub.wait(hub.client().cleanup_status()).during(attempt)?;
        if app.ui.json {
            app.ui.document(&json!({ "resources": resources, "cleanup": cleanup }));
            return Ok(Exit::Done);
        }
        let show = &app.ui.show;
        app.ui.fields(&[
            ("open", resources.active_mounts.to_string()),
            ("most in one process", resources.max_mounts.to_string()),
            ("memory", show.size(resources.memory_bytes)),
            ("devices", resources.nbd_devices.join(" ")),
            ("next closes", cleanup.next_expiry.map(|at| show.time(at)).unwrap_or_default()),
            (
                "to be cleaned up",
                Some(cleanup.dead_mounts)
                    .filter(|dead| *dead > 0)
                    .map(|dead| dead.to_string())
                    .unwrap_or_default(),
            ),
        ]);
        Ok(Exit::Done)
    }
}
