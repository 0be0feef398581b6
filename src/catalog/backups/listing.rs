//! Which backups a page of a list shows, and how many match in all: at a cost that does not grow with the catalog.
//!
//! The model: how many there are is known beforehand (`counts`). A page is then read by the index that is in its order and
//! holds the least beside what matches, which is said to the database (`[index …]`) and not left to its planner:
//! - of one VM, or of a few: by the VM's index; what a VM has is few, and is counted as it stands;
//! - by status, type, repository: the numbers tell which combinations of the three there are; each has a range of
//!   `idx_listing`, newest first, and the page is what comes first in all of them. Where they are too many, by the index of
//!   the one that leaves the least;
//! - by tag: by the tag's own index, or as above, whichever has fewer;
//! - without any of these: by time.
//!
//! A page far down is begun at the day that it lies in; the days before are skipped by their numbers. Of days that a
//! time cuts in two the rows are counted.

use super::query::{BackupFilter, TagFilter};
use crate::Result;
use crate::counts::{BACKUP, day_of, is_whole, value_start};
use crate::engine::Session;
use crate::fields::{number, stamp};
use crate::statement::Statement;
use model::VmName;

/// Most ranges of an index that are read side by side.
const RANGES: usize = 16;
/// From this offset on days are skipped.
const SKIPPED: u64 = 500;

/// A page, as far as it is known before it is read.
#[derive(Debug)]
pub(crate) struct Listing {
    /// How many match in all; `None` where that is cheaper to tell afterwards, by [`counting`].
    pub(crate) total: Option<u64>,
    /// What reads `created_at` and `id` of the page, newest first; `None` where nothing is on it.
    pub(crate) statement: Option<Statement>,
}

impl Listing {
    fn empty(total: u64) -> Listing {
        Listing { total: Some(total), statement: None }
    }
}

/// Backups of one status, type and repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) status: String,
    pub(crate) backup_type: String,
    pub(crate) repository_id: String,
    pub(crate) entries: u64,
}

/// Times between which, both included, as they stand in the tables.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) since: Option<String>,
    pub(crate) until: Option<String>,
}

impl Span {
    fn of(filter: &BackupFilter) -> Result<Span> {
        let text = |at: Option<jiff::Timestamp>| at.map(|at| stamp("created_at", at)).transpose();
        Ok(Span { since: text(filter.since)?, until: text(filter.until)? })
    }

    fn is_all(&self) -> bool {
        self.since.is_none() && self.until.is_none()
    }

    /// Conditions on a column, each behind ` AND `.
    fn push(&self, query: &mut Statement, column: &str) {
        for (comparison, bound) in [(" >= ", &self.since), (" <= ", &self.until)] {
            if let Some(bound) = bound {
                query.push(" AND ").push(column).push(comparison).push_bind(bound.as_str());
            }
        }
    }
}

/// Where a page begins within what matches, and how long it is.
#[derive(Debug, Clone, Copy)]
struct Cut {
    offset: u64,
    limit: u64,
}

/// What a page shows, read by that session.
pub(crate) async fn list(session: &mut Session, filter: &BackupFilter) -> Result<Listing> {
    let span = Span::of(filter)?;
    let cut = Cut { offset: filter.offset, limit: filter.limit.into() };
    if let Some(index) = vm_index(filter) {
        return Ok(Listing { total: None, statement: Some(by_index(filter, index, &span, cut)?) });
    }
    let kinds = kinds(session, filter).await?;
    let among: u64 = kinds.iter().map(|kind| kind.entries).sum();
    let Some(tag) = &filter.tag else {
        let days = match span.is_all() && cut.offset < SKIPPED {
            true => None,
            false => Some(days(session, filter, &span).await?),
        };
        let total = match (&days, span.is_all()) {
            (Some(days), false) => days.iter().map(|(_, entries)| entries).sum(),
            _ => among,
        };
        if total <= cut.offset {
            return Ok(Listing::empty(total));
        }
        let cut = Cut { limit: cut.limit.min(total - cut.offset), ..cut };
        let (span, offset) = skip(span, days.unwrap_or_default(), cut.offset);
        let statement = by_kinds(filter, &kinds, &span, Cut { offset, ..cut })?;
        return Ok(Listing { total: Some(total), statement: Some(statement) });
    };
    let tagged = tagged(session, filter, tag).await?;
    let whole = tag.value.as_deref().is_none_or(is_whole);
    let total = match span.is_all() && whole {
        true => tagged,
        false => session.number(count_by_tag(filter, tag, &span)).await?,
    };
    if total <= cut.offset {
        return Ok(Listing::empty(total));
    }
    let cut = Cut { limit: cut.limit.min(total - cut.offset), ..cut };
    let by_all = tagged_in_all(session, tag).await?;
    let statement = match by_all <= among {
        true => by_tag(filter, tag, &span, cut)?,
        false => by_kinds(filter, &kinds, &span, cut)?,
    };
    Ok(Listing { total: Some(total), statement: Some(statement) })
}

