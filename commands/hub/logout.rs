//! `hub logout`: giving a token back.

use api::ErrorCode;
use cli::place;
use cli::profiles::Profiles;
use cli::{App, Exit, Failure, Manual, Result, tokens};
use serde_json::json;

const MANUAL: Manual = Manual {
    examples: &[
        ("from the hub in use", "sendense-ctl hub logout"),
        ("and forget where it is", "sendense-ctl hub logout prod --forget"),
    ],
    exits: cli::exits![NotFound, Denied],
};

/// Log out of a hub
///
/// The token is revoked there and forgotten here; an API token, which others may use too, is forgotten only. A hub that does
/// not answer keeps it until it expires.
#[derive(Debug, clap::Args)]
#[command(after_long_help = MANUAL.help(), add = MANUAL)]
pub struct Args {
    /// Which hub [default: the one in use]
    #[arg(value_name = "NAME", add = clap_complete::engine::ArgValueCompleter::new(cli::complete::hubs))]
    name: Option<String>,
    /// Forget the hub too
    #[arg(long)]
    forget: bool,
}

impl Args {
    pub fn run(self, app: &App) -> Result<Exit> {
        let mut profiles = Profiles::load()?;
        let name = self.name.or_else(|| app.said.hub.clone()).or_else(|| profiles.current.clone());
        let name = name.ok_or_else(|| {
            Failure::new(Exit::NotFound, "not_found", "you are not logged in to a hub")
                .next("sendense-ctl hub list shows those that are known")
        })?;
        if !profiles.hubs.contains_key(&name) {
            return Err(Failure::new(Exit::NotFound, "not_found", format!("there is no hub named {name}"))
                .next("sendense-ctl hub list shows those that are known"));
        }
        if tokens::is_there(&name)? {
            revoke(app, &profiles, &name)?;
        }
        tokens::remove(&name)?;
        if self.forget {
            profiles.hubs.remove(&name);
        }
        if profiles.current.as_deref() == Some(&*name) {
            profiles.current = None;
        }
        profiles.save()?;
        let used = app.said.hub.clone().filter(|said| said != "local").or(profiles.current);
        let used = used.unwrap_or_else(|| "the hub of this machine".to_owned());
        if app.ui.json {
            app.ui.document(&json!({ "success": true, "name": name }));
        } else {
            app.ui.done(&format!("logged out of {name}; commands use {used}"));
        }
        Ok(Exit::Done)
    }
}

/// Gives the token back to its hub. What keeps it from that is no reason to keep the token here.
fn revoke(app: &App, profiles: &Profiles, name: &str) -> Result<()> {
    let stays = |why: &str| {
        app.ui.warn(&format!("the token was not revoked, it stays valid until it expires: {why}"))
    };
    let served = match place::stored(profiles, name) {
        Ok(Some(served)) => served,
        Ok(None) => return Ok(()),
        Err(failure) => {
            stays(failure.why.as_deref().unwrap_or(&failure.what));
            return Ok(());
        }
    };
    let client = cli::remote(&served)?;
    match cli::wait(client.logout())? {
        Err(error) if error.code() == ErrorCode::Conflict => {
            app.ui.note("the API token stays valid; an administrator revokes it: hub tokens revoke");
        }
        Err(error) if error.code() != ErrorCode::Unauthorized => stays(&error.to_string()),
        _ => {}
    }
    Ok(())
}
