//! What the program says of itself: manual pages and completion scripts. Made by running it, so that the tree
//! holds what a user would get.

use super::Files;
use std::error::Error;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Shells, and where their scripts are looked for by name.
const SCRIPTS: [(&str, &str); 5] = [
    ("bash", "sendense-ctl.bash"),
    ("zsh", "_sendense-ctl"),
    ("fish", "sendense-ctl.fish"),
    ("powershell", "sendense-ctl.ps1"),
    ("elvish", "sendense-ctl.elv"),
];

/// `man/`: a page for every command.
pub fn man() -> Result<Files, Box<dyn Error>> {
    let program = build()?;
    let folder = program.with_file_name("xtask-man");
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    run(&program, &["man", "--quiet", "--dir", folder.to_str().ok_or("the target folder is not UTF-8")?])?;
    let mut files = Files::new();
    for entry in std::fs::read_dir(&folder)? {
        let path = entry?.path();
        let name = path.file_name().ok_or("a page without a name")?;
        files.push((Path::new("man").join(name), std::fs::read_to_string(&path)?));
    }
    files.sort();
    Ok(files)
}

/// `completions/`: a script for every shell.
pub fn completions() -> Result<Files, Box<dyn Error>> {
    let program = build()?;
    SCRIPTS
        .iter()
        .map(|(shell, name)| {
            Ok((Path::new("completions").join(name), run(&program, &["completions", shell])?))
        })
        .collect()
}

/// Builds the program; it lies beside this one.
fn build() -> Result<PathBuf, Box<dyn Error>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--package", "sendense-ctl"]).current_dir(super::root());
    if !command.status()?.success() {
        return Err("sendense-ctl can't be built".into());
    }
    Ok(std::env::current_exe()?.with_file_name("sendense-ctl"))
}

/// Runs it as if it had been found on the PATH, so that no script names this machine's folders.
fn run(program: &Path, arguments: &[&str]) -> Result<String, Box<dyn Error>> {
    let output = Command::new(program).arg0("sendense-ctl").args(arguments).output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("sendense-ctl {}: {said}", arguments.join(" ")).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}
