//! `persist list`

use std::fmt;

use clap::Args;
use persist_model::{ErrorCode, ListEntry, SnapshotMetadata};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::host::Host;
use crate::output::{Failure, Output, printable, ratio, short_bytes};

/// List the snapshots in a folder and all below it.
///
/// Sorted by key. Files that are no snapshots are counted and left out;
/// snapshots that are damaged are reported as errors.
#[derive(Args)]
pub struct Arguments {
    /// The folder.
    #[arg(default_value = ".")]
    location: String,
}

const HEADINGS: [&str; 7] = ["KEY", "AGENT", "SESSION", "INDEX", "TIME", "SIZE", "RATIO"];

/// Which columns hold numbers, and are aligned at their end.
const NUMERIC: [bool; 7] = [false, false, false, true, false, true, true];

/// The most columns of the terminal that a cell takes: one long text does not make
/// all rows as wide. JSON has all of it.
const MAX_CELL: usize = 60;

/// A text from a snapshot, in a cell.
fn cell(text: &str) -> String {
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

fn row(metadata: &SnapshotMetadata) -> [String; 7] {
    // Without fractions of a second.
    let time = metadata.timestamp.split_once('.').map_or(metadata.timestamp.as_str(), |(seconds, _)| seconds);
    [
        cell(&metadata.key),
        cell(&metadata.agent_id),
        cell(&metadata.session_id),
        metadata.snapshot_index.to_string(),
        format!("{}Z", printable(time).trim_end_matches('Z')),
        short_bytes(metadata.uncompressed_size),
        ratio(metadata),
    ]
}

/// Rows under headings, in columns.
struct Table(Vec<[String; 7]>);

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headings = HEADINGS.map(str::to_owned);
        let lines = || std::iter::once(&headings).chain(&self.0);
        let mut widths = [0; HEADINGS.len()];
        for line in lines() {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = cell.width().max(*width);
            }
        }
        for (number, line) in lines().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            let mut text = String::new();
            for ((cell, width), numeric) in line.iter().zip(widths).zip(NUMERIC) {
                // Counted in columns of the terminal, which `{cell:<width$}` does not.
                let space = " ".repeat(width - cell.width());
                let (before, behind) = if numeric { (space.as_str(), "") } else { ("", space.as_str()) };
                text.extend([before, cell, behind, "  "]);
            }
            f.write_str(text.trim_end())?;
        }
        Ok(())
    }
}

pub(crate) fn run(arguments: &Arguments, host: &impl Host, output: &Output) -> Result<(), Failure> {
    let (mut rows, mut others, mut exit_code) = (Vec::new(), 0_u64, None);
    let mut failure = None;
    let folder = host.locate_folder(&arguments.location)?;
    for entry in host.list(&arguments.location)? {
        let entry = match entry {
            Ok(entry) => entry,
            // What was found so far is shown all the same.
            Err(error) => {
                failure = Some(error);
                break;
            }
        };
        match entry {
            ListEntry::Snapshot(metadata) if output.json => {
                let location = host.written(&folder.clone().with_key(&metadata.key))?;
                output.result(&metadata.located(&location), "")?;
            }
            ListEntry::Snapshot(metadata) => rows.push(row(&metadata)),
            ListEntry::Unreadable { error, .. } if error.code() == ErrorCode::NotASnapshot => {
                tracing::debug!(location = error.location(), %error, "left out");
                others += 1;
            }
            ListEntry::Unreadable { error, .. } => {
                output.error(&error);
                exit_code.get_or_insert(error.exit_code());
            }
        }
    }
    if !rows.is_empty() {
        output.result(&(), Table(rows))?;
    } else if exit_code.is_none() && failure.is_none() {
        output.note(format_args!("no snapshots in {}", printable(&arguments.location)));
    }
    match others {
        0 => {}
        1 => output.note("1 other file is no snapshot; 'persist show' says why"),
        _ => output.note(format_args!("{others} other files are no snapshots; 'persist show' says why")),
    }
    if let Some(error) = failure {
        return Err(error.into());
    }
    exit_code.map_or(Ok(()), |exit_code| Err(Failure::Reported(exit_code)))
}
