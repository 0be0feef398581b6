//! One statement with its values, for either database: what the queries of this crate are written with.
//!
//! The text holds `?` where a value goes, in the order in which they are bound; values never stand in the
//! text. What may be written so that SQLite and MariaDB both understand it is said in `schema`.
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

    #[cfg(test)]
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Its text, its values, and whether its rows are to be locked.
    pub(crate) fn into_parts(self) -> (String, Vec<Value>, bool) {
        (self.text, self.values, self.for_change)
    }
}
