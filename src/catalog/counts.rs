//! How many there are of what lists show: `list_counts` and `tag_counts`.
//!
//! A list's answer says how many entries match in all; counting them each time would cost more with every backup. So
//! they are counted as they come, change and go: every transaction that does so gathers its [`Changes`] and writes
//! them at its end, in the order of their keys (two transactions that meet there wait for each other and don't
//! lock each other out). By day as well: a late page is found by skipping whole days.
//!
//! Kinds are what is counted by: status, type, repository. Of anything else (a VM, a time of day) there are few, which
//! are counted as they stand. The numbers say nothing that the rows don't: [`Catalog::recount`] makes them anew.
//!
//! Not here: which numbers a list needs (`backups::listing`, `jobs`).

use crate::engine::{Session, transaction};
use crate::fields::{Row, inserts, number, stamp, text};
use crate::statement::Statement;
use crate::{Catalog, Result, schema};
use model::{Backup, Status};
use std::collections::BTreeMap;

/// The job type of backups.
pub(crate) const BACKUP: &str = "backup";

/// Characters of a tag's value that are part of keys.
const START: usize = 128;

/// What a value begins with, as far as it is part of keys.
pub(crate) fn value_start(value: &str) -> &str {
    value.char_indices().nth(START).map_or(value, |(end, _)| &value[..end])
}

/// True where no other value begins as this one does.
pub(crate) fn is_whole(value: &str) -> bool {
    value.chars().count() < START
}

/// The day of a time as it stands in the tables.
pub(crate) fn day_of(stamp: &str) -> &str {
    stamp.get(..10).unwrap_or(stamp)
}

/// An entry of a list, as far as it is counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    day: String,
    job_type: String,
    status: String,
    backup_type: String,
    repository_id: String,
    size_bytes: i64,
    /// Keys, and what their values begin with.
    tags: Vec<(String, String)>,
}

impl Entry {
    pub(crate) fn of_backup(backup: &Backup) -> Result<Entry> {
        let tags = backup.tags.iter().map(|(key, value)| (key.clone(), value_start(value).to_owned()));
        Ok(Entry {
            day: day_of(&stamp("created_at", backup.created_at)?).to_owned(),
            job_type: BACKUP.to_owned(),
            status: backup.status.to_string(),
            backup_type: backup.backup_type.to_string(),
            repository_id: backup.repository_id.to_string(),
            size_bytes: number("size_bytes", crate::backups::size(backup))?,
            tags: tags.collect(),
        })
    }

    pub(crate) fn of_job(job_type: &str, status: Status, created_at: &str) -> Entry {
        Entry {
            day: day_of(created_at).to_owned(),
            job_type: job_type.to_owned(),
            status: status.to_string(),
            backup_type: String::new(),
            repository_id: String::new(),
            size_bytes: 0,
            tags: Vec::new(),
        }
    }

    /// The same in another state.
    pub(crate) fn with_status(&self, status: Status) -> Entry {
        Entry { status: status.to_string(), ..self.clone() }
    }
}

/// Columns of `table` (`backup_jobs` or `jobs`) that [`entry`] reads, and whether a job is to stop.
pub(crate) fn columns(table: &str) -> &'static str {
    match table {
        "jobs" => {
            "status, cancel_requested, created_at, job_type, '' AS backup_type, '' AS place, 0 AS size_bytes"
        }
        _ => {
            "status, cancel_requested, created_at, 'backup' AS job_type, backup_type, repository_id AS place, size_bytes"
        }
    }
}

/// The entry of a row of which [`columns`] were read.
pub(crate) async fn entry(session: &mut Session, id: &str, row: &Row) -> Result<Entry> {
    let job_type = row.text("job_type")?;
    let mut tags = Vec::new();
    if job_type == BACKUP {
        let query = "SELECT tag_key, value_start FROM backup_tags WHERE backup_job_id = ?";
        for tag in session.all(Statement::new(query).bind(id)).await? {
            tags.push((tag.text("tag_key")?, tag.text("value_start")?));
        }
    }
    Ok(Entry {
        day: day_of(&row.text("created_at")?).to_owned(),
        job_type,
        status: row.text("status")?,
        backup_type: row.text("backup_type")?,
        repository_id: row.text("place")?,
        size_bytes: number("size_bytes", row.int("size_bytes")?)?,
        tags,
    })
}

