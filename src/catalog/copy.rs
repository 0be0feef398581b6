//! Copying a whole catalog into another one, of the same database or the other.
//!
//! The model: all tables at one moment of the source, in one transaction of the target. The target must have no
//! rows, and nobody may work in the source. Before the transaction ends every table is read back from the target
//! and compared with what was read from the source, by number and by BLAKE3 over all values in the order of
//! the keys: a copy that is not the same is taken back as a whole, as is one that is interrupted.
//!
//! What is copied is what the migrations make ([`schema::tables`]), so a new table is copied from its first day.

use crate::engine::Session;
use crate::fields::{Fields, Value, inserts};
use crate::schema::{self, Kind as Column, Table};
use crate::statement::Statement;
use crate::{Catalog, Error, Result};

/// Rows that are held in memory at a time.
const PORTION: usize = 1_000;

/// What a catalog holds of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableContent {
    /// Its name.
    pub table: &'static str,
    /// Its rows.
    pub rows: u64,
    /// BLAKE3 over all of its values, in the order of its keys; hexadecimal.
    pub blake3: String,
}

impl Catalog {
    /// Copies everything into `target`, which must be empty, and compares the two. `tell` hears of each table
    /// before it is copied.
    ///
    /// # Errors
    /// [`Error::Copy`] where somebody works in this catalog, where the target holds something, or where the
    /// copy is not the same; the catalogs' own. The target is empty then.
    pub async fn copy_into(
        &self,
        target: &Catalog,
        mut tell: impl FnMut(&'static str),
    ) -> Result<Vec<TableContent>> {
        let mut from = self.engine.read();
        let mut source = from.begin().await?;
        let mut into = target.engine.write();
        let mut copy = into.begin().await?;
        let done = crate::engine::typed(async {
            idle(&mut source, &self.place()).await?;
            empty(&mut copy, &target.place()).await?;
            let tables = schema::tables();
            let mut contents = Vec::with_capacity(tables.len());
            for table in &tables {
                tell(table.name);
                let read = walk(&mut source, table, Some(&mut copy)).await?;
                let written = walk(&mut copy, table, None).await?;
                if read != written {
                    return Err(Error::Copy {
                        place: target.place(),
                        reason: format!("{} came out different ({read:?}, {written:?})", table.name),
                    });
                }
                contents.push(read);
            }
            Ok(contents)
        })
        .await;
        let done = into.settle(copy, done).await;
        // It has only been read.
        from.settle(source, Ok(())).await;
        done.unwrap_or_else(|| {
            Err(Error::Copy { place: target.place(), reason: "it was interrupted: run it again".to_owned() })
        })
    }

    /// What a copy would hold, and whether it could be made: nobody works in this catalog.
    ///
    /// # Errors
    /// As [`copy_into`](Catalog::copy_into).
    pub async fn contents(&self) -> Result<Vec<TableContent>> {
        let place = self.place();
        crate::engine::transaction!(self.engine.read(), |session| {
            idle(session, &place).await?;
            let mut contents = Vec::new();
            for table in &schema::tables() {
                contents.push(walk(session, table, None).await?);
            }
            Ok(contents)
        })
    }

    /// True where no table has a row.
    ///
    /// # Errors
    /// Only the catalog's own.
    pub async fn is_empty(&self) -> Result<bool> {
        crate::engine::transaction!(self.engine.read(), |session| {
            Ok(first_with_rows(session).await?.is_none())
        })
    }
}

/// Jobs that run would go on writing into the catalog that is left behind.
async fn idle(session: &mut Session, place: &std::sync::Arc<str>) -> Result<()> {
    let unfinished = "status IN ('pending', 'running', 'stalled')";
    for (what, query) in [
        ("backup(s) run", format!("SELECT COUNT(*) AS n FROM backup_jobs WHERE {unfinished}")),
        ("job(s) run", format!("SELECT COUNT(*) AS n FROM jobs WHERE {unfinished}")),
        ("lease(s) are held", "SELECT COUNT(*) AS n FROM leases".to_owned()),
    ] {
        let found = session.number(Statement::new(query)).await?;
        if found > 0 {
            let reason = format!(
                "{found} {what}: stop every hub and wait for its jobs; \
                 `sendense-ctl doctor --fix` puts right what killed ones have left"
            );
            return Err(Error::Copy { place: std::sync::Arc::clone(place), reason });
        }
    }
    Ok(())
}

async fn empty(session: &mut Session, place: &std::sync::Arc<str>) -> Result<()> {
    match first_with_rows(session).await? {
        None => Ok(()),
        Some(table) => Err(Error::Copy {
            place: std::sync::Arc::clone(place),
            reason: format!("it is not empty ({table} has rows): copy into a new one"),
        }),
    }
}

async fn first_with_rows(session: &mut Session) -> Result<Option<&'static str>> {
    for table in schema::tables() {
        let query = format!("SELECT 1 AS n FROM {} LIMIT 1", table.name);
        if session.optional(Statement::new(query)).await?.is_some() {
            return Ok(Some(table.name));
        }
    }
    Ok(None)
}

