//! Tables: a fixed set of columns for a kind of row, of which some are shown.
//!
//! A column has a name for `--columns`, its header is the name in capitals. Without `--columns` the usual
//! ones are shown; on a terminal that is too narrow for them, the least important ones are left out until the
//! rest fits. Where stdout is no terminal nothing is left out, so that scripts see the same at every width.

use crate::failure::{Failure, Paint, Result};
use crate::show::{Show, one_line};
use clap::Args;
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Table};

/// Blanks between two columns.
const GAP: u16 = 2;

/// How a table is to look.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Table options")]
pub struct TableArgs {
    /// Leave the header line out
    #[arg(long)]
    pub no_headers: bool,
    /// Show these columns, in this order ("all" for every one)
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub columns: Vec<String>,
}

/// One column of rows of type `T`.
pub struct Column<T> {
    /// Its name, lower case.
    pub name: &'static str,
    /// 0 is never shown unless asked for; the greater the more important.
    pub weight: u8,
    /// True for numbers.
    pub right: bool,
    /// The text of a row.
    pub cell: fn(&T, &Show) -> String,
}

/// Where a table is shown.
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// Columns of the terminal; `None` where there is no limit.
    pub width: Option<usize>,
    /// Colours for the header.
    pub paint: Paint,
}

/// The lines of a table of `rows`. No rows give no lines, not even a header.
///
/// # Errors
/// Where `--columns` names one that does not exist.
pub fn lines<T>(
    rows: &[T],
    columns: &[Column<T>],
    args: &TableArgs,
    show: &Show,
    room: Room,
) -> Result<Vec<String>> {
    let mut chosen = choose(columns, &args.columns)?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let mut cells: Vec<Vec<String>> = chosen.iter().map(|column| column_cells(rows, column, show)).collect();
    let mut table = build(&chosen, &cells, args);
    if let (Some(width), true) = (room.width, args.columns.is_empty()) {
        while chosen.len() > 1 && natural_width(&table) > width {
            let least = chosen.iter().enumerate().min_by_key(|(_, column)| column.weight);
            let Some((least, _)) = least else { break };
            chosen.remove(least);
            cells.remove(least);
            table = build(&chosen, &cells, args);
        }
    }
    let mut lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    if let (false, Some(header)) = (args.no_headers, lines.first_mut()) {
        *header = room.paint.bold(header);
    }
    Ok(lines)
}

fn choose<'a, T>(columns: &'a [Column<T>], names: &[String]) -> Result<Vec<&'a Column<T>>> {
    if names.is_empty() {
        return Ok(columns.iter().filter(|column| column.weight > 0).collect());
    }
    let mut chosen = Vec::new();
    for name in names {
        let name = name.trim().to_lowercase();
        if name == "all" {
            chosen.extend(columns.iter());
            continue;
        }
        let column = columns.iter().find(|column| column.name == name).ok_or_else(|| {
            let known: Vec<&str> = columns.iter().map(|column| column.name).collect();
            Failure::usage(format!("there is no column {name:?}"))
                .why(format!("this table has {}", known.join(", ")))
        })?;
        chosen.push(column);
    }
    Ok(chosen)
}

fn column_cells<T>(rows: &[T], column: &Column<T>, show: &Show) -> Vec<String> {
    rows.iter()
        .map(|row| match one_line(&(column.cell)(row, show)) {
            text if text.is_empty() => "-".to_owned(),
            text => text,
        })
        .collect()
}

fn build<T>(columns: &[&Column<T>], cells: &[Vec<String>], args: &TableArgs) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled).force_no_tty();
    if !args.no_headers {
        table.set_header(columns.iter().map(|column| column.name.to_uppercase()));
    }
    for row in 0..cells.first().map_or(0, Vec::len) {
        table.add_row(cells.iter().map(|column| column.get(row).cloned().unwrap_or_default()));
    }
    for (index, column) in columns.iter().enumerate() {
        if let Some(shown) = table.column_mut(index) {
            shown.set_padding((0, if index + 1 == columns.len() { 0 } else { GAP }));
            if column.right {
                shown.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    table
}

fn natural_width(table: &Table) -> usize {
    let widths = table.column_max_content_widths();
    widths.iter().map(|width| usize::from(*width)).sum::<usize>()
        + usize::from(GAP) * widths.len().saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Point(&'static str, u64, &'static str);

    const COLUMNS: &[Column<Point>] = &[
        Column { name: "id", weight: 9, right: false, cell: |p, _| p.0.into() },
        Column { name: "stored", weight: 5, right: true, cell: |p, show| show.size(p.1) },
        Column { name: "notes", weight: 1, right: false, cell: |p, _| p.2.into() },
        Column { name: "hidden", weight: 0, right: false, cell: |_, _| "x".into() },
    ];

    fn draw(args: &TableArgs, width: Option<usize>) -> Vec<String> {
        let rows = [Point("backup-pg-1", 1536, "first\nof all"), Point("b2", 3 << 30, "")];
        lines(&rows, COLUMNS, args, &Show::new(false, true), Room { width, paint: Paint(false) }).unwrap()
    }

    #[test]
    fn columns_line_up_and_empty_cells_show_a_dash() {
        assert_eq!(
            draw(&TableArgs::default(), None),
            ["ID            STORED  NOTES", "backup-pg-1  1.5 KiB  first of all", "b2           3.0 GiB  -",]
        );
    }

    #[test]
    fn a_narrow_terminal_loses_the_least_important_columns_only() {
        assert_eq!(draw(&TableArgs::default(), Some(30))[0], "ID            STORED");
        assert_eq!(draw(&TableArgs::default(), Some(5))[0], "ID");
        let args = TableArgs { columns: vec!["notes".into(), "id".into()], no_headers: true };
        assert_eq!(draw(&args, Some(5))[0], "first of all  backup-pg-1");
    }

    #[test]
    fn unknown_columns_are_a_usage_error_that_names_the_known_ones() {
        let args = TableArgs { columns: vec!["size".into()], no_headers: false };
        let error = lines::<Point>(
            &[],
            COLUMNS,
            &args,
            &Show::new(false, true),
            Room { width: None, paint: Paint(false) },
        )
        .unwrap_err();
        assert_eq!(error.exit.number(), 2);
        assert_eq!(error.why.as_deref(), Some("this table has id, stored, notes, hidden"));
    }
}
