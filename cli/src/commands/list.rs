//! `persist list`

use std::io::{self, Write as _};

use clap::Args;
use persist_model::{ErrorCode, ListEntry, PersistError, SnapshotMetadata};
use persist_paths::timeline::step_of;

use crate::filter::Filter;
use crate::host::Host;
use crate::order::{Listed, Order, Waiting};
use crate::output::{Failure, Output, printable, ratio, short_bytes};
use crate::search::{Depth, find};
use crate::table::{Column, Table, cell, time_cell};

/// List the snapshots in a folder and its subfolders.
///
/// LOCATION is a folder, a name prefix, or a pattern: * and ? match within a folder,
/// ** matches across folders. A timeline is one entry, its newest step; 'persist log'
/// lists the others. Files that are not snapshots are counted but not
/// listed. Damaged snapshots are reported as errors.
///
/// The contents of a bucket are cached in the user's cache folder, so that the next
/// listing reads only new objects.
#[derive(Args)]
#[command(visible_alias = "ls", after_help = "Example: persist list agents --session case-4711 --since 7d --sort time -n 5")]
pub struct Arguments {
    /// Folders, patterns or name prefixes.
    #[arg(default_value = ".")]
    location: Vec<String>,
    #[command(flatten)]
    order: Order,
    /// Print only the locations, each followed by a NUL, as 'persist verify -0' reads
    /// them.
    #[arg(short = '0', long, conflicts_with = "json")]
    null: bool,
    /// Read every object in a bucket, without using or updating the cache.
    #[arg(long)]
    no_index: bool,
    #[command(flatten)]
    filter: Filter,
}

const COLUMNS: [Column; 7] = [
    Column("KEY", false),
    Column("AGENT", false),
    Column("SESSION", false),
    Column("INDEX", true),
    Column("TIME", false),
    Column("SIZE", true),
    Column("RATIO", true),
];

/// Returns a key as a user would write it: that of a step as TIMELINE@NUMBER.
fn shown_key(key: &str) -> String {
    match step_of(key) {
        Some((folder, number)) => format!("{}@{number}", folder.trim_end_matches('/')),
        None => key.to_owned(),
    }
}

fn row(metadata: &SnapshotMetadata) -> [String; 7] {
    [
        cell(&shown_key(&metadata.key)),
        cell(&metadata.agent_id),
        cell(&metadata.session_id),
        metadata.snapshot_index.to_string(),
        time_cell(&metadata.timestamp),
        short_bytes(metadata.uncompressed_size),
        ratio(metadata),
    ]
}

/// What a listing found besides the wanted snapshots.
#[derive(Default)]
pub(crate) struct Rest {
    others: u64,
    exit_code: Option<u8>,
    failure: Option<PersistError>,
}

impl Rest {
    /// Records an entry that is not a snapshot or cannot be read.
    pub(crate) fn note(&mut self, error: &PersistError, output: &Output) {
        if error.code() == ErrorCode::NotASnapshot {
            tracing::debug!(location = error.location(), %error, "not listed");
            self.others += 1;
        } else {
            output.error(error);
            self.exit_code.get_or_insert(error.exit_code());
        }
    }

    /// Records the error that ended the listing. What was found so far is still shown.
    pub(crate) fn end(&mut self, error: PersistError) {
        self.failure = Some(error);
    }

    /// Reports what was not listed, and whether nothing was found in `locations`.
    pub(crate) fn report(self, is_empty: bool, locations: &[String], output: &Output) -> Result<(), Failure> {
        if is_empty && self.exit_code.is_none() && self.failure.is_none() {
            output.note(format_args!("no snapshots in {}", printable(&locations.join(", "))));
        }
        match self.others {
            0 => {}
            1 => output.note("1 other file is not a snapshot; 'persist show' says why"),
            others => output.note(format_args!("{others} other files are not snapshots; 'persist show' says why")),
        }
        if let Some(error) = self.failure {
            return Err(error.into());
        }
        self.exit_code.map_or(Ok(()), |exit_code| Err(Failure::Reported(exit_code)))
    }
}

/// Calls `each` with every snapshot in the locations, until it returns false, and records
/// the rest.
pub(crate) fn for_each_found(
    host: &impl Host,
    locations: &[String],
    filter: &Filter,
    is_fresh: bool,
    output: &Output,
    mut each: impl FnMut(Listed) -> Result<bool, Failure>,
) -> Result<Rest, Failure> {
    let mut rest = Rest::default();
    for location in locations {
        let found = find(host, location, filter, is_fresh, Depth::Beginnings)?;
        for entry in found.entries {
            match entry {
                Ok(ListEntry::Snapshot(metadata)) => {
                    if !each((found.place.clone(), metadata))? {
                        return Ok(rest);
                    }
                }
                Ok(ListEntry::Unreadable { error, .. }) => rest.note(&error, output),
                Err(error) => {
                    rest.end(error);
                    return Ok(rest);
                }
            }
        }
    }
    Ok(rest)
}

/// Prints the listed snapshots.
struct Printer<'a, H> {
    host: &'a H,
    output: &'a Output,
    has_null: bool,
    shows_location: bool,
    table: Table<'a, 7>,
    count: usize,
}

impl<H: Host> Printer<'_, H> {
    fn print(&mut self, (place, metadata): Listed) -> Result<(), Failure> {
        self.count += 1;
        let location = || self.host.written(&place.clone().with_key(&metadata.key));
        if self.has_null {
            let mut stdout = io::stdout().lock();
            return stdout.write_all(format!("{}\0", location()?).as_bytes()).map_err(|error| Failure::stdout(&error));
        }
        if self.output.json {
            return self.output.result(&metadata.located(&location()?), "");
        }
        let mut row = row(&metadata);
        if self.shows_location {
            // With several locations, keys alone are ambiguous.
            row[0] = cell(&shown_key(&location()?));
        }
        self.table.add(row)
    }

    fn finish(&mut self) -> Result<(), Failure> {
        self.table.print()?;
        io::stdout().flush().map_err(|error| Failure::stdout(&error))
    }
}

pub(crate) fn run(arguments: &Arguments, host: &impl Host, output: &Output) -> Result<(), Failure> {
    let mut printer = Printer {
        host,
        output,
        has_null: arguments.null,
        shows_location: arguments.location.len() > 1,
        table: Table::new(output, COLUMNS),
        count: 0,
    };
    let is_in_order = arguments.order.is_natural() && arguments.location.len() == 1;
    let limit = arguments.order.limit.unwrap_or(usize::MAX);
    let rest = if is_in_order {
        for_each_found(host, &arguments.location, &arguments.filter, arguments.no_index, output, |listed| {
            if printer.count < limit {
                printer.print(listed)?;
            }
            Ok(printer.count < limit)
        })?
    } else {
        let mut waiting = Waiting::new(arguments.order);
        let rest = for_each_found(host, &arguments.location, &arguments.filter, arguments.no_index, output, |listed| {
            waiting.add(listed);
            Ok(true)
        })?;
        waiting.in_order().try_for_each(|listed| printer.print(listed))?;
        rest
    };
    printer.finish()?;
    rest.report(printer.count == 0 && limit > 0, &arguments.location, output)
}