/// Day, job type, status, type, repository.
type ListKey = [String; 5];
/// Key, whether any value, value; status, type, repository.
type TagKey = (String, i64, String, [String; 3]);

/// What a transaction has done to the numbers.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    lists: BTreeMap<ListKey, (i64, i64)>,
    tags: BTreeMap<TagKey, i64>,
}

impl Changes {
    pub(crate) fn add(&mut self, entry: &Entry) {
        self.count(entry, 1);
    }

    pub(crate) fn remove(&mut self, entry: &Entry) {
        self.count(entry, -1);
    }

    fn count(&mut self, entry: &Entry, by: i64) {
        let kind = [entry.status.clone(), entry.backup_type.clone(), entry.repository_id.clone()];
        for day in ["", &entry.day] {
            let [status, backup_type, repository_id] = kind.clone();
            let key = [day.to_owned(), entry.job_type.clone(), status, backup_type, repository_id];
            let (entries, size) = self.lists.entry(key).or_default();
            *entries += by;
            *size = size.saturating_add(by * entry.size_bytes);
        }
        for (key, start) in &entry.tags {
            for (any, value) in [(1, ""), (0, start.as_str())] {
                *self.tags.entry((key.clone(), any, value.to_owned(), kind.clone())).or_default() += by;
            }
        }
    }

    /// Writes them: the last thing that a transaction does, where it can be.
    pub(crate) async fn write(self, session: &mut Session) -> Result<()> {
        for ([day, job_type, status, backup_type, repository_id], (entries, size)) in self.lists {
            if entries == 0 && size == 0 {
                continue;
            }
            let change = Statement::new(
                "UPDATE list_counts SET entries = entries + ?, size_bytes = size_bytes + ? WHERE day = ? \
                 AND job_type = ? AND status = ? AND backup_type = ? AND repository_id = ?",
            )
            .bind(entries)
            .bind(size)
            .bind(day.as_str())
            .bind(job_type.as_str())
            .bind(status.as_str())
            .bind(backup_type.as_str())
            .bind(repository_id.as_str());
            let row = vec![
                ("day", text(day)),
                ("job_type", text(job_type)),
                ("status", text(status)),
                ("backup_type", text(backup_type)),
                ("repository_id", text(repository_id)),
                ("entries", entries.into()),
                ("size_bytes", size.into()),
            ];
            change_or_insert(session, change, "list_counts", row).await?;
        }
        for ((key, any, value, [status, backup_type, repository_id]), entries) in self.tags {
            if entries == 0 {
                continue;
            }
            let of = |text: &str| {
                Statement::new(format!(
                    "{text} WHERE tag_key = ? AND any_value = ? AND value_start = ? AND status = ? \
                     AND backup_type = ? AND repository_id = ?"
                ))
            };
            let bound = |statement: Statement| {
                statement
                    .bind(key.as_str())
                    .bind(any)
                    .bind(value.as_str())
                    .bind(status.as_str())
                    .bind(backup_type.as_str())
                    .bind(repository_id.as_str())
            };
            let change = bound(of("UPDATE tag_counts SET entries = entries + ?").bind(entries));
            let row = vec![
                ("tag_key", text(key.as_str())),
                ("any_value", any.into()),
                ("value_start", text(value.as_str())),
                ("status", text(status.as_str())),
                ("backup_type", text(backup_type.as_str())),
                ("repository_id", text(repository_id.as_str())),
                ("entries", entries.into()),
            ];
            change_or_insert(session, change, "tag_counts", row).await?;
            // Values that only one backup ever had must not stay.
            if entries < 0 {
                let gone = bound(of("DELETE FROM tag_counts"));
                session.execute(with_condition(gone, " AND entries = 0")).await?;
            }
        }
        Ok(())
    }
}

