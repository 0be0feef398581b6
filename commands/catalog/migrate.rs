//! `catalog migrate`: copy the catalog to another place.

use cli::catalog_place::{self, CopiedTable};
use cli::{App, Column, Exit, Manual, Result, TableArgs};
use serde_json::json;

const MANUAL: Manual = Manual {
    examples: &[
        (
            "from the file to a MariaDB server",
            "SENDENSE_CATALOG_PASSWORD_FILE=/root/catalog.pw sendense-ctl catalog migrate --to mysql://sendense@db.example/sendense",
        ),
        (
            "look first: can both be reached, is the new one empty",
            "sendense-ctl catalog migrate --to mysql://sendense@localhost/sendense --dry-run",
        ),
        (
            "back to a file",
            "sendense-ctl catalog migrate --from mysql://sendense@db.example/sendense --to /var/lib/sendense/catalog.db",
        ),
    ],
    exits: cli::exits![Refused, Unreachable, Locked, Denied, NoSpace],
};

/// Copy the catalog to another place: from a file to a MariaDB server, or back
///
/// Every row of every table is copied at one moment, read back and compared. Stop all hubs before; nothing is
/// copied while a job runs, or where the new catalog holds anything. The old one stays as it is.
#[derive(Debug, clap::Args)]
#[command(after_long_help = MANUAL.help(), add = MANUAL)]
pub struct Args {
    /// The catalog to copy: a file or mysql://USER@HOST/DATABASE [default: the one that is in use]
    #[arg(long, value_name = "CATALOG")]
    from: Option<String>,
    /// Where to: a file that does not exist yet, or mysql://USER@HOST/DATABASE, an empty database
    #[arg(long, value_name = "CATALOG")]
    to: String,
    /// Only look: open both and count; no row is written
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    table: TableArgs,
}

const COLUMNS: [Column<CopiedTable>; 3] = [
    Column { name: "table", weight: 3, right: false, cell: |row, _| row.table.to_owned() },
    Column { name: "rows", weight: 2, right: true, cell: |row, _| row.rows.to_string() },
    Column { name: "blake3", weight: 0, right: false, cell: |row, _| row.blake3.clone() },
];

impl Args {
    pub fn run(self, app: &App) -> Result<Exit> {
        let from = match &self.from {
            Some(from) => catalog_place::named_place(from)?,
            None => catalog_place::in_use(app)?,
        };
        let to = catalog_place::named_place(&self.to)?;
        let tables = catalog_place::copy(app, &from, &to, self.dry_run)?;
        let rows: u64 = tables.iter().map(|table| table.rows).sum();
        if app.ui.json {
            let listed: Vec<_> = tables
                .iter()
                .map(|table| json!({"table": table.table, "rows": table.rows, "blake3": table.blake3}))
                .collect();
            app.ui.document(&json!({
                "success": true,
                "from": from.to_string(),
                "to": to.to_string(),
                "dry_run": self.dry_run,
                "rows": rows,
                "tables": listed,
            }));
            return Ok(Exit::Done);
        }
        app.ui.table(&tables, &COLUMNS, &self.table, "")?;
        if self.dry_run {
            app.ui.note(&format!("{rows} rows would be copied from {from} to {to}"));
        } else {
            app.ui.note(&format!("{rows} rows were copied from {from} to {to}, read back and compared"));
            app.ui.note(&format!(
                "from now on: SENDENSE_CATALOG={} for every hub",
                cli::shell_word(&to.to_string())
            ));
        }
        Ok(Exit::Done)
    }
}
