//! `docs/database.md` describes the tables as they are.

use crate::samples::Fixture;
use sqlx::{ConnectOptions, Row, SqliteConnection};
use std::collections::BTreeSet;

const DOCUMENT: &str = include_str!("../../../docs/database.md");

async fn names(connection: &mut SqliteConnection, sql: &'static str, of: &str) -> BTreeSet<String> {
    let rows = sqlx::query(sql).bind(of.to_owned()).fetch_all(connection).await.unwrap();
    rows.iter().map(|row| row.get("name")).collect()
}

#[tokio::test]
async fn every_table_and_column_is_described_and_nothing_else() {
    let fixture = Fixture::new().await;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(fixture.path());
    let mut connection = options.connect().await.unwrap();
    let tables = "SELECT name FROM sqlite_schema WHERE type = ? AND name NOT LIKE '\\_%' ESCAPE '\\' \
                  AND name NOT LIKE 'sqlite%'";
    let tables = names(&mut connection, tables, "table").await;
    let sections: Vec<&str> = DOCUMENT.split("\n## ").skip(1).filter(|s| s.contains("| column |")).collect();
    let described: BTreeSet<String> =
        sections.iter().filter_map(|section| section.lines().next()).map(str::to_owned).collect();
    assert_eq!(described, tables);
    for section in sections {
        let table = section.lines().next().unwrap();
        let columns = names(&mut connection, "SELECT name FROM pragma_table_info(?)", table).await;
        let cells =
            section.lines().filter(|line| line.starts_with("| `")).filter_map(|line| line.split('|').nth(1));
        let described: BTreeSet<String> = cells
            .flat_map(|cell| cell.split(','))
            .map(|name| name.trim().trim_matches('`').to_owned())
            .collect();
        assert_eq!(described, columns, "{table}");
    }
}
