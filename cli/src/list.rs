//! `persist list`

use std::cmp::Ordering;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::{self, Write as _};

use clap::{Args, ValueEnum};
use persist_model::key::natural_order;
use persist_model::{ErrorCode, ListEntry, PersistError, SnapshotMetadata, StorageLocation};

use crate::filter::Filter;
use crate::host::Host;
use crate::output::{Failure, Output, printable, ratio, short_bytes};
use crate::search::{Depth, find};
use crate::table::{Column, Table, cell, time_cell};

/// List snapshots in a folder and below it.
///
/// LOCATION is a folder, the beginning of names, or a pattern: * and ? stay within a
/// folder, ** does not. Files that are no snapshots are counted and left out;
/// snapshots that are damaged are reported as errors.
///
/// What is in a bucket is remembered in the user's cache folder, so that the next
/// listing only asks for what is new.
#[derive(Args)]
#[command(visible_alias = "ls", after_help = "Example: persist list agents --session case-4711 --since 7d --sort time -n 5")]
pub struct Arguments {
    /// The folders, patterns or beginnings of names.
    #[arg(default_value = ".")]
    location: Vec<String>,
    /// The order. Numbers in keys are compared as numbers.
    #[arg(long, value_enum, default_value = "key")]
    sort: Sort,
    /// The other way round: the last, the newest or the largest first.
    #[arg(long)]
    reverse: bool,
    /// The first so many of them alone.
    #[arg(short = 'n', long = "limit", value_name = "N")]
    limit: Option<usize>,
    /// The latest of each session alone: that with the highest index, of several the
    /// one that was taken last.
    #[arg(long)]
    latest: bool,
    /// Print the locations alone, each with a NUL behind it, as 'persist verify -0'
    /// reads them.
    #[arg(short = '0', long, conflicts_with = "json")]
    null: bool,
    /// Look at every object in a bucket, and remember nothing.
    #[arg(long)]
    no_index: bool,
    #[command(flatten)]
    filter: Filter,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sort {
    /// By key.
    Key,
    /// By the time when it was taken.
    Time,
    /// By the size of the state.
    Size,
}

impl Sort {
    fn compare(self, a: &SnapshotMetadata, b: &SnapshotMetadata) -> Ordering {
        let first = match self {
            Self::Key => Ordering::Equal,
            Self::Time => a.timestamp.cmp(&b.timestamp),
            Self::Size => a.uncompressed_size.cmp(&b.uncompressed_size),
        };
        first.then_with(|| natural_order(&a.key, &b.key))
    }
}

/// Which of two snapshots of a session is the later one.
pub(crate) fn by_age(a: &SnapshotMetadata, b: &SnapshotMetadata) -> Ordering {
    let (first, second) = (a.snapshot_index.cmp(&b.snapshot_index), a.timestamp.cmp(&b.timestamp));
    first.then(second).then_with(|| natural_order(&a.key, &b.key))
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

fn row(metadata: &SnapshotMetadata) -> [String; 7] {
    [
        cell(&metadata.key),
        cell(&metadata.agent_id),
        cell(&metadata.session_id),
        metadata.snapshot_index.to_string(),
        time_cell(&metadata.timestamp),
        short_bytes(metadata.uncompressed_size),
        ratio(metadata),
    ]
}

/// A snapshot, and the place that its key is in.
type Listed = (StorageLocation, Box<SnapshotMetadata>);

/// What is left to be put in order, or to be compared.
struct Waiting<'a> {
    arguments: &'a Arguments,
    all: Vec<Listed>,
    latest: HashMap<(String, String), Listed>,
}

/// How many more snapshots than are wanted are kept before the others are dropped.
const SURPLUS: usize = 1000;

impl Waiting<'_> {
    fn compare(&self, a: &SnapshotMetadata, b: &SnapshotMetadata) -> Ordering {
        let order = self.arguments.sort.compare(a, b);
        if self.arguments.reverse { order.reverse() } else { order }
    }

