//! One statement with its values, for either database: what the queries of this crate are written with.
//!
//! The text holds `?` where a value goes, in the order in which they are bound; values never stand in the
//! text. Behind a table `[index NAME]` says by which index it is read, `[key TABLE]` that it is read by its primary key, and `[join]` stands for a join whose left side is
//! read first: lists must not depend on what a planner believes of the values. What may be written so that SQLite and MariaDB both understand it is said in `schema`.
//!
//! Not here: running it (`engine`), what values look like (`fields`).

use crate::fields::Value;
use std::fmt::Display;
use std::fmt::Write as _;

/// A statement and the values of its placeholders.
#[derive(Debug, Clone)]
pub(crate) struct Statement {
    text: String,
    values: Vec<Value>,
    for_change: bool,
}

impl Statement {
    pub(crate) fn new(text: impl Into<String>) -> Statement {
        Statement { text: text.into(), values: Vec::new(), for_change: false }
    }

    /// The value of the next placeholder.
    pub(crate) fn bind(mut self, value: impl Into<Value>) -> Statement {
        self.values.push(value.into());
        self
    }

    /// A `SELECT` whose rows are changed later in the same transaction: nobody else changes them meanwhile.
    pub(crate) fn for_change(mut self) -> Statement {
        self.for_change = true;
        self
    }

    /// More text of our own; never anything that was given to us.
    pub(crate) fn push(&mut self, text: impl Display) -> &mut Statement {
        // Writing to a string does not fail.
        let _ = write!(self.text, "{text}");
        self
    }

    /// A placeholder with its value.
    pub(crate) fn push_bind(&mut self, value: impl Into<Value>) -> &mut Statement {
        self.text.push('?');
        self.values.push(value.into());
        self
    }

    /// `?, ?, ?` with their values.
    pub(crate) fn push_list<T: Into<Value>>(
        &mut self,
        values: impl IntoIterator<Item = T>,
    ) -> &mut Statement {
        for (position, value) in values.into_iter().enumerate() {
            if position > 0 {
                self.text.push_str(", ");
            }
            self.push_bind(value);
        }
        self
    }

    /// ` AND column = ?` for each of these that has a value.
    pub(crate) fn push_equal<T: Into<Value>, const N: usize>(
        &mut self,
        equal: [(&str, Option<T>); N],
    ) -> &mut Statement {
        for (column, value) in equal {
            if let Some(value) = value {
                self.push(" AND ").push(column).push(" = ").push_bind(value);
            }
        }
        self
    }

    /// ` AND column IN (…)`; of no values at all, which MariaDB does not take for a list, a condition that nothing fulfils.
    pub(crate) fn push_among<T: Into<Value>>(
        &mut self,
        column: &str,
        values: impl IntoIterator<Item = T>,
    ) -> &mut Statement {
        let mut values = values.into_iter().peekable();
        match values.peek().is_none() {
            true => self.push(" AND 1 = 0"),
            false => self.push(" AND ").push(column).push(" IN (").push_list(values).push(")"),
        }
    }

    /// The text and the values of another statement.
    pub(crate) fn push_statement(&mut self, other: Statement) -> &mut Statement {
        self.text.push_str(&other.text);
        self.values.extend(other.values);
        self
    }

    #[cfg(test)]
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The same with that before it.
    #[cfg(test)]
    pub(crate) fn behind(mut self, text: &str) -> Statement {
        self.text.insert_str(0, text);
        self
    }

    /// Its text, its values, and whether its rows are to be locked.
    pub(crate) fn into_parts(self, dialect: Dialect) -> (String, Vec<Value>, bool) {
        (dialect.spell(&self.text), self.values, self.for_change)
    }
}

/// How a database says what the other says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    MariaDb,
}

impl Dialect {
    fn spell(self, text: &str) -> String {
        let mut parts = text.split('[');
        let mut spelled = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (said, rest) = part.split_once(']').unwrap_or((part, ""));
            let words = match (self, said.split_once(' ').unwrap_or((said, ""))) {
                (Dialect::Sqlite, ("index", name)) => format!("INDEXED BY {name}"),
                (Dialect::MariaDb, ("index", name)) => format!("FORCE INDEX ({name})"),
                (Dialect::Sqlite, ("key", table)) => format!("INDEXED BY sqlite_autoindex_{table}_1"),
                (Dialect::MariaDb, ("key", _)) => "FORCE INDEX (PRIMARY)".to_owned(),
                (Dialect::Sqlite, _) => "CROSS JOIN".to_owned(),
                (Dialect::MariaDb, _) => "STRAIGHT_JOIN".to_owned(),
            };
            spelled.push_str(&words);
            spelled.push_str(rest);
        }
        spelled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_database_reads_the_index_and_the_order_of_a_join_in_its_own_words() {
        let text = "SELECT 1 FROM a [index i] [join] b [key b] ON a.x = b.x WHERE y = ?";
        let (sqlite, ..) = Statement::new(text).into_parts(Dialect::Sqlite);
        let (mariadb, ..) = Statement::new(text).into_parts(Dialect::MariaDb);
        assert_eq!(
            sqlite,
            "SELECT 1 FROM a INDEXED BY i CROSS JOIN b INDEXED BY sqlite_autoindex_b_1 ON a.x = b.x WHERE y = ?"
        );
        assert_eq!(
            mariadb,
            "SELECT 1 FROM a FORCE INDEX (i) STRAIGHT_JOIN b FORCE INDEX (PRIMARY) ON a.x = b.x WHERE y = ?"
        );
    }
}
