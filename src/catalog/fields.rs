//! How values stand in the tables: a row to be written is a list of (column, value), a row that was read
//! is asked by column.
//!
//! Column and value stand side by side in one list, so an insert, an update and their order can't disagree.
//! Times are RFC 3339 in UTC with nine decimals, `2025-10-06T12:00:00.000000000Z`: of one width, so their
//! text sorts as they do, and exact, so a row equals the sidecar it came from. Booleans are 0 and 1. Numbers
//! are signed 64 bit; a greater one is refused, never wrapped.

use crate::engine::AnyRow;
use crate::statement::Statement;
use crate::{Error, Result};
use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use std::fmt::Display;
use std::str::FromStr;
use std::sync::Arc;

/// A value to be bound.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Text(String),
    MaybeText(Option<String>),
    Int(i64),
    MaybeInt(Option<i64>),
    Real(f64),
}

macro_rules! values {
    ($($kind:ty => $make:expr),+ $(,)?) => {
        $(impl From<$kind> for Value {
            fn from(value: $kind) -> Value {
                ($make)(value)
            }
        })+
    };
}

values! {
    &str => |value: &str| Value::Text(value.to_owned()),
    String => Value::Text,
    Option<String> => Value::MaybeText,
    i64 => Value::Int,
    Option<i64> => Value::MaybeInt,
    f64 => Value::Real,
}

/// One row to be written.
pub(crate) type Fields = Vec<(&'static str, Value)>;

/// Most placeholders in one statement; SQLite allows 32,766 and MariaDB 65,535.
const MAX_PLACEHOLDERS: usize = 2_000;

pub(crate) fn text(value: impl Into<String>) -> Value {
    Value::Text(value.into())
}

pub(crate) fn maybe_text<T: ToString>(value: Option<&T>) -> Value {
    Value::MaybeText(value.map(T::to_string))
}

pub(crate) fn flag(value: bool) -> Value {
    Value::Int(i64::from(value))
}

pub(crate) fn int(field: &'static str, value: u64) -> Result<Value> {
    number(field, value).map(Value::Int)
}

pub(crate) fn maybe_int(field: &'static str, value: Option<u64>) -> Result<Value> {
    value.map(|value| number(field, value)).transpose().map(Value::MaybeInt)
}

pub(crate) fn time(field: &'static str, value: Timestamp) -> Result<Value> {
    stamp(field, value).map(Value::Text)
}

pub(crate) fn maybe_time(field: &'static str, value: Option<Timestamp>) -> Result<Value> {
    value.map(|value| stamp(field, value)).transpose().map(Value::MaybeText)
}

/// A number as the tables hold it.
///
/// # Errors
/// [`Error::Value`] above 2^63 - 1.
pub(crate) fn number(field: &'static str, value: u64) -> Result<i64> {
    i64::try_from(value)
        .map_err(|_| Error::Value { field, reason: format!("{value} is too large for the catalog") })
}

/// A time as the tables hold it.
///
/// # Errors
/// [`Error::Value`] before the year 0, whose text would sort after all others.
pub(crate) fn stamp(field: &'static str, value: Timestamp) -> Result<String> {
    let text = DateTimePrinter::new().precision(Some(9)).timestamp_to_string(&value);
    if text.len() == "2025-10-06T12:00:00.000000000Z".len() {
        Ok(text)
    } else {
        Err(Error::Value { field, reason: format!("{value} is not within the years 0 to 9999") })
    }
}

/// Whole GiB that hold so many bytes: the older scripts' `size_gb`.
pub(crate) fn gigabytes(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 30)
}

/// `INSERT` statements for rows of one shape, as many rows in each as is useful.
pub(crate) fn inserts(table: &'static str, rows: Vec<Fields>) -> Vec<Statement> {
    let Some(first) = rows.first() else { return Vec::new() };
    let head = format!("INSERT INTO {table} ({}) VALUES ", columns(first));
    let per_statement = (MAX_PLACEHOLDERS / first.len().max(1)).max(1);
    let mut statements = Vec::new();
    let mut rows = rows.into_iter().peekable();
    while rows.peek().is_some() {
        let mut builder = Statement::new(head.clone());
        for (position, row) in rows.by_ref().take(per_statement).enumerate() {
            builder.push(if position == 0 { "(" } else { ", (" });
            for (column, (_, value)) in row.into_iter().enumerate() {
                if column > 0 {
                    builder.push(", ");
                }
                builder.push_bind(value);
            }
            builder.push(")");
        }
        statements.push(builder);
    }
    statements
}

/// `UPDATE table SET column = ?, … WHERE key = ?`; more conditions may be pushed behind it.
pub(crate) fn update(table: &'static str, row: Fields, key: &'static str, id: &str) -> Statement {
    let mut builder = Statement::new(format!("UPDATE {table} SET "));
    for (position, (column, value)) in row.into_iter().enumerate() {
        builder.push(if position == 0 { "" } else { ", " }).push(column).push(" = ");
        builder.push_bind(value);
    }
    builder.push(" WHERE ").push(key).push(" = ").push_bind(id.to_owned());
    builder
}

