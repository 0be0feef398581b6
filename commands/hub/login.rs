//! `hub login`: making a hub elsewhere known, and logging in to it.

use api::{Fingerprint, HubAddress, LoggedIn, Login, Remote, Trust};
use cli::place::{self, Served};
use cli::profiles::{self, Profile, Profiles};
use cli::secret::{self, Secret};
use cli::tokens::{self, Keeper};
use cli::{App, During, Exit, Failure, Manual, Result};
use serde_json::json;
use std::path::PathBuf;

const MANUAL: Manual = Manual {
    examples: &[
        ("a hub of your own", "sendense-ctl hub login https://hub.example:8082 --user admin"),
        ("under a name", "sendense-ctl hub login hub.example --name prod --user admin"),
        (
            "from a script: the certificate is known",
            "sendense-ctl hub login hub.example --user cron --fingerprint sha256:…",
        ),
        (
            "with an authority of your own",
            "sendense-ctl hub login hub.example --user me --ca /etc/ssl/company.pem",
        ),
        ("for cron, which has no keyring", "sendense-ctl hub login hub.example --user cron --keep file"),
        ("with an API token, in SENDENSE_TOKEN", "sendense-ctl hub login hub.example --token"),
    ],
    exits: cli::exits![NotFound, Unreachable, Locked, Denied, Interrupted],
};

/// Log in to a hub, and use it from now on
///
/// The password is asked for, or comes from SENDENSE_PASSWORD, SENDENSE_PASSWORD_FILE, SENDENSE_PASSWORD_FD or
/// SENDENSE_PASSWORD_CMD; it is never an argument. Where nobody that this machine trusts has signed the hub's
/// certificate, its fingerprint is shown and asked about, and pinned from then on; hub serve prints the same one.
#[derive(Debug, clap::Args)]
#[command(after_long_help = MANUAL.help(), add = MANUAL)]
pub struct Args {
    /// Where the hub is, or the name of one that is known
    #[arg(value_name = "URL")]
    url: String,
    /// As whom
    #[arg(long, short, value_name = "USER", env = "SENDENSE_USER", hide_env_values = true)]
    user: Option<String>,
    /// Use an API token, from SENDENSE_TOKEN, SENDENSE_TOKEN_FILE, _FD or _CMD
    #[arg(long, conflicts_with = "user")]
    token: bool,
    /// What the hub is called from now on [default: the first part of its host's name]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The fingerprint of its certificate (also: SENDENSE_FINGERPRINT)
    #[arg(long, value_name = "SHA256", conflicts_with = "ca")]
    fingerprint: Option<Fingerprint>,
    /// A PEM file of the authority that has signed its certificate (also: SENDENSE_CA)
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    ca: Option<PathBuf>,
    /// Where the token is kept
    #[arg(
        long,
        value_name = "PLACE",
        value_enum,
        default_value = "auto",
        env = "SENDENSE_KEEP",
        hide_env_values = true
    )]
    keep: Keeper,
}

impl Args {
    pub fn run(self, app: &App) -> Result<Exit> {
        let mut profiles = Profiles::load()?;
        let known = profiles.hubs.get(&self.url).cloned();
        let url = known.as_ref().map_or(self.url.as_str(), |profile| profile.url.as_str());
        let address: HubAddress = url.parse().map_err(|error: api::HubAddressError| {
            Failure::usage(error.to_string()).next("sendense-ctl hub list shows the hubs that are known")
        })?;
        let name = match (&self.name, &known) {
            (Some(name), _) => name.clone(),
            (None, Some(_)) => self.url.clone(),
            (None, None) => name_of(&address),
        };
        if !profiles::is_name(&name) {
            return Err(Failure::usage(format!("a hub can't be called {name:?}"))
                .why("a name has letters, digits, - and _, and is neither local nor embedded")
                .next("choose one with --name NAME"));
        }
        let attempt = || format!("you are not logged in to {address}");
        let trust = self.trust(app, &address, known.as_ref()).during(attempt)?;
        let mut profile = Profile::new(&address.to_string());
        match &trust {
            Trust::Pin(pin) => profile.fingerprint = Some(pin.to_string()),
            Trust::Authority(path) => profile.ca = Some(path.clone()),
            Trust::System => {}
        }
        let (token, logged_in) = self.credentials(app, &address, &trust, known.as_ref()).during(attempt)?;
        profile.user = logged_in.user.clone();
        profile.expires_at = logged_in.expires_at;
        let before = place::stored(&profiles, &name).ok().flatten();
        let kept = tokens::store(&name, &token, self.keep).inspect_err(|_| {
            // Nobody holds it.
            if !self.token {
                end(&Served {
                    address: address.clone(),
                    trust: trust.clone(),
                    token: Some(token.clone()),
                    name: None,
                });
            }
        })?;
        // At the hub that gave it, which may be another one.
        if let Some(before) = before
            && before.token.as_ref().is_some_and(|old| old.expose() != token.expose())
        {
            end(&before);
        }
        profiles.hubs.insert(name.clone(), profile);
        profiles.current = Some(name.clone());
        profiles.save()?;
        if app.ui.json {
            app.ui.document(&json!({
                "success": true,
                "name": name,
                "hub": address.to_string(),
                "user": logged_in.user,
                "role": logged_in.role,
                "expires_at": logged_in.expires_at,
                "token_kept_in": kept_in(kept),
            }));
        } else {
            let who = logged_in.user.map(|user| format!(" as {user}")).unwrap_or_default();
            let until =
                logged_in.expires_at.map(|at| format!(" until {}", app.ui.show.time(at))).unwrap_or_default();
            app.ui
                .done(&format!("logged in to {address}{who}{until}; commands use it as {name} from now on"));
            if kept == Keeper::Keyring {
                app.ui.note("the token is in the session's keyring; cron needs it in a file: --keep file");
            }
            app.ui.note("back to the hub of this machine: sendense-ctl hub use local");
        }
        Ok(Exit::Done)
    }

