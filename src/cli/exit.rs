//! The exit codes: what a script can tell without reading a word.
//!
//! One list for all commands. A failure that came from the hub has its number from [`api::ErrorCode`]; the
//! others are chosen where the failure is made. `--json` and `--quiet` never change a number.

use std::fmt;

/// How a command ended. The numbers are a promise to scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Exit {
    /// Everything that was asked for is done.
    Done = 0,
    /// Failed; nothing to restore from was made.
    Failed = 1,
    /// The command line, or what it asks for, makes no sense.
    Usage = 2,
    /// Made but incomplete, or some of several VMs failed.
    Incomplete = 3,
    /// What was named does not exist, or the name fits several.
    NotFound = 4,
    /// Refused: dependents, protected, immutable, policy, already there.
    Refused = 5,
    /// Damage was found.
    Damaged = 6,
    /// Hub, catalog or repository not reachable.
    Unreachable = 10,
    /// Locked by another run.
    Locked = 11,
    /// Credentials or permission missing.
    Denied = 12,
    /// The source can't be reached, or lost its change tracking under `--on-cbt-loss fail`.
    Source = 13,
    /// No space in the repository.
    NoSpace = 14,
    /// Ended by SIGHUP.
    HungUp = 129,
    /// Ended by SIGINT (Ctrl-C).
    Interrupted = 130,
    /// Ended by SIGTERM.
    Terminated = 143,
}

impl Exit {
    /// Every code, ascending.
    pub const ALL: [Exit; 15] = [
        Exit::Done,
        Exit::Failed,
        Exit::Usage,
        Exit::Incomplete,
        Exit::NotFound,
        Exit::Refused,
        Exit::Damaged,
        Exit::Unreachable,
        Exit::Locked,
        Exit::Denied,
        Exit::Source,
        Exit::NoSpace,
        Exit::HungUp,
        Exit::Interrupted,
        Exit::Terminated,
    ];

    /// The number that the shell sees.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The code of that number; [`Exit::Failed`] for a number outside the list.
    pub fn from_number(number: u8) -> Exit {
        Exit::ALL.into_iter().find(|exit| exit.number() == number).unwrap_or(Exit::Failed)
    }

    /// What it means, for help texts and manual pages.
    pub fn meaning(self) -> &'static str {
        match self {
            Exit::Done => "done",
            Exit::Failed => "failed; nothing to restore from was made",
            Exit::Usage => "the command line is wrong, or a question needed --yes",
            Exit::Incomplete => "made but incomplete, or some of several VMs failed",
            Exit::NotFound => "not found, or the name fits several",
            Exit::Refused => "refused: dependents, protected, immutable, or it exists already",
            Exit::Damaged => "verification found damage",
            Exit::Unreachable => "hub, catalog or repository not reachable",
            Exit::Locked => "locked by another run",
            Exit::Denied => "credentials or permission missing",
            Exit::Source => "source not reachable, or its change tracking lost under --on-cbt-loss fail",
            Exit::NoSpace => "no space left in the repository or at the target",
            Exit::HungUp => "ended by SIGHUP",
            Exit::Interrupted => "interrupted (Ctrl-C)",
            Exit::Terminated => "ended by SIGTERM",
        }
    }

    /// The worst of what several VMs ended with, for one number: their common one; [`Exit::Incomplete`]
    /// where they differ.
    pub fn of_several(ends: impl IntoIterator<Item = Exit>) -> Exit {
        let mut ends = ends.into_iter();
        let Some(first) = ends.next() else { return Exit::Done };
        if ends.all(|end| end == first) { first } else { Exit::Incomplete }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number().fmt(f)
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        exit.number().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_that_were_promised() {
        let numbers: Vec<u8> = Exit::ALL.iter().map(|exit| exit.number()).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6, 10, 11, 12, 13, 14, 129, 130, 143]);
        for exit in Exit::ALL {
            assert_eq!(Exit::from_number(exit.number()), exit);
        }
        assert_eq!(Exit::from_number(77), Exit::Failed);
    }

    #[test]
    fn several_vms_give_their_common_end_or_incomplete() {
        assert_eq!(Exit::of_several([]), Exit::Done);
        assert_eq!(Exit::of_several([Exit::Done, Exit::Done]), Exit::Done);
        assert_eq!(Exit::of_several([Exit::Done, Exit::NoSpace]), Exit::Incomplete);
        assert_eq!(Exit::of_several([Exit::Source, Exit::Locked]), Exit::Incomplete);
        assert_eq!(Exit::of_several([Exit::Source]), Exit::Source);
    }
}