/// How many match, where the numbers don't tell: of VMs.
pub(crate) fn counting(filter: &BackupFilter) -> Result<Statement> {
    let index = vm_index(filter).unwrap_or("idx_created_at");
    let mut query =
        Statement::new(format!("SELECT COUNT(*) AS n FROM backup_jobs b [index {index}] WHERE 1 = 1"));
    conditions(&mut query, filter, true);
    Span::of(filter)?.push(&mut query, "b.created_at");
    Ok(query)
}

/// The index of the VM, or the VMs, that were asked for.
fn vm_index(filter: &BackupFilter) -> Option<&'static str> {
    match filter {
        BackupFilter { vm_context_id: Some(_), .. } => Some("idx_vm_context_id"),
        BackupFilter { vm_name: Some(_), .. } | BackupFilter { vm_names: Some(_), .. } => Some("idx_vm_name"),
        _ => None,
    }
}

/// What was asked for besides times, each condition behind ` AND `; with or without the tag.
fn conditions(query: &mut Statement, filter: &BackupFilter, tag: bool) {
    query.push_equal([
        ("b.vm_context_id", filter.vm_context_id.as_ref().map(|context| context.to_string())),
        ("b.vm_name", filter.vm_name.as_ref().map(|vm| vm.to_string())),
        ("b.status", filter.status.map(|status| status.to_string())),
        ("b.backup_type", filter.backup_type.map(|kind| kind.to_string())),
        ("b.repository_id", filter.repository_id.as_ref().map(|repository| repository.to_string())),
    ]);
    if let Some(names) = &filter.vm_names {
        query.push_among("b.vm_name", names.iter().map(VmName::as_str));
    }
    if let Some(tag) = filter.tag.as_ref().filter(|_| tag) {
        query.push(" AND EXISTS (SELECT 1 FROM backup_tags t WHERE t.backup_job_id = b.id AND t.tag_key = ");
        query.push_bind(tag.key.as_str());
        if let Some(value) = &tag.value {
            query.push(" AND t.tag_value = ").push_bind(value.as_str());
        }
        query.push(")");
    }
}

fn has_kind(filter: &BackupFilter) -> bool {
    filter.status.is_some() || filter.backup_type.is_some() || filter.repository_id.is_some()
}

/// Conditions on the columns of a table of numbers, each behind ` AND `.
fn of_kind(query: &mut Statement, filter: &BackupFilter) {
    query.push_equal([
        ("status", filter.status.map(|status| status.to_string())),
        ("backup_type", filter.backup_type.map(|kind| kind.to_string())),
        ("repository_id", filter.repository_id.as_ref().map(|repository| repository.to_string())),
    ]);
}

/// The kinds that match, of which there are any.
pub(crate) async fn kinds(session: &mut Session, filter: &BackupFilter) -> Result<Vec<Kind>> {
    let rows = session.all(kinds_query(filter)).await?;
    rows.iter()
        .map(|row| {
            Ok(Kind {
                status: row.text("status")?,
                backup_type: row.text("backup_type")?,
                repository_id: row.text("repository_id")?,
                entries: row.int("entries")?,
            })
        })
        .collect()
}

pub(crate) fn kinds_query(filter: &BackupFilter) -> Statement {
    let mut query = Statement::new(
        "SELECT status, backup_type, repository_id, entries FROM list_counts WHERE day = '' AND job_type = ?",
    )
    .bind(BACKUP);
    of_kind(&mut query, filter);
    query.push(" AND entries > 0");
    query
}

/// How many match by kind and tag, at any time.
async fn tagged(session: &mut Session, filter: &BackupFilter, tag: &TagFilter) -> Result<u64> {
    let mut query = tag_numbers(tag);
    of_kind(&mut query, filter);
    session.number(query).await
}

/// How many have the tag, whatever else they are: what its index holds of it.
async fn tagged_in_all(session: &mut Session, tag: &TagFilter) -> Result<u64> {
    session.number(tag_numbers(tag)).await
}

