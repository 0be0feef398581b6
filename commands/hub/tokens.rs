//! `hub tokens`: what lets programs in.

use api::{Client, CreateToken, Token, TokenKind, TokenList, TokenQuery, TokenState};
use clap_complete::engine::ArgValueCompleter;
use cli::{App, Column, During, Exit, Failure, Manual, Result, TableArgs, Work};
use jiff::{SignedDuration, Timestamp};
use model::{Role, UserName, VmName};
use std::time::Duration;

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    List(ListArgs),
    Create(CreateArgs),
    Revoke(RevokeArgs),
}

impl Command {
    pub fn run(self, app: &App) -> Result<Exit> {
        match self {
            Command::List(args) => args.run(app),
            Command::Create(args) => args.run(app),
            Command::Revoke(args) => args.run(app),
        }
    }
}

const LIST: Manual = Manual {
    examples: &[
        ("those of programs and of logins", "sendense-ctl hub tokens list"),
        ("what became of older ones", "sendense-ctl hub tokens list --all"),
    ],
    exits: cli::exits![Unreachable, Locked, Denied],
};

/// List the tokens that are valid, newest first
///
/// The tokens themselves are known to nobody but those who have them.
#[derive(Debug, clap::Args)]
#[command(after_long_help = LIST.help(), add = LIST)]
pub struct ListArgs {
    /// Those that have ended or were revoked, too
    #[arg(long)]
    all: bool,
    /// Only of this user
    #[arg(long, value_name = "NAME")]
    user: Option<UserName>,
    #[command(flatten)]
    table: TableArgs,
}

const COLUMNS: &[Column<Token>] = &[
    Column { name: "id", weight: 9, right: false, cell: |token, _| token.id.clone() },
    Column { name: "name", weight: 9, right: false, cell: |token, _| token.name.clone() },
    Column {
        name: "kind",
        weight: 7,
        right: false,
        cell: |token, _| match token.kind {
            TokenKind::Login => "login".to_owned(),
            TokenKind::Api => "api".to_owned(),
        },
    },
    Column { name: "role", weight: 8, right: false, cell: |token, _| token.role.to_string() },
    Column {
        name: "vms",
        weight: 6,
        right: false,
        cell: |token, _| match &token.vms {
            Some(vms) => vms.iter().map(VmName::as_str).collect::<Vec<_>>().join(", "),
            None => "all".to_owned(),
        },
    },
    Column {
        name: "state",
        weight: 8,
        right: false,
        cell: |token, _| match token.state {
            TokenState::Valid => "valid".to_owned(),
            TokenState::Expired => "expired".to_owned(),
            TokenState::Revoked => "revoked".to_owned(),
        },
    },
    Column { name: "expires", weight: 7, right: false, cell: |token, show| show.minute(token.expires_at) },
    Column {
        name: "last-used",
        weight: 3,
        right: false,
        cell: |token, show| token.last_used_at.map(|at| show.minute(at)).unwrap_or_default(),
    },
    Column { name: "created-by", weight: 2, right: false, cell: |token, _| token.created_by.clone() },
    Column { name: "created", weight: 0, right: false, cell: |token, show| show.minute(token.created_at) },
];

const CREATE: Manual = Manual {
    examples: &[
        ("for nightly backups", "sendense-ctl hub tokens create cron --role operator --expires 365d"),
        ("that sees one VM only", "sendense-ctl hub tokens create web-team --role restorer --vm web"),
        (
            "into a file that only its owner reads",
            "(umask 077; sendense-ctl hub tokens create cron --role operator > cron.token)",
        ),
    ],
    exits: cli::exits![Refused, Unreachable, Locked, Denied],
};

/// Make a token for a program: it is shown once, and never again
///
/// It does no more than you may do, and ends with you as a user. Use it with SENDENSE_TOKEN, SENDENSE_TOKEN_FILE, or
/// hub login --token.
#[derive(Debug, clap::Args)]
#[command(after_long_help = CREATE.help(), add = CREATE)]
pub struct CreateArgs {
    /// What it is called
    #[arg(value_name = "NAME")]
    name: String,
    /// What may be done with it
    #[arg(long, value_parser = cli::words(Role::ALL, Role::as_str))]
    role: Role,
    /// Only this VM exists for it (repeat for more)
    #[arg(long = "vm", value_name = "VM", add = ArgValueCompleter::new(cli::complete::vms))]
    vms: Vec<VmName>,
    /// How long it is valid
    #[arg(long, value_name = "DURATION", default_value = "365d", value_parser = cli::duration)]
    expires: Duration,
}

