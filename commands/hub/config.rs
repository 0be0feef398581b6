//! `hub config`: what `hub serve` would do, and whether it could.

use super::serve::SettingsArgs;
use cli::{App, Exit, Manual, Result, serve};
use serde_json::{Map, Value, json};

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    Show(ShowArgs),
    Check(CheckArgs),
}

impl Command {
    pub fn run(self, app: &App) -> Result<Exit> {
        match self {
            Command::Show(args) => args.run(app),
            Command::Check(args) => args.run(app),
        }
    }
}

const SHOW: Manual = Manual {
    examples: &[
        ("every setting, and where it comes from", "sendense-ctl hub config show"),
        ("a file to begin with", "sendense-ctl hub config show > /etc/sendense/hub.toml"),
    ],
    exits: cli::exits![],
};

/// Show every setting of hub serve, with its value and where that comes from
///
/// The output is a configuration file.
#[derive(Debug, clap::Args)]
#[command(after_long_help = SHOW.help(), add = SHOW)]
pub struct ShowArgs {
    #[command(flatten)]
    settings: SettingsArgs,
}

const CHECK: Manual = Manual {
    examples: &[("before a restart", "sendense-ctl hub config check && systemctl restart sendense-hub")],
    exits: cli::exits![],
};

/// Check the settings of hub serve
///
/// Ends with 2 where one is wrong or not known.
#[derive(Debug, clap::Args)]
#[command(after_long_help = CHECK.help(), add = CHECK)]
pub struct CheckArgs {
    #[command(flatten)]
    settings: SettingsArgs,
}

impl ShowArgs {
    fn run(self, app: &App) -> Result<Exit> {
        let resolved = serve::resolve(&self.settings.source(app)?)?;
        if app.ui.json {
            let settings: Map<String, Value> = resolved
                .all()
                .map(|(setting, value, origin)| {
                    let shown = json!({
                        "value": value,
                        "origin": origin.to_string(),
                        "variable": setting.variable(),
                        "about": setting.about,
                    });
                    (setting.key.to_owned(), shown)
                })
                .collect();
            app.ui.document(&json!({ "success": true, "settings": settings }));
            return Ok(Exit::Done);
        }
        let mut table = "";
        for (setting, value, origin) in resolved.all() {
            let (at, name) = setting.key.rsplit_once('.').unwrap_or(("", setting.key));
            if at != table {
                app.ui.line(&format!("\n[{at}]"));
                table = at;
            }
            app.ui.line(&format!("# {}", setting.about));
            app.ui.line(&format!("{name} = {value}  # {origin}"));
        }
        Ok(Exit::Done)
    }
}

impl CheckArgs {
    fn run(self, app: &App) -> Result<Exit> {
        let source = self.settings.source(app)?;
        let file = source.file.clone();
        serve::check(&source)?;
        if app.ui.json {
            app.ui.document(&json!({ "success": true, "file": file }));
        } else {
            app.ui.done(&match file {
                Some(path) if path.exists() => format!("{} is in order", path.display()),
                _ => "there is no configuration file; the defaults hold".to_owned(),
            });
        }
        Ok(Exit::Done)
    }
}
