//! A table that is printed while its rows are found.

use std::time::{Duration, Instant};

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::output::{Failure, Output, printable};

/// A column: its heading, and whether it is numeric and therefore right-aligned.
pub(crate) struct Column(pub(crate) &'static str, pub(crate) bool);

/// The maximum width of a cell in terminal columns, so that one long text does not widen
/// all rows. JSON output is not cut.
const MAX_CELL: usize = 60;

/// How many rows are printed together, in columns as wide as their widest cell.
const BATCH: usize = 500;

/// How long a row waits to be printed with others.
const PATIENCE: Duration = Duration::from_millis(300);

/// Formats text from a snapshot as a cell.
pub(crate) fn cell(text: &str) -> String {
    let text = printable(text);
    if text.width() <= MAX_CELL {
        return text.into_owned();
    }
    let mut width = 0;
    let fits = |character: &char| {
        width += character.width().unwrap_or_default();
        width < MAX_CELL
    };
    text.chars().take_while(fits).chain(['…']).collect()
}

/// Formats a stored time without fractions of a second.
pub(crate) fn time_cell(timestamp: &str) -> String {
    let time = timestamp.split_once('.').map_or(timestamp, |(seconds, _)| seconds);
    format!("{}Z", printable(time).trim_end_matches('Z'))
}

/// Rows under headings. A column never gets narrower from one batch to the next.
pub(crate) struct Table<'a, const N: usize> {
    output: &'a Output,
    columns: [Column; N],
    widths: [usize; N],
    rows: Vec<[String; N]>,
    since: Instant,
    has_headings: bool,
}

impl<'a, const N: usize> Table<'a, N> {
    pub(crate) fn new(output: &'a Output, columns: [Column; N]) -> Self {
        let widths = columns.each_ref().map(|Column(heading, _)| heading.width());
        Self { output, columns, widths, rows: Vec::new(), since: Instant::now(), has_headings: false }
    }

    /// Adds a row, and prints the waiting rows once there are many or they are old.
    pub(crate) fn add(&mut self, row: [String; N]) -> Result<(), Failure> {
        if self.rows.is_empty() {
            self.since = Instant::now();
        }
        self.rows.push(row);
        if self.rows.len() >= BATCH || self.since.elapsed() > PATIENCE { self.print() } else { Ok(()) }
    }

    /// Prints the waiting rows.
    pub(crate) fn print(&mut self) -> Result<(), Failure> {
        if self.rows.is_empty() {
            return Ok(());
        }
        for row in &self.rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = cell.width().max(*width);
            }
        }
        let headings = self.columns.each_ref().map(|Column(heading, _)| (*heading).to_owned());
        let first = (!self.has_headings).then_some(&headings);
        let lines: Vec<String> = first.into_iter().chain(&self.rows).map(|row| self.line(row)).collect();
        self.has_headings = true;
        self.rows.clear();
        self.output.result(&(), lines.join("\n"))
    }

    fn line(&self, row: &[String; N]) -> String {
        let mut text = String::new();
        for ((cell, width), Column(_, is_numeric)) in row.iter().zip(self.widths).zip(&self.columns) {
            // In terminal columns, while `{cell:<width$}` counts characters.
            let space = " ".repeat(width - cell.width());
            let (before, after) = if *is_numeric { (space.as_str(), "") } else { ("", space.as_str()) };
            text.extend([before, cell, after, "  "]);
        }
        text.trim_end().to_owned()
    }
}