const REVOKE: Manual = Manual {
    examples: &[
        ("by its name", "sendense-ctl hub tokens revoke cron --yes"),
        ("a login, by the beginning of its id", "sendense-ctl hub tokens revoke 3f2a --yes"),
    ],
    exits: cli::exits![NotFound, Unreachable, Locked, Denied],
};

/// Revoke a token, of a program or of a login
#[derive(Debug, clap::Args)]
#[command(after_long_help = REVOKE.help(), add = REVOKE)]
pub struct RevokeArgs {
    /// Which: its id, the beginning of one, or the name of a program's token
    #[arg(value_name = "TOKEN")]
    token: String,
}

impl ListArgs {
    fn run(self, app: &App) -> Result<Exit> {
        let hub = app.connect(Work::Requests)?;
        let query = TokenQuery { all: self.all, username: self.user, ..TokenQuery::default() };
        let list = hub.wait(every(hub.client(), query))?;
        if app.ui.json {
            app.ui.document(&list);
        } else {
            app.ui.table(&list.tokens, COLUMNS, &self.table, "no tokens")?;
        }
        Ok(Exit::Done)
    }
}

/// Every token that matches, page by page.
async fn every(client: &Client, mut query: TokenQuery) -> Result<TokenList> {
    let mut all = TokenList { success: true, tokens: Vec::new(), total: 0, limit: 0, offset: 0 };
    query.limit = Some(api::MAX_LIMIT);
    loop {
        query.offset = Some(all.tokens.len() as u64);
        let page = client.tokens(&query).await.during(|| "the tokens could not be listed".to_owned())?;
        all.total = page.total;
        let is_last = page.tokens.len() < api::MAX_LIMIT as usize;
        all.tokens.extend(page.tokens);
        if is_last {
            all.limit = u32::try_from(all.tokens.len()).unwrap_or(u32::MAX);
            return Ok(all);
        }
    }
}

impl CreateArgs {
    fn run(self, app: &App) -> Result<Exit> {
        let attempt = || format!("the token {} was not made", self.name);
        let span = SignedDuration::try_from(self.expires)
            .map_err(|error| Failure::usage(format!("--expires: {error}")))?;
        let expires_at = Timestamp::now()
            .checked_add(span)
            .map_err(|error| Failure::usage(format!("--expires: {error}")))?;
        let request = CreateToken {
            name: self.name.clone(),
            role: self.role,
            vms: (!self.vms.is_empty()).then(|| self.vms.clone()),
            expires_at: Some(expires_at),
        };
        let hub = app.connect(Work::Requests)?;
        let made = hub.wait(hub.client().create_token(&request)).during(attempt)?;
        if app.ui.json {
            app.ui.document(&made);
        } else {
            app.ui.line(&made.token);
            app.ui.note(&format!(
                "it is not shown again; it is valid until {}",
                app.ui.show.time(made.api_token.expires_at)
            ));
        }
        Ok(Exit::Done)
    }
}

impl RevokeArgs {
    fn run(self, app: &App) -> Result<Exit> {
        let attempt = || format!("the token {} was not revoked", self.token);
        let hub = app.connect(Work::Requests)?;
        let valid = hub.wait(every(hub.client(), TokenQuery::default())).during(attempt)?.tokens;
        let token = find(&valid, &self.token).map_err(|failure| failure.during(attempt()))?;
        cli::confirm(&app.ui, &format!("Revoke the token {} ({})?", token.name, token.id))?;
        let revoked = hub.wait(hub.client().revoke_token(&token.id)).during(attempt)?;
        if app.ui.json {
            app.ui.document(&revoked);
        } else {
            app.ui.note(&format!("the token {} is refused from now on", token.name));
        }
        Ok(Exit::Done)
    }
}

/// The valid token that a text means.
fn find<'a>(tokens: &'a [Token], text: &str) -> Result<&'a Token> {
    let named = tokens.iter().find(|token| token.kind == TokenKind::Api && token.name == text);
    if let Some(token) = named {
        return Ok(token);
    }
    let mut fitting = tokens.iter().filter(|token| !text.is_empty() && token.id.starts_with(text));
    let listed = "sendense-ctl hub tokens list shows those that are valid";
    match (fitting.next(), fitting.next()) {
        (Some(token), None) => Ok(token),
        (Some(_), Some(_)) => {
            Err(Failure::new(Exit::NotFound, "ambiguous", "several ids begin like that").next(listed))
        }
        (None, _) => {
            let what = "there is no valid token of that name or id";
            Err(Failure::new(Exit::NotFound, "token_not_found", what).next(listed))
        }
    }
}
