//! How many files there are, and how large: for whoever wants to know how long something will take.

use super::Session;
use super::chosen::Visited;
use crate::{Error, Hub, Result};
use api::FileCount;
use guestfs::tree::{Node, Step};
use guestfs::{FileKind, Stat};
use std::collections::HashSet;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the numbers are told while they grow.
const TICK: Duration = Duration::from_millis(200);
/// How many files with several names are known by number; names of others count their bytes again.
const MAX_KNOWN: usize = 1 << 20;
/// Holes that are smaller together count as bytes, because they are copied as such.
pub(super) const WORTH_HOLES: u64 = 1 << 20;

impl Hub {
    /// Prepares a count of what the words name.
    ///
    /// # Errors
    /// No such session; a path that is not there.
    pub async fn count(
        &self,
        id: &str,
        words: Vec<Vec<u8>>,
    ) -> Result<impl FnOnce(&mut dyn Write) -> Result<()> + Send + use<>> {
        let session = self.session(id).await?;
        let (session, chosen) = crate::blocking::run("count", move || {
            let chosen = session.choose(&words, true)?;
            Ok((session, chosen))
        })
        .await?;
        Ok(move |out: &mut dyn Write| {
            session.count(&chosen, out).map_err(|error| Error::Internal(error.to_string()))
        })
    }
}

/// The bytes of a file that are read to copy it.
pub(super) fn bytes_of(stat: &Stat) -> u64 {
    if stat.size.saturating_sub(stat.allocated) >= WORTH_HOLES { stat.allocated } else { stat.size }
}

impl Session {
    /// Writes lines of numbers, the last of them final. Ends where they are not taken.
    fn count(self: &Arc<Self>, chosen: &super::chosen::Chosen, out: &mut dyn Write) -> io::Result<()> {
        let mut count = FileCount { failed: chosen.errors.len() as u64, ..FileCount::default() };
        let mut known: HashSet<Node> = HashSet::new();
        let mut told = Instant::now();
        let mut gone = None;
        for found in &chosen.found {
            self.visit(found, &mut |visited| {
                match visited {
                    Visited::Failed(..) => count.failed += 1,
                    Visited::Entry(entry, _) => match entry.kind {
                        FileKind::Directory => count.folders += u64::from(!entry.name.is_empty()),
                        FileKind::Symlink => count.links += 1,
                        FileKind::File => {
                            count.files += 1;
                            match entry.stat() {
                                Ok(stat) => {
                                    let again = stat.links > 1
                                        && (known.contains(&entry.node)
                                            || (known.len() < MAX_KNOWN && !known.insert(entry.node)));
                                    count.bytes += if again { 0 } else { bytes_of(&stat) };
                                }
                                Err(_) => count.failed += 1,
                            }
                        }
                        _ => count.special += 1,
                    },
                }
                if told.elapsed() >= TICK {
                    told = Instant::now();
                    self.times().touch();
                    if let Err(error) = tell(&count, out) {
                        gone = Some(error);
                        return Step::Stop;
                    }
                }
                Step::Into
            });
            if let Some(error) = gone {
                return Err(error);
            }
        }
        count.done = true;
        tell(&count, out)
    }
}

fn tell(count: &FileCount, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, count)?;
    out.write_all(b"\n")?;
    out.flush()
}
