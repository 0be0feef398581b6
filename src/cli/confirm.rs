//! Questions. Asked only where someone can answer: stdin and stderr are both a terminal. Elsewhere the answer
//! must have been given with `--yes`, and its lack is a usage error, so that a script never hangs.

use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::ui::Ui;
use std::io::{self, IsTerminal};

/// Asks `question` (a full sentence) unless `--yes` was given.
///
/// # Errors
/// Usage where nobody can be asked; interrupted where Ctrl-C was the answer; refused where it was no.
pub fn confirm(ui: &Ui, question: &str) -> Result<()> {
    ask_whether(ui, question, "add --yes if that is what you want")
}

/// The same for a command that has `--dry-run`.
///
/// # Errors
/// Those of [`confirm`].
pub fn confirm_plan(ui: &Ui, question: &str) -> Result<()> {
    ask_whether(ui, question, "add --yes if that is what you want, or --dry-run to see what would happen")
}

fn ask_whether(ui: &Ui, question: &str, instead: &str) -> Result<()> {
    if ui.yes {
        return Ok(());
    }
    if ui.json || !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Failure::usage("this asks a question, and there is no terminal to ask on")
            .why(question.to_owned())
            .next(instead));
    }
    let answer =
        dialoguer::Confirm::new().with_prompt(question).default(false).wait_for_newline(true).interact_opt();
    match answer {
        Ok(Some(true)) => Ok(()),
        Ok(Some(false) | None) => Err(Failure::new(Exit::Failed, "cancelled", "nothing was changed")),
        Err(dialoguer::Error::IO(error)) if error.kind() == io::ErrorKind::Interrupted => {
            Err(Failure::new(Exit::Interrupted, "cancelled", "nothing was changed"))
        }
        Err(error) => Err(Failure::local("the question could not be asked", &error)),
    }
}

/// Asks for a line of text.
///
/// # Errors
/// Usage where nobody can be asked; interrupted where Ctrl-C was the answer.
pub fn ask(ui: &Ui, prompt: &str) -> Result<String> {
    if ui.json || !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(
            Failure::usage("this asks a question, and there is no terminal to ask on").why(prompt.to_owned())
        );
    }
    dialoguer::Input::<String>::new().with_prompt(prompt).interact_text().map_err(|error| {
        Failure::new(Exit::Interrupted, "cancelled", "nothing was changed").why(error.to_string())
    })
}