fn with_condition(mut statement: Statement, condition: &str) -> Statement {
    statement.push(condition);
    statement
}

/// One of two that come with the first of a kind at once finds the other's row.
async fn change_or_insert(
    session: &mut Session,
    change: Statement,
    table: &'static str,
    row: crate::fields::Fields,
) -> Result<()> {
    if session.execute(change.clone()).await? > 0 {
        return Ok(());
    }
    for insert in inserts(table, vec![row]) {
        if session.insert_new(insert).await? == 0 {
            session.execute(change.clone()).await?;
        }
    }
    Ok(())
}

impl Catalog {
    /// What the numbers of lists and the rows that they count say differently, for a person; empty where they
    /// agree. Reads all of it.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn check_counts(&self) -> Result<Vec<String>> {
        transaction!(self.engine.read(), |session| {
            let mut problems = Vec::new();
            for (table, keys) in [
                ("list_counts", &["day", "job_type", "status", "backup_type", "repository_id"][..]),
                ("tag_counts", &["tag_key", "value_start", "status", "backup_type", "repository_id"][..]),
            ] {
                let mut kept: BTreeMap<Vec<String>, i64> = BTreeMap::new();
                let mut count = |row: &Row, by: i64| -> Result<()> {
                    let mut key = keys.iter().map(|key| row.text(key)).collect::<Result<Vec<_>>>()?;
                    if table == "tag_counts" {
                        key.push(row.maybe_signed("any_value")?.unwrap_or_default().to_string());
                    }
                    *kept.entry(key).or_default() += by * row.maybe_signed("entries")?.unwrap_or_default();
                    Ok(())
                };
                for row in session.all(Statement::new(format!("SELECT * FROM {table}"))).await? {
                    count(&row, 1)?;
                }
                for query in fillings(table) {
                    for row in session.all(Statement::new(query)).await? {
                        count(&row, -1)?;
                    }
                }
                let wrong = kept.iter().filter(|(_, difference)| **difference != 0);
                problems.extend(wrong.map(|(key, difference)| {
                    format!("{table} is wrong by {difference} for {}", key.join(" "))
                }));
            }
            Ok(problems)
        })
    }

    /// Counts everything anew.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn recount(&self) -> Result<()> {
        transaction!(self.engine.write(), |session| {
            for statement in schema::counting() {
                session.execute(Statement::new(statement)).await?;
            }
            Ok(())
        })
    }
}

/// The queries by which a table of numbers is filled, with the columns' names.
fn fillings(table: &str) -> Vec<String> {
    let head = format!("INSERT INTO {table} (");
    schema::counting()
        .into_iter()
        .filter_map(|statement| {
            let (columns, select) = statement.strip_prefix(&head)?.split_once(") SELECT ")?;
            let (values, rest) = select.split_once(" FROM ")?;
            let named: Vec<String> = split(values)
                .into_iter()
                .zip(columns.split(", "))
                .map(|(value, column)| format!("{value} AS {column}"))
                .collect();
            Some(format!("SELECT {} FROM {rest}", named.join(", ")))
        })
        .collect()
}

/// The parts of a list, whose brackets may hold commas.
fn split(list: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, character) in list.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(list[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(list[start..].trim());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fills_the_numbers_can_be_asked() {
        let lists = fillings("list_counts");
        assert_eq!((lists.len(), fillings("tag_counts").len()), (4, 2));
        assert!(
            lists[0].starts_with("SELECT '' AS day, 'backup' AS job_type, status AS status"),
            "{lists:?}"
        );
        assert!(lists[1].starts_with("SELECT SUBSTR(created_at, 1, 10) AS day"), "{lists:?}");
    }

    #[test]
    fn a_value_is_whole_below_the_length_of_a_key() {
        let long = "é".repeat(START);
        assert!(is_whole(&long[2..]) && !is_whole(&long));
        assert_eq!(value_start(&format!("{long}x")), long);
        assert_eq!(value_start("prod"), "prod");
    }
}
