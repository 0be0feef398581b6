//! `hub users`: who may log in.

use api::{ChangePassword, CreateUser, Login, PatchUser, User};
use cli::place::{Place, Served};
use cli::profiles::Profiles;
use cli::secret::{self, Secret};
use cli::{App, Column, During, Exit, Failure, Manual, Result, TableArgs, Work, tokens};
use model::{Role, UserName};
use serde_json::json;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    List(ListArgs),
    Add(AddArgs),
    Passwd(PasswdArgs),
    Role(RoleArgs),
    Disable(DisableArgs),
    Enable(EnableArgs),
    Remove(RemoveArgs),
}

impl Command {
    pub fn run(self, app: &App) -> Result<Exit> {
        match self {
            Command::List(args) => args.run(app),
            Command::Add(args) => args.run(app),
            Command::Passwd(args) => args.run(app),
            Command::Role(args) => {
                let patch = PatchUser { role: Some(args.role), ..PatchUser::default() };
                change(app, &args.name, &patch, &format!("is {} from now on", args.role))
            }
            Command::Disable(args) => {
                let patch = PatchUser { disabled: Some(true), ..PatchUser::default() };
                change(app, &args.name, &patch, "may no longer log in; all tokens of theirs are revoked")
            }
            Command::Enable(args) => {
                let patch = PatchUser { disabled: Some(false), ..PatchUser::default() };
                change(app, &args.name, &patch, "may log in again")
            }
            Command::Remove(args) => args.run(app),
        }
    }
}

const LIST: Manual = Manual {
    examples: &[("all", "sendense-ctl hub users list")],
    exits: cli::exits![Unreachable, Locked, Denied],
};

/// List who may log in to the hub
#[derive(Debug, clap::Args)]
#[command(after_long_help = LIST.help(), add = LIST)]
pub struct ListArgs {
    #[command(flatten)]
    table: TableArgs,
}

const COLUMNS: &[Column<User>] = &[
    Column { name: "name", weight: 9, right: false, cell: |user, _| user.name.to_string() },
    Column { name: "role", weight: 8, right: false, cell: |user, _| user.role.to_string() },
    Column {
        name: "state",
        weight: 7,
        right: false,
        cell: |user, _| if user.disabled { "disabled" } else { "enabled" }.to_owned(),
    },
    Column {
        name: "last-login",
        weight: 6,
        right: false,
        cell: |user, show| user.last_login_at.map(|at| show.minute(at)).unwrap_or_default(),
    },
    Column { name: "added", weight: 4, right: false, cell: |user, show| show.minute(user.created_at) },
    Column { name: "changed", weight: 0, right: false, cell: |user, show| show.minute(user.updated_at) },
];

const ADD: Manual = Manual {
    examples: &[
        (
            "somebody who may restore; the password is asked for",
            "sendense-ctl hub users add j.doe --role restorer",
        ),
        ("in a script", "SENDENSE_PASSWORD_FILE=pw sendense-ctl hub users add j.doe --role operator"),
    ],
    exits: cli::exits![Refused, Unreachable, Locked, Denied, Interrupted],
};

/// Add somebody who may log in to the hub
///
/// viewer looks, restorer restores too, operator backs up, deletes and changes VMs too, admin does everything. The
/// password is asked for, or comes from SENDENSE_PASSWORD, _FILE, _FD or _CMD.
#[derive(Debug, clap::Args)]
#[command(after_long_help = ADD.help(), add = ADD)]
pub struct AddArgs {
    /// The name: small letters, digits, dots, dashes and underscores
    #[arg(value_name = "NAME")]
    name: UserName,
    /// What they may do
    #[arg(long, value_parser = cli::words(Role::ALL, Role::as_str))]
    role: Role,
}

const PASSWD: Manual = Manual {
    examples: &[
        ("your own", "sendense-ctl hub users passwd"),
        ("that of somebody who has forgotten it", "sendense-ctl hub users passwd j.doe"),
    ],
    exits: cli::exits![NotFound, Unreachable, Locked, Denied, Interrupted],
};

/// Change a password
///
/// Your own where nobody is named: then the one until now is asked for, or comes from SENDENSE_PASSWORD, _FILE, _FD or
/// _CMD. The new one is asked for, or comes from SENDENSE_NEW_PASSWORD, _FILE, _FD or _CMD. All logins of the user end;
/// your own begins anew.
#[derive(Debug, clap::Args)]
#[command(after_long_help = PASSWD.help(), add = PASSWD)]
pub struct PasswdArgs {
    /// Whose, for administrators
    #[arg(value_name = "NAME")]
    name: Option<UserName>,
}

const ROLE: Manual = Manual {
    examples: &[("one more administrator", "sendense-ctl hub users role j.doe admin")],
    exits: cli::exits![NotFound, Refused, Unreachable, Locked, Denied],
};

/// Change what somebody may do
///
/// At once, also for those who are logged in. The last administrator stays one.
#[derive(Debug, clap::Args)]
#[command(after_long_help = ROLE.help(), add = ROLE)]
pub struct RoleArgs {
    /// Who
    #[arg(value_name = "NAME")]
    name: UserName,
    /// What they may do from now on
    #[arg(value_parser = cli::words(Role::ALL, Role::as_str))]
    role: Role,
}

const DISABLE: Manual = Manual {
    examples: &[("at once", "sendense-ctl hub users disable j.doe")],
    exits: cli::exits![NotFound, Refused, Unreachable, Locked, Denied],
};

