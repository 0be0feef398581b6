//! How many files this process may have open.
//!
//! A point holds two files open for each layer of each disk's chain, and several points are open at once. The usual soft
//! limit of 1024 is there for programs that use `select`, which this one does not.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// More than this is never asked for: children inherit it.
const MOST: u64 = 65_536;

/// Raises the soft limit as far as the hard one allows. Where that is refused, everything works with fewer files.
pub(crate) fn allow_many() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum.unwrap_or(MOST).min(MOST);
    if current.is_some_and(|current| current < wanted)
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum })
    {
        tracing::debug!(%error, "the limit of open files can't be raised");
    }
}