pub(crate) fn tag_numbers(tag: &TagFilter) -> Statement {
    let text = "SELECT COALESCE(CAST(SUM(entries) AS SIGNED), 0) AS n FROM tag_counts \
                WHERE tag_key = ? AND any_value = ? AND value_start = ?";
    let value = tag.value.as_deref().map(value_start);
    Statement::new(text)
        .bind(tag.key.as_str())
        .bind(i64::from(value.is_none()))
        .bind(value.unwrap_or_default())
}

/// How many match on each day, the newest first; of days that a time cuts in two the rows are counted.
async fn days(session: &mut Session, filter: &BackupFilter, span: &Span) -> Result<Vec<(String, u64)>> {
    let mut days = Vec::new();
    for row in session.all(days_query(filter, span)).await? {
        days.push((row.text("day")?, row.int("n")?));
    }
    let cut: Vec<&str> = [&span.since, &span.until].into_iter().flatten().map(|at| day_of(at)).collect();
    for (day, entries) in &mut days {
        if cut.contains(&day.as_str()) {
            *entries = session.number(count_day(filter, day, span)).await?;
        }
    }
    Ok(days)
}

pub(crate) fn days_query(filter: &BackupFilter, span: &Span) -> Statement {
    let text = "SELECT day, CAST(SUM(entries) AS SIGNED) AS n FROM list_counts WHERE day > ''";
    let mut query = Statement::new(text);
    for (comparison, bound) in [(" >= ", &span.since), (" <= ", &span.until)] {
        if let Some(bound) = bound {
            query.push(" AND day").push(comparison).push_bind(day_of(bound));
        }
    }
    query.push(" AND job_type = ").push_bind(BACKUP);
    of_kind(&mut query, filter);
    query.push(" GROUP BY day ORDER BY day DESC");
    query
}

/// How many of a day match by kind and time.
pub(crate) fn count_day(filter: &BackupFilter, day: &str, span: &Span) -> Statement {
    let mut query =
        Statement::new("SELECT COUNT(*) AS n FROM backup_jobs b [index idx_created_at] WHERE 1 = 1");
    conditions(&mut query, filter, false);
    whole_day(day).push(&mut query, "b.created_at");
    span.push(&mut query, "b.created_at");
    query
}

fn whole_day(day: &str) -> Span {
    Span { since: Some(day.to_owned()), until: Some(end_of(day)) }
}

fn end_of(day: &str) -> String {
    format!("{day}T23:59:59.999999999Z")
}

/// Begins at the day that the offset lies in.
fn skip(span: Span, days: Vec<(String, u64)>, offset: u64) -> (Span, u64) {
    let mut left = offset;
    for (day, entries) in days {
        if left < entries {
            let end = end_of(&day);
            let until = span.until.filter(|until| *until < end).unwrap_or(end);
            return (Span { until: Some(until), ..span }, left);
        }
        left -= entries;
    }
    (span, left)
}

/// The end of a statement that lists.
fn push_page(query: &mut Statement, cut: Cut) -> Result<()> {
    query.push(" ORDER BY created_at DESC, id DESC LIMIT ").push_bind(number("limit", cut.limit)?);
    query.push(" OFFSET ").push_bind(number("offset", cut.offset)?);
    Ok(())
}

fn by_index(filter: &BackupFilter, index: &str, span: &Span, cut: Cut) -> Result<Statement> {
    let mut query =
        Statement::new(format!("SELECT b.created_at, b.id FROM backup_jobs b [index {index}] WHERE 1 = 1"));
    conditions(&mut query, filter, true);
    span.push(&mut query, "b.created_at");
    push_page(&mut query, cut)?;
    Ok(query)
}

/// By what the numbers say is the shortest way.
fn by_kinds(filter: &BackupFilter, kinds: &[Kind], span: &Span, cut: Cut) -> Result<Statement> {
    if !has_kind(filter) {
        return by_index(filter, "idx_created_at", span, cut);
    }
    if kinds.len() > RANGES {
        let index = match (filter.status, &filter.repository_id) {
            (Some(_), _) => "idx_status",
            (None, Some(_)) => "idx_repository_id",
            (None, None) => "idx_created_at",
        };
        return by_index(filter, index, span, cut);
    }
    let tagged = BackupFilter { tag: filter.tag.clone(), ..BackupFilter::default() };
    let ranges = kinds.iter().map(|kind| {
        let mut range = Statement::new(
            "SELECT b.created_at, b.id FROM backup_jobs b [index idx_listing] \
             WHERE b.status = ? AND b.backup_type = ? AND b.repository_id = ?",
        )
        .bind(kind.status.as_str())
        .bind(kind.backup_type.as_str())
        .bind(kind.repository_id.as_str());
        conditions(&mut range, &tagged, true);
        span.push(&mut range, "b.created_at");
        range
    });
    merged(ranges.collect(), cut.offset, cut.limit)
}