/// Reads a table in the order of its key, and writes it on where there is somewhere to.
async fn walk(
    session: &mut Session,
    table: &Table,
    mut target: Option<&mut Session>,
) -> Result<TableContent> {
    let mut hash = blake3::Hasher::new();
    let mut count = 0;
    let mut last: Option<Vec<Value>> = None;
    loop {
        let rows = session.all(portion(table, last.as_deref())).await?;
        let full = rows.len() == PORTION;
        let mut portion: Vec<Fields> = Vec::with_capacity(rows.len());
        for row in &rows {
            let mut fields = Fields::with_capacity(table.columns.len());
            for (name, kind) in &table.columns {
                let value = match kind {
                    Column::Text => Value::MaybeText(row.maybe_text(name)?),
                    Column::Integer => Value::MaybeInt(row.maybe_signed(name)?),
                    Column::Real => Value::Real(row.real(name)?),
                };
                take(&mut hash, &value);
                fields.push((*name, value));
            }
            portion.push(fields);
        }
        count += portion.len() as u64;
        last = portion.last().map(|row| key_of(table, row));
        if let Some(target) = &mut target {
            for statement in inserts(table.name, portion) {
                target.execute(statement).await?;
            }
        }
        if !full {
            let blake3 = hash.finalize().to_hex().to_string();
            return Ok(TableContent { table: table.name, rows: count, blake3 });
        }
    }
}

/// The rows after a key. Written as alternatives, each of which an index answers: comparing rows as such is
/// slow on MariaDB.
fn portion(table: &Table, after: Option<&[Value]>) -> Statement {
    let mut query = Statement::new(format!("SELECT * FROM {}", table.name));
    if let Some(after) = after {
        query.push(" WHERE ");
        // key1 >= a AND (key1 > a OR key2 > b): the first part drives the index.
        for (position, (column, value)) in table.key.iter().zip(after).enumerate() {
            let last = position + 1 == table.key.len();
            query.push(column).push(if last { " > " } else { " >= " }).push_bind(value.clone());
            if !last {
                query.push(" AND (").push(column).push(" > ").push_bind(value.clone()).push(" OR ");
            }
        }
        query.push(")".repeat(table.key.len().saturating_sub(1)));
    }
    query.push(format!(" ORDER BY {} LIMIT {PORTION}", table.key.join(", ")));
    query
}

fn key_of(table: &Table, row: &Fields) -> Vec<Value> {
    table
        .key
        .iter()
        .filter_map(|key| row.iter().find(|(column, _)| column == key).map(|(_, value)| value.clone()))
        .collect()
}

/// A value's kind, its length and itself, so that no two rows come to the same bytes.
fn take(hash: &mut blake3::Hasher, value: &Value) {
    let (kind, bytes): (u8, Vec<u8>) = match value {
        Value::MaybeText(None) | Value::MaybeInt(None) => (0, Vec::new()),
        Value::Text(text) | Value::MaybeText(Some(text)) => (1, text.as_bytes().to_vec()),
        Value::Int(number) | Value::MaybeInt(Some(number)) => (2, number.to_be_bytes().to_vec()),
        Value::Real(number) => (3, number.to_bits().to_be_bytes().to_vec()),
    };
    hash.update(&[kind]);
    hash.update(&(bytes.len() as u64).to_be_bytes());
    hash.update(&bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_begins_after_the_whole_key() {
        let two = Table { name: "t", columns: Vec::new(), key: vec!["a", "b"] };
        let query = portion(&two, Some(&[Value::Int(1), Value::Int(2)]));
        assert_eq!(
            query.text(),
            "SELECT * FROM t WHERE a >= ? AND (a > ? OR b > ?) ORDER BY a, b LIMIT 1000"
        );
        let one = Table { key: vec!["a"], ..two };
        assert_eq!(portion(&one, None).text(), "SELECT * FROM t ORDER BY a LIMIT 1000");
        assert_eq!(
            portion(&one, Some(&[Value::Int(1)])).text(),
            "SELECT * FROM t WHERE a > ? ORDER BY a LIMIT 1000"
        );
    }

    #[test]
    fn nothing_an_empty_text_and_a_number_are_told_apart() {
        let of = |value: Value| {
            let mut hash = blake3::Hasher::new();
            take(&mut hash, &value);
            hash.finalize()
        };
        let all = [
            Value::MaybeText(None),
            Value::MaybeText(Some(String::new())),
            Value::MaybeText(Some("0".into())),
            Value::Int(0),
            Value::Real(0.0),
        ];
        for (a, one) in all.iter().enumerate() {
            for (b, other) in all.iter().enumerate() {
                assert_eq!(a == b, of(one.clone()) == of(other.clone()), "{one:?} {other:?}");
            }
        }
    }
}
