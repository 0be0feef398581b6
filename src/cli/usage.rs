//! Command lines that can't be parsed, and help: shown in the style of everything else.

use crate::exit::Exit;
use crate::failure::Failure;
use crate::ui::{GlobalArgs, Ui};
use clap::error::ErrorKind;
use clap::{ColorChoice, Command};
use std::ffi::OsString;
use std::io::Write;

/// The command, with colours off where the raw command line says so: a help text is printed before options
/// are known.
pub fn command(command: Command, given: &[OsString]) -> Command {
    if has_flag(given, "--no-color") { command.color(ColorChoice::Never) } else { command }
}

/// Prints a help text or a usage error, and gives the exit code.
pub fn report(error: &clap::Error, command: &Command, given: &[OsString]) -> Exit {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    ) {
        // A reader that has gone is no failure of a help text.
        drop(error.print());
        drop(std::io::stdout().flush());
        let asked = error.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
        return if asked { Exit::Done } else { Exit::Usage };
    }
    let global = GlobalArgs {
        json: has_flag(given, "--json"),
        no_color: has_flag(given, "--no-color"),
        ..GlobalArgs::default()
    };
    let failure = failure(error, command, given);
    Ui::new(&global).fail(&failure);
    failure.exit
}

fn has_flag(given: &[OsString], flag: &str) -> bool {
    given.iter().take_while(|argument| *argument != "--").any(|argument| argument == flag)
}

/// clap's message cut down to what, why and what to do next.
fn failure(error: &clap::Error, command: &Command, given: &[OsString]) -> Failure {
    let rendered = error.render().to_string();
    let mut parts = rendered.split("\n\n").map(|part| {
        part.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
    });
    let what = parts.next().unwrap_or_default();
    // Several words under one name: the first is the one that is missing.
    let what = what.strip_prefix("error: ").unwrap_or(&what).replace("<BACKUP] [PATH>...", "<BACKUP>");
    let mut failure = Failure::usage(what);
    let tips: Vec<String> =
        parts.filter_map(|part| part.strip_prefix("tip: ").map(|tip| tip.replace(" tip: ", "; "))).collect();
    if !tips.is_empty() {
        failure = failure.why(tips.join("; "));
    }
    failure.next(format!("{} --help", path(command, given)))
}

/// The command that was meant, as far as it can be told: `sendense-ctl backup start`.
fn path(command: &Command, given: &[OsString]) -> String {
    let mut path = command.get_name().to_owned();
    let mut at = command;
    for word in given.iter().skip(1) {
        if let Some(sub) = word.to_str().and_then(|word| at.find_subcommand(word)) {
            path.push(' ');
            path.push_str(sub.get_name());
            at = sub;
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Arg;

    fn demo() -> Command {
        Command::new("demo").subcommand(
            Command::new("list")
                .arg(Arg::new("vm").long("vm").required(true))
                .arg(Arg::new("type").long("type").value_parser(["full", "auto"])),
        )
    }

    #[test]
    fn of_several_words_under_one_name_the_missing_one_is_named() {
        let words = Arg::new("words").value_name("BACKUP] [PATH").num_args(1..).required(true);
        let command = Command::new("demo").arg(words);
        let error = command.clone().try_get_matches_from(["demo"]).unwrap_err();
        assert!(failure(&error, &command, &["demo".into()]).what.ends_with("not provided: <BACKUP>"));
    }

    fn of(line: &[&str]) -> Failure {
        let given: Vec<OsString> = line.iter().map(OsString::from).collect();
        failure(&demo().try_get_matches_from(line).unwrap_err(), &demo(), &given)
    }

    #[test]
    fn usage_errors_are_three_lines_with_a_command_to_type() {
        let missing = of(&["demo", "list"]);
        assert_eq!(missing.what, "the following required arguments were not provided: --vm <vm>");
        assert_eq!(missing.next.as_deref(), Some("demo list --help"));
        assert_eq!(missing.exit, Exit::Usage);

        let wrong = of(&["demo", "list", "--vm", "a", "--type", "ful"]);
        assert!(wrong.what.contains("invalid value 'ful' for '--type <type>'"), "{}", wrong.what);
        assert_eq!(wrong.next.as_deref(), Some("demo list --help"));
        assert!(wrong.why.as_deref().is_some_and(|why| why.contains("'full'")), "{:?}", wrong.why);

        let unknown = of(&["demo", "lst"]);
        assert!(unknown.what.contains("'lst'"), "{}", unknown.what);
        assert_eq!(unknown.next.as_deref(), Some("demo --help"));
    }

    #[test]
    fn flags_behind_a_double_dash_are_no_flags() {
        let given: Vec<OsString> = ["x", "--", "--json"].map(OsString::from).into();
        assert!(!has_flag(&given, "--json"));
        assert!(has_flag(&given[..1].iter().cloned().chain(["--json".into()]).collect::<Vec<_>>(), "--json"));
    }
}