    /// How the hub's certificate is told.
    fn trust(&self, app: &App, address: &HubAddress, known: Option<&Profile>) -> Result<Trust> {
        if let Some(pin) = self.fingerprint {
            return Ok(Trust::Pin(pin));
        }
        if let Some(path) = &self.ca {
            let path = std::path::absolute(path)
                .map_err(|error| Failure::local(format!("{} can't be found", path.display()), &error))?;
            return Ok(Trust::Authority(path));
        }
        let pinned = |pin: &str| {
            pin.parse()
                .map(Trust::Pin)
                .map_err(|error: api::FingerprintError| Failure::usage(error.to_string()))
        };
        let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        match (variable("SENDENSE_FINGERPRINT"), variable("SENDENSE_CA")) {
            (Some(pin), _) => return pinned(&pin),
            (None, Some(path)) => return Ok(Trust::Authority(path.into())),
            (None, None) => {}
        }
        match known {
            Some(Profile { fingerprint: Some(pin), .. }) => return pinned(pin),
            Some(Profile { ca: Some(path), .. }) => return Ok(Trust::Authority(path.clone())),
            _ => {}
        }
        if !matches!(address, HubAddress::Network { tls: true, .. }) {
            return Ok(Trust::System);
        }
        let served = Served { address: address.clone(), trust: Trust::System, token: None, name: None };
        let asked = cli::wait(async { cli::remote(&served)?.health().await.map_err(Failure::from) })?;
        match asked {
            Ok(_) => return Ok(Trust::System),
            Err(failure) if &*failure.code != api::ErrorCode::HubUntrusted.as_str() => return Err(failure),
            Err(_) => {}
        }
        let found = cli::wait(Remote::fingerprint(address))?.map_err(api::ClientError::from)?;
        app.ui.note(&format!("the certificate of {address} is {found}"));
        app.ui.note("nobody that this machine trusts has signed it: compare it with what the hub prints");
        cli::confirm(&app.ui, "Is it the hub's?").map_err(|failure| {
            let next = format!("if {found} is what the hub prints, add: --fingerprint {found}");
            Failure { next: Some(next), ..failure }
        })?;
        Ok(Trust::Pin(found))
    }

    /// The token that goes with every request from now on.
    fn credentials(
        &self,
        app: &App,
        address: &HubAddress,
        trust: &Trust,
        known: Option<&Profile>,
    ) -> Result<(Secret, Who)> {
        let place = |token| Served { address: address.clone(), trust: trust.clone(), token, name: None };
        if self.token {
            let token = secret::from_environment("SENDENSE_TOKEN")?.ok_or_else(|| {
                Failure::usage("--token needs a token")
                    .next("set SENDENSE_TOKEN, SENDENSE_TOKEN_FILE, _FD or _CMD")
            })?;
            let client = cli::remote(&place(Some(token.clone())))?;
            let who = cli::wait(client.whoami())??;
            return Ok((token, Who { user: who.username, role: Some(who.role), expires_at: who.expires_at }));
        }
        let user = match self.user.as_ref().or_else(|| known?.user.as_ref()) {
            Some(user) => user.clone(),
            None => cli::ask(&app.ui, "User").map_err(|failure| {
                failure.next("say who you are with --user USER, or with --token and SENDENSE_TOKEN")
            })?,
        };
        let password = secret::password(&format!("Password of {user} at {address}"), false)?;
        let client = cli::remote(&place(None))?;
        let login = Login { username: user.clone(), password: password.expose().to_owned() };
        let LoggedIn { token, expires_at, role } = cli::wait(client.login(&login))??;
        Ok((Secret::new(token), Who { user: Some(user), role: Some(role), expires_at: Some(expires_at) }))
    }
}

/// Ends a login that nobody needs any more. One that can't be ended now ends by itself; a program's token is not a login and
/// stays.
fn end(served: &Served) {
    let ended = cli::wait(async {
        let client = cli::remote(served)?;
        client.logout().await.map_err(Failure::from)
    });
    drop(ended);
}

fn kept_in(keeper: Keeper) -> &'static str {
    match keeper {
        Keeper::Keyring => "keyring",
        Keeper::Auto | Keeper::File => "file",
    }
}

/// As whom.
struct Who {
    user: Option<String>,
    role: Option<api::Role>,
    expires_at: Option<jiff::Timestamp>,
}

/// `hub.example` is `hub`; an address is itself, with dashes.
fn name_of(address: &HubAddress) -> String {
    match address {
        HubAddress::Socket(_) => "socket".to_owned(),
        HubAddress::Network { host, .. } => match host.parse::<std::net::IpAddr>() {
            Ok(_) => host.replace(['.', ':'], "-"),
            Err(_) => host.split('.').next().unwrap_or(host).to_owned(),
        },
    }
}
