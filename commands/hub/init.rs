//! `hub init`: the first administrator.

use api::CreateUser;
use cli::secret;
use cli::{App, During, Exit, Failure, Manual, Result, Work};
use model::{Role, UserName};
use serde_json::json;

const MANUAL: Manual = Manual {
    examples: &[
        ("on the hub's machine", "sendense-ctl hub init"),
        ("in a script", "SENDENSE_PASSWORD_FILE=/run/secrets/admin sendense-ctl hub init --user admin"),
    ],
    exits: cli::exits![Refused, Unreachable, Locked, Denied, Interrupted],
};

/// Make the first administrator of the hub
///
/// Run it on the hub's machine, as root or the hub's own user: the connection is the credential there. From elsewhere
/// nobody gets in before. There is no password unless you choose one: it is asked for, or comes from SENDENSE_PASSWORD,
/// SENDENSE_PASSWORD_FILE, SENDENSE_PASSWORD_FD or SENDENSE_PASSWORD_CMD, and has at least 12 characters. Refused where
/// there is an administrator already.
#[derive(Debug, clap::Args)]
#[command(after_long_help = MANUAL.help(), add = MANUAL)]
pub struct Args {
    /// The administrator's name
    #[arg(long, value_name = "NAME", default_value = "admin")]
    user: UserName,
}

impl Args {
    pub fn run(self, app: &App) -> Result<Exit> {
        let hub = app.connect(Work::Requests)?;
        let attempt = || format!("the administrator {} was not made", self.user);
        // Before the question: nobody thinks up a password in vain.
        let known = hub.wait(hub.client().all_users()).during(attempt)?;
        if let Some(first) = known.users.iter().find(|user| user.role == Role::Admin) {
            let what = format!("{} is the hub's administrator already", first.name);
            return Err(Failure::new(Exit::Refused, "already_exists", what)
                .next("a forgotten password: sendense-ctl hub users passwd NAME, on the hub's machine"));
        }
        let password = secret::new_password(&self.user)?.expose().to_owned();
        let request = CreateUser { name: self.user.clone(), password, role: Role::Admin, first: true };
        let user = hub.wait(hub.client().create_user(&request)).during(attempt)?;
        if app.ui.json {
            app.ui.document(&json!({ "success": true, "user": user }));
        } else {
            app.ui.done(&format!("{} is the hub's administrator", user.name));
            app.ui.note(&format!("from another machine: sendense-ctl hub login URL --user {}", user.name));
        }
        Ok(Exit::Done)
    }
}
