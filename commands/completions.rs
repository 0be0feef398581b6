//! `completions`: the script that makes a shell ask this program for completions.

use clap::ValueEnum;
use cli::{App, Exit, Failure, Manual, Result};
use std::io::Write;

pub const MANUAL: Manual = Manual {
    examples: &[
        ("bash, for this user", "sendense-ctl completions bash >> ~/.bashrc"),
        ("fish", "sendense-ctl completions fish > ~/.config/fish/completions/sendense-ctl.fish"),
        ("zsh, in a folder of $fpath", "sendense-ctl completions zsh > ~/.zfunc/_sendense-ctl"),
    ],
    exits: cli::exits![],
};

/// Print the script that makes a shell complete commands, VMs, backups and repositories
///
/// The script asks sendense-ctl itself at every Tab, so what it offers is what there is now.
#[derive(Debug, clap::Args)]
#[command(after_long_help = MANUAL.help(), add = MANUAL)]
pub struct Args {
    /// Which shell
    shell: Shell,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
    #[value(alias = "pwsh")]
    Powershell,
    Elvish,
}

impl Shell {
    fn name(self) -> &'static str {
        match self {
            Shell::Bash => "bash",
            Shell::Zsh => "zsh",
            Shell::Fish => "fish",
            Shell::Powershell => "powershell",
            Shell::Elvish => "elvish",
        }
    }
}

impl Args {
    pub fn run(self, app: &App) -> Result<Exit> {
        let mut script = Vec::new();
        cli::complete::script(self.shell.name(), &cli::complete::program(), &mut script)
            .and_then(|()| script.flush())
            .map_err(|error| Failure::local("the script could not be made", &error))?;
        app.ui.raw(&script);
        Ok(Exit::Done)
    }
}

#[cfg(test)]
mod tests {
    /// `completions/` in the tree is what the program would print; `cargo xtask generate` renews it.
    #[test]
    fn the_scripts_in_the_tree_are_those_of_the_program() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("completions");
        for (shell, file) in [
            ("bash", "sendense-ctl.bash"),
            ("zsh", "_sendense-ctl"),
            ("fish", "sendense-ctl.fish"),
            ("powershell", "sendense-ctl.ps1"),
            ("elvish", "sendense-ctl.elv"),
        ] {
            let mut script = Vec::new();
            cli::complete::script(shell, "sendense-ctl", &mut script).unwrap();
            let kept = std::fs::read(folder.join(file)).unwrap_or_default();
            assert!(kept == script, "completions/{file} is not up to date: run cargo xtask generate");
        }
    }
}