/// Keep somebody from logging in, and revoke all of their tokens
#[derive(Debug, clap::Args)]
#[command(after_long_help = DISABLE.help(), add = DISABLE)]
pub struct DisableArgs {
    /// Who
    #[arg(value_name = "NAME")]
    name: UserName,
}

const ENABLE: Manual = Manual {
    examples: &[("again", "sendense-ctl hub users enable j.doe")],
    exits: cli::exits![NotFound, Unreachable, Locked, Denied],
};

/// Let somebody log in again who was disabled
#[derive(Debug, clap::Args)]
#[command(after_long_help = ENABLE.help(), add = ENABLE)]
pub struct EnableArgs {
    /// Who
    #[arg(value_name = "NAME")]
    name: UserName,
}

const REMOVE: Manual = Manual {
    examples: &[("without being asked", "sendense-ctl hub users remove j.doe --yes")],
    exits: cli::exits![NotFound, Refused, Unreachable, Locked, Denied],
};

/// Remove somebody who may log in, and revoke all of their tokens
#[derive(Debug, clap::Args)]
#[command(after_long_help = REMOVE.help(), add = REMOVE)]
pub struct RemoveArgs {
    /// Who
    #[arg(value_name = "NAME")]
    name: UserName,
}

fn change(app: &App, name: &UserName, patch: &PatchUser, done: &str) -> Result<Exit> {
    let hub = app.connect(Work::Requests)?;
    let user = hub
        .wait(hub.client().patch_user(name, patch))
        .during(|| format!("the user {name} was not changed"))?;
    if app.ui.json {
        app.ui.document(&json!({ "success": true, "user": user }));
    } else {
        app.ui.note(&format!("{name} {done}"));
    }
    Ok(Exit::Done)
}

impl ListArgs {
    fn run(self, app: &App) -> Result<Exit> {
        let hub = app.connect(Work::Requests)?;
        let list =
            hub.wait(hub.client().all_users()).during(|| "the users could not be listed".to_owned())?;
        if app.ui.json {
            app.ui.document(&list);
        } else {
            let nobody = "nobody may log in yet; make the first administrator with: sendense-ctl hub init";
            app.ui.table(&list.users, COLUMNS, &self.table, nobody)?;
        }
        Ok(Exit::Done)
    }
}

impl AddArgs {
    fn run(self, app: &App) -> Result<Exit> {
        let password = secret::new_password(&self.name)?.expose().to_owned();
        let request = CreateUser { name: self.name.clone(), password, role: self.role, first: false };
        let hub = app.connect(Work::Requests)?;
        let attempt = || format!("the user {} was not added", self.name);
        let user = hub.wait(hub.client().create_user(&request)).during(attempt)?;
        if app.ui.json {
            app.ui.document(&json!({ "success": true, "user": user }));
        } else {
            app.ui.note(&format!("{} may log in, as {}", user.name, user.role));
        }
        Ok(Exit::Done)
    }
}

impl PasswdArgs {
    fn run(self, app: &App) -> Result<Exit> {
        let attempt = || "the password was not changed".to_owned();
        if let Some(name) = &self.name {
            let password = secret::another_password(name.as_str())?.expose().to_owned();
            let patch = PatchUser { password: Some(password), ..PatchUser::default() };
            return change(app, name, &patch, "has another password; all logins of theirs have ended");
        }
        let place = app.said.place()?;
        let hub = app.connect_to(&place)?;
        let who = hub.wait(hub.client().whoami()).during(attempt)?;
        let Some(name) = who.username else {
            return Err(Failure::usage(format!("{} has no password", who.name))
                .next("name the user: sendense-ctl hub users passwd NAME"));
        };
        let current = secret::password(&format!("Password of {name} until now"), false)?;
        let new = secret::another_password(&name)?;
        let request = ChangePassword {
            current_password: current.expose().to_owned(),
            new_password: new.expose().to_owned(),
        };
        let done = hub.wait(hub.client().change_password(&request)).during(attempt)?;
        let again = match place {
            Place::Served(served) => log_in_again(served, &name, &new)?,
            Place::Embedded(_) => false,
        };
        if app.ui.json {
            app.ui.document(&done);
        } else {
            app.ui.note("the password is changed; all other logins have ended");
            if !again {
                app.ui.note("log in again: sendense-ctl hub login");
            }
        }
        Ok(Exit::Done)
    }
}

/// The login that went with the old password begins anew with the new one.
fn log_in_again(served: Served, name: &str, password: &Secret) -> Result<bool> {
    let Some(profile) = served.name.clone() else { return Ok(false) };
    let client = cli::remote(&Served { token: None, ..served })?;
    let login = Login { username: name.to_owned(), password: password.expose().to_owned() };
    let logged_in = cli::wait(client.login(&login))??;
    let keeper = tokens::keeper(&profile)?;
    tokens::store(&profile, &Secret::new(logged_in.token), keeper)?;
    let mut profiles = Profiles::load()?;
    if let Some(known) = profiles.hubs.get_mut(&profile) {
        known.expires_at = Some(logged_in.expires_at);
        profiles.save()?;
    }
    Ok(true)
}

impl RemoveArgs {
    fn run(self, app: &App) -> Result<Exit> {
        let name = self.name;
        let attempt = || format!("the user {name} was not removed");
        let hub = app.connect(Work::Requests)?;
        cli::confirm(&app.ui, &format!("Remove the user {name}?"))?;
        let removed = hub.wait(hub.client().delete_user(&name)).during(attempt)?;
        if app.ui.json {
            app.ui.document(&removed);
        } else {
            app.ui.note(&format!("{name} removed"));
        }
        Ok(Exit::Done)
    }
}
