//! What a search or comparison has found, for its next pages.
//!
//! All of the work has to be done to know the first page, because what is found is told in order and with its number. So
//! what was found is kept for a while, and who asks for another page with the cursor of the first gets it from here. A
//! cursor can't be guessed and answers only the question that it was given for. One that is known no more costs the work
//! once again, and nothing else.
//!
//! Entries are held as the JSON they are sent as, whose size is known.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long something is kept at least, unless others need the room.
const AGE: Duration = Duration::from_secs(600);
/// How much is kept.
const MAX_BYTES: usize = 64 << 20;

/// What was found lately.
pub(crate) struct Kept {
    found: Mutex<VecDeque<Found>>,
    /// Bytes that it may take.
    room: usize,
}

impl Default for Kept {
    fn default() -> Self {
        Kept { found: Mutex::default(), room: MAX_BYTES }
    }
}

struct Found {
    cursor: String,
    question: String,
    entries: Vec<Box<str>>,
    /// The answer without entries.
    answer: String,
    bytes: usize,
    since: Instant,
}

impl Kept {
    /// Keeps what was found, and gives the cursor for it; `None` where it takes too much room.
    pub(crate) fn keep<T: Serialize>(
        &self,
        question: String,
        entries: &[T],
        answer: &impl Serialize,
    ) -> Option<String> {
        let answer = serde_json::to_string(answer).ok()?;
        let mut bytes = question.len() + answer.len();
        let mut texts: Vec<Box<str>> = Vec::with_capacity(entries.len());
        for entry in entries {
            let text = serde_json::to_string(entry).ok()?.into_boxed_str();
            bytes += text.len() + size_of::<Box<str>>();
            if bytes > self.room {
                return None;
            }
            texts.push(text);
        }
        let cursor = format!("page-{}", uuid::Uuid::new_v4());
        let found =
            Found { cursor: cursor.clone(), question, entries: texts, answer, bytes, since: Instant::now() };
        let mut kept = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back(found);
        while kept.iter().map(|found| found.bytes).sum::<usize>() > self.room
            || kept.front().is_some_and(|found| found.since.elapsed() > AGE)
        {
            kept.pop_front();
        }
        Some(cursor)
    }

    /// A page of what is kept for this cursor and question: its entries, and the answer that they belong into.
    pub(crate) fn page<T: DeserializeOwned, A: DeserializeOwned>(
        &self,
        cursor: &str,
        question: &str,
        offset: u64,
        limit: u32,
    ) -> Option<(Vec<T>, A)> {
        let kept = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.iter().find(|found| found.cursor == cursor && found.question == question)?;
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(found.entries.len());
        let texts = found.entries[from..].iter().take(limit as usize);
        let entries = texts.map(|text| serde_json::from_str(text)).collect::<Result<_, _>>();
        Some((entries.ok()?, serde_json::from_str(&found.answer).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_had_for_its_own_question_until_others_need_the_room() {
        let kept = Kept { room: 100_000, ..Kept::default() };
        let entries: Vec<String> = (0..10).map(|number| format!("{number}")).collect();
        let cursor = kept.keep("q".into(), &entries, &7).unwrap();
        let page = |question: &str, offset| kept.page::<String, u32>(&cursor, question, offset, 3);
        assert_eq!(page("q", 4), Some((vec!["4".into(), "5".into(), "6".into()], 7)));
        assert_eq!(page("q", 9), Some((vec!["9".into()], 7)));
        assert_eq!(page("q", u64::MAX), Some((Vec::new(), 7)));
        assert_eq!(page("other", 0), None);
        assert_eq!(kept.page::<String, u32>("page-0", "q", 0, 3), None);
        let large = "x".repeat(50_000);
        assert_eq!(kept.keep("q".into(), &[&large, &large], &7), None);
        assert!(page("q", 0).is_some(), "what is not kept takes no room");
        kept.keep("q".into(), &[&large], &7).unwrap();
        let last = kept.keep("q".into(), &[&large[..49_900]], &7).unwrap();
        assert!(page("q", 0).is_none());
        assert!(kept.page::<String, u32>(&last, "q", 0, 1).is_some());
    }
}