    fn add(&mut self, listed: Listed) {
        if self.arguments.latest {
            let session = (listed.1.agent_id.clone(), listed.1.session_id.clone());
            match self.latest.entry(session) {
                Entry::Vacant(entry) => {
                    entry.insert(listed);
                }
                Entry::Occupied(mut entry) => {
                    if by_age(&entry.get().1, &listed.1).is_lt() {
                        entry.insert(listed);
                    }
                }
            }
            return;
        }
        self.all.push(listed);
        if let Some(limit) = self.arguments.limit
            && self.all.len() > limit.saturating_add(SURPLUS)
        {
            self.sort();
            self.all.truncate(limit);
        }
    }

    fn sort(&mut self) {
        let mut all = std::mem::take(&mut self.all);
        all.sort_by(|a, b| self.compare(&a.1, &b.1));
        self.all = all;
    }

    fn in_order(mut self) -> impl Iterator<Item = Listed> {
        let latest = std::mem::take(&mut self.latest);
        self.all.extend(latest.into_values());
        self.sort();
        let limit = self.arguments.limit.unwrap_or(usize::MAX);
        self.all.into_iter().take(limit)
    }
}

/// What came of a listing beside the snapshots that are wanted.
#[derive(Default)]
pub(crate) struct Rest {
    others: u64,
    exit_code: Option<u8>,
    failure: Option<PersistError>,
}

impl Rest {
    /// Takes note of what is no snapshot, or not readable.
    pub(crate) fn note(&mut self, error: &PersistError, output: &Output) {
        if error.code() == ErrorCode::NotASnapshot {
            tracing::debug!(location = error.location(), %error, "left out");
            self.others += 1;
        } else {
            output.error(error);
            self.exit_code.get_or_insert(error.exit_code());
        }
    }

    /// Takes note of what ended the listing. What was found so far is shown all the same.
    pub(crate) fn end(&mut self, error: PersistError) {
        self.failure = Some(error);
    }

    /// Says what was left out, and whether nothing was found in `locations`.
    pub(crate) fn report(self, is_empty: bool, locations: &[String], output: &Output) -> Result<(), Failure> {
        if is_empty && self.exit_code.is_none() && self.failure.is_none() {
            output.note(format_args!("no snapshots in {}", printable(&locations.join(", "))));
        }
        match self.others {
            0 => {}
            1 => output.note("1 other file is no snapshot; 'persist show' says why"),
            others => output.note(format_args!("{others} other files are no snapshots; 'persist show' says why")),
        }
        if let Some(error) = self.failure {
            return Err(error.into());
        }
        self.exit_code.map_or(Ok(()), |exit_code| Err(Failure::Reported(exit_code)))
    }
}

/// Hands out the snapshots in places, each with its place, as long as `each` wants more;
/// and takes note of the rest.
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

/// A way to print what was listed.
struct Printer<'a, H> {
    host: &'a H,
    output: &'a Output,
    has_null: bool,
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
        self.table.add(row(&metadata))
    }

    fn finish(&mut self) -> Result<(), Failure> {
        self.table.print()?;
        io::stdout().flush().map_err(|error| Failure::stdout(&error))
    }
}

pub(crate) fn run(arguments: &Arguments, host: &impl Host, output: &Output) -> Result<(), Failure> {
    let mut printer = Printer { host, output, has_null: arguments.null, table: Table::new(output, COLUMNS), count: 0 };
    let is_in_order = arguments.sort == Sort::Key && !arguments.reverse && !arguments.latest && arguments.location.len() == 1;
    let limit = arguments.limit.unwrap_or(usize::MAX);
    let rest = if is_in_order {
        for_each_found(host, &arguments.location, &arguments.filter, arguments.no_index, output, |listed| {
            if printer.count < limit {
                printer.print(listed)?;
            }
            Ok(printer.count < limit)
        })?
    } else {
        let mut waiting = Waiting { arguments, all: Vec::new(), latest: HashMap::new() };
        let rest = for_each_found(host, &arguments.location, &arguments.filter, arguments.no_index, output, |listed| {
            waiting.add(listed);
            Ok(true)
        })?;
        waiting.in_order().try_for_each(|listed| printer.print(listed))?;
        rest
    };
    printer.finish()?;
    rest.report(printer.count == 0, &arguments.location, output)
}