fn columns(row: &Fields) -> String {
    row.iter().map(|(column, _)| *column).collect::<Vec<_>>().join(", ")
}

/// A row that was read. What does not decode is damage, reported with its column.
pub(crate) struct Row {
    pub(crate) row: AnyRow,
    pub(crate) place: Arc<str>,
}

impl Row {
    fn corrupt(&self, column: &str, reason: impl Display) -> Error {
        Error::Corrupt { place: Arc::clone(&self.place), reason: format!("column {column}: {reason}") }
    }

    pub(crate) fn text(&self, column: &str) -> Result<String> {
        self.row.get(column).map_err(|e| self.corrupt(column, e))
    }

    pub(crate) fn maybe_text(&self, column: &str) -> Result<Option<String>> {
        self.row.get(column).map_err(|e| self.corrupt(column, e))
    }

    pub(crate) fn int(&self, column: &str) -> Result<u64> {
        self.maybe_int(column)?.ok_or_else(|| self.corrupt(column, "is NULL"))
    }

    pub(crate) fn maybe_int(&self, column: &str) -> Result<Option<u64>> {
        let value: Option<i64> = self.row.get(column).map_err(|e| self.corrupt(column, e))?;
        value.map(|v| u64::try_from(v).map_err(|_| self.corrupt(column, "is negative"))).transpose()
    }

    /// A number as it is in the table.
    pub(crate) fn maybe_signed(&self, column: &str) -> Result<Option<i64>> {
        self.row.get(column).map_err(|e| self.corrupt(column, e))
    }

    pub(crate) fn real(&self, column: &str) -> Result<f64> {
        self.row.get(column).map_err(|e| self.corrupt(column, e))
    }

    pub(crate) fn index(&self, column: &str) -> Result<u32> {
        u32::try_from(self.int(column)?).map_err(|e| self.corrupt(column, e))
    }

    pub(crate) fn flag(&self, column: &str) -> Result<bool> {
        Ok(self.int(column)? != 0)
    }

    pub(crate) fn parse<T: FromStr<Err: Display>>(&self, column: &str) -> Result<T> {
        self.text(column)?.parse().map_err(|e| self.corrupt(column, e))
    }

    pub(crate) fn maybe_parse<T: FromStr<Err: Display>>(&self, column: &str) -> Result<Option<T>> {
        self.maybe_text(column)?.map(|text| text.parse().map_err(|e| self.corrupt(column, e))).transpose()
    }

    /// A word of a closed vocabulary that only `serde` knows to read.
    pub(crate) fn word<T: serde::de::DeserializeOwned>(&self, column: &str) -> Result<T> {
        let text = serde_json::Value::String(self.text(column)?);
        serde_json::from_value(text).map_err(|e| self.corrupt(column, e))
    }

    /// JSON text of a column.
    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self, column: &str) -> Result<Option<T>> {
        self.maybe_text(column)?
            .map(|text| serde_json::from_str(&text).map_err(|e| self.corrupt(column, e)))
            .transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_of_one_width_exact_and_sort_as_text() {
        let times: Vec<Timestamp> = [
            "0001-01-01T00:00:00Z",
            "1969-12-31T23:59:59.999999999Z",
            "1970-01-01T00:00:00Z",
            "2025-10-06T12:00:00.5Z",
            "2025-10-06T12:00:00.500000001Z",
            "9999-12-30T22:00:00.999999999Z",
        ]
        .iter()
        .map(|t| t.parse().unwrap())
        .collect();
        let texts: Vec<String> = times.iter().map(|t| stamp("t", *t).unwrap()).collect();
        assert!(texts.is_sorted(), "{texts:?}");
        assert!(texts.iter().all(|t| t.len() == 30), "{texts:?}");
        for (text, time) in texts.iter().zip(&times) {
            assert_eq!(text.parse::<Timestamp>().unwrap(), *time);
        }
        assert!(stamp("t", Timestamp::MIN).is_err());
    }

    #[test]
    fn a_number_that_does_not_fit_is_refused_by_the_name_of_its_column() {
        assert_eq!(number("n", i64::MAX as u64).unwrap(), i64::MAX);
        let error = number("total_bytes", u64::MAX).unwrap_err().to_string();
        assert!(error.contains("total_bytes"), "{error}");
    }

    #[test]
    fn many_rows_become_few_statements() {
        let row = |n: i64| vec![("a", Value::Int(n)), ("b", text("x"))];
        assert!(inserts("t", Vec::new()).is_empty());
        let one = inserts("t", vec![row(1)]);
        assert_eq!(one[0].text(), "INSERT INTO t (a, b) VALUES (?, ?)");
        assert_eq!(inserts("t", (0..1000).map(row).collect()).len(), 1);
        assert_eq!(inserts("t", (0..1001).map(row).collect()).len(), 2);
        let update = update("t", row(1), "id", "k");
        assert_eq!(update.text(), "UPDATE t SET a = ?, b = ? WHERE id = ?");
    }
}
