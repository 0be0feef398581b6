//! Work on the tree that cargo doesn't do by itself: `cargo xtask generate`.
//!
//! The model: each module makes files of the tree from the code and gives them as (path, content); this
//! module writes what differs. Running it twice changes nothing. What is generated is checked in, and a test
//! beside the code it is made from fails where the two differ.

mod openapi;
mod program;
mod reference;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Files to be: paths below the tree's root, and their whole contents.
type Files = Vec<(PathBuf, String)>;

/// Makes the files of one part.
type Make = fn() -> Result<Files, Box<dyn Error>>;

/// What is generated, by the word that chooses it.
const PARTS: &[(&str, Make)] = &[
    ("openapi", openapi::files),
    ("api", reference::files),
    ("man", program::man),
    ("completions", program::completions),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["generate"] => generate(None),
        ["generate", part] if PARTS.iter().any(|(word, _)| word == part) => generate(Some(part)),
        _ => {
            let parts: Vec<&str> = PARTS.iter().map(|(word, _)| *word).collect();
            eprintln!("usage: cargo xtask generate [{}]", parts.join("|"));
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

fn generate(only: Option<&str>) -> Result<(), Box<dyn Error>> {
    for (word, files) in PARTS {
        if only.is_some_and(|only| only != *word) {
            continue;
        }
        for (path, content) in files()? {
            write(&root().join(path), &content)?;
        }
    }
    Ok(())
}

/// Leaves a file alone that is as it should be, so that nothing is rebuilt for it.
fn write(path: &Path, content: &str) -> Result<(), Box<dyn Error>> {
    if fs::read_to_string(path).is_ok_and(|now| now == content) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, content).map_err(|error| format!("{}: {error}", path.display()))?;
    println!("{}", path.display());
    Ok(())
}

/// The tree's root, wherever this is started.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}