/// What comes first in all of these, each of which is in the order of an index.
pub(crate) fn merged(ranges: Vec<Statement>, offset: u64, limit: u64) -> Result<Statement> {
    let depth = number("offset", offset.saturating_add(limit))?;
    let mut query = Statement::new("SELECT created_at, id FROM (");
    for (position, range) in ranges.into_iter().enumerate() {
        query.push(if position == 0 { "SELECT * FROM (" } else { " UNION ALL SELECT * FROM (" });
        query.push_statement(range).push(" ORDER BY created_at DESC, id DESC LIMIT ").push_bind(depth);
        query.push(format!(") r{position}"));
    }
    query.push(") ranges");
    push_page(&mut query, Cut { offset, limit })?;
    Ok(query)
}

/// From the tag's rows, with those of the backups where more is asked of them.
fn from_tag(query: &mut Statement, filter: &BackupFilter, tag: &TagFilter, span: &Span) {
    let index = if tag.value.is_some() { "idx_tag_value_time" } else { "idx_tag_key_time" };
    query.push(format!(" FROM backup_tags t [index {index}]"));
    if has_kind(filter) {
        query.push(" [join] backup_jobs b ON b.id = t.backup_job_id");
    }
    query.push(" WHERE t.tag_key = ").push_bind(tag.key.as_str());
    if let Some(value) = &tag.value {
        query.push(" AND t.value_start = ").push_bind(value_start(value));
        if !is_whole(value) {
            query.push(" AND t.tag_value = ").push_bind(value.as_str());
        }
    }
    conditions(query, filter, false);
    span.push(query, "t.created_at");
}

pub(crate) fn count_by_tag(filter: &BackupFilter, tag: &TagFilter, span: &Span) -> Statement {
    let mut query = Statement::new("SELECT COUNT(*) AS n");
    from_tag(&mut query, filter, tag, span);
    query
}

fn by_tag(filter: &BackupFilter, tag: &TagFilter, span: &Span, cut: Cut) -> Result<Statement> {
    let mut query = Statement::new("SELECT t.created_at AS created_at, t.backup_job_id AS id");
    from_tag(&mut query, filter, tag, span);
    query.push(" ORDER BY t.created_at DESC, t.backup_job_id DESC LIMIT ");
    query.push_bind(number("limit", cut.limit)?).push(" OFFSET ").push_bind(number("offset", cut.offset)?);
    Ok(query)
}

/// Days of jobs of all sorts, those of backups among them, the newest first; and where a page begins.
pub(crate) fn skip_days(days: Vec<(String, u64)>, offset: u64) -> (Span, u64) {
    match offset < SKIPPED {
        true => (Span::default(), offset),
        false => skip(Span::default(), days, offset),
    }
}

/// Those of a state, or all, that were made until then; the newest so many of them.
pub(crate) async fn newest(
    session: &mut Session,
    filter: &BackupFilter,
    span: &Span,
    depth: u64,
) -> Result<Option<Statement>> {
    let cut = Cut { offset: 0, limit: depth };
    if let Some(index) = vm_index(filter) {
        return by_index(filter, index, span, cut).map(Some);
    }
    let kinds = kinds(session, filter).await?;
    if kinds.is_empty() { Ok(None) } else { by_kinds(filter, &kinds, span, cut).map(Some) }
}

/// The first page of these kinds.
#[cfg(test)]
pub(super) fn by_kinds_of(filter: &BackupFilter, kinds: &[Kind]) -> Result<Statement> {
    by_kinds(filter, kinds, &Span::default(), Cut { offset: 0, limit: 100 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_page_begins_at_its_day() {
        let days = || {
            vec![("2025-10-03".to_owned(), 10), ("2025-10-02".to_owned(), 0), ("2025-10-01".to_owned(), 5)]
        };
        let until = |day: &str| Some(format!("{day}T23:59:59.999999999Z"));
        let begun = |offset| skip(Span::default(), days(), offset);
        assert_eq!(begun(9), (Span { since: None, until: until("2025-10-03") }, 9));
        assert_eq!(begun(10), (Span { since: None, until: until("2025-10-01") }, 0));
        assert_eq!(begun(15), (Span::default(), 0));
        let noon = Span { since: None, until: Some("2025-10-03T12:00:00.000000000Z".to_owned()) };
        assert_eq!(skip(noon.clone(), days(), 3), (noon, 3));
    }
}
