//! `restore unmount`: ends mounts, exports and restore sessions.

use api::UnmountQuery;
use clap_complete::engine::ArgValueCompleter;
use cli::{App, During, Exit, Failure, Manual, Result, Work, complete, mounting};
use serde_json::json;
use std::ffi::OsString;

const MANUAL: Manual = Manual {
    examples: &[
        ("by the folder", "sendense-ctl restore unmount /tmp/restore"),
        ("everything", "sendense-ctl restore unmount --all"),
        (
            "out of sight now, for good when nobody uses it any more",
            "sendense-ctl restore unmount /tmp/restore --lazy",
        ),
    ],
    exits: cli::exits![NotFound, Refused, Unreachable, Locked, Denied],
};

/// End mounts, exports and restore sessions
///
/// Returns when they are gone. One that somebody uses is refused, with the processes that do.
#[derive(Debug, clap::Args)]
#[command(after_long_help = MANUAL.help(), add = MANUAL)]
pub struct Args {
    /// Which: an id, the beginning of one, or the folder
    #[arg(
        value_name = "ID|DIR",
        required_unless_present = "all",
        add = ArgValueCompleter::new(complete::mounts)
    )]
    mounts: Vec<OsString>,
    /// All of them
    #[arg(long, conflicts_with = "mounts")]
    all: bool,
    /// Also where somebody uses it: out of sight at once; what is open can be read until it is closed
    #[arg(long)]
    lazy: bool,
    /// Also where somebody uses it: what is open can't be read any more
    #[arg(long, conflicts_with = "lazy")]
    force: bool,
}

impl Args {
    pub fn run(self, app: &App) -> Result<Exit> {
        let hub = app.connect(Work::Requests)?;
        let how = UnmountQuery { lazy: self.lazy.then_some(true), force: self.force.then_some(true) };
        let wanted: Vec<String> = if self.all {
            let open = hub
                .wait(hub.client().all_mounts())
                .during(|| "what is open could not be listed".to_owned())?;
            open.mounts.into_iter().map(|mount| mount.mount_id).collect()
        } else {
            self.mounts.iter().map(|word| mounting::named(word)).collect()
        };
        if wanted.is_empty() {
            app.ui.note("nothing is open");
        }
        let mut ends = Vec::new();
        let mut ended = Vec::new();
        for id in &wanted {
            let unmounted = hub.wait(hub.client().unmount_as(id, how));
            match unmounted.during(|| format!("{} is not unmounted", mounting::short_id(id))) {
                Ok(done) => {
                    if !app.ui.json {
                        app.ui.line(&format!("{}: {}", mounting::short_id(&done.mount_id), done.message));
                    }
                    ended.push(done);
                    ends.push(Exit::Done);
                }
                // Ended by itself between the list and now.
                Err(failure) if self.all && failure.exit == Exit::NotFound => {}
                Err(failure) if wanted.len() == 1 => return Err(failure),
                Err(failure) => {
                    ends.push(failure.exit);
                    show(app, &failure);
                }
            }
        }
        if app.ui.json {
            app.ui.document(&json!({ "success": ended.len() == ends.len(), "unmounted": ended }));
        }
        Ok(if ends.is_empty() { Exit::Done } else { Exit::of_several(ends) })
    }
}

/// With `--json` there is one document, so what failed is told on stderr.
fn show(app: &App, failure: &Failure) {
    if app.ui.json {
        app.ui.warn(&failure.what);
    } else {
        app.ui.fail(failure);
    }
}
