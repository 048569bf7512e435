//! `persist log`

use clap::Args;
use persist_model::{ErrorCode, HistoryEntry, Step};
use persist_paths::StorageLocation;
use serde_json::json;

use crate::commands::log_changes::Changes;
use crate::filter::Filter;
use crate::host::{Access, Host};
use crate::output::{Failure, Output, short_bytes, worse};
use crate::table::{Column, Table, cell, time_cell};
use crate::timelines::{no_timeline, place, place_of};

/// List the steps of a timeline, the newest first.
///
/// If the states are JSON, CHANGES says how each step differs from the one below it, for example by
/// 2 more messages or a changed value. This requires reading the states, so without --changes
/// CHANGES is omitted for states over 4 MB, after 50 steps, with --json, and if the timeline is
/// not in a local folder. A step that can't be read is reported as an error.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  persist log runs/support/case-4711 -n 20\n  persist log runs --agent support --session case-4711 --since 7d"
)]
pub struct Arguments {
    /// The folder of the timeline, or, with --agent or --session, the folder that contains
    /// AGENT/SESSION.
    timeline: String,
    /// List at most this many.
    #[arg(short = 'n', long, value_name = "N")]
    limit: Option<u32>,
    /// Say what changed in every step.
    #[arg(long, overrides_with = "no_changes")]
    changes: bool,
    /// Read only the metadata of the steps.
    #[arg(long, overrides_with = "changes")]
    no_changes: bool,
    #[command(flatten)]
    filter: Filter,
}

/// Of how many steps the states are read unless the user asks for changes.
const UNASKED: u32 = 50;

const COLUMNS: [Column; 8] = [
    Column("STEP", true),
    Column("TIME", false),
    Column("SIZE", true),
    Column("STORED", true),
    Column("", false),
    Column("CHANGES", false),
    Column("LABELS", false),
    Column("DESCRIPTION", false),
];

/// The width of the longest bar.
const BAR: u32 = 8;

/// Returns a bar for the size of a step: each block is a fourfold size, from 256 bytes to 4 MB.
fn bar(size: u64) -> String {
    let width = size.max(1).ilog2().saturating_sub(6) / 2;
    "\u{2587}".repeat(width.clamp(1, BAR) as usize)
}

fn row(step: &Step, changes: &str) -> [String; 8] {
    let metadata = &step.metadata;
    let mut labels: Vec<String> = metadata.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    labels.extend(step.restates.map(|number| format!("(was step {number})")));
    [
        step.number.to_string(),
        time_cell(&metadata.timestamp),
        short_bytes(metadata.uncompressed_size),
        short_bytes(metadata.stored_size),
        bar(metadata.stored_size),
        cell(changes),
        cell(&labels.join(" ")),
        cell(metadata.description.as_deref().unwrap_or_default()),
    ]
}

/// The steps that were found, printed once the next older one is known.
struct Lines<'a, H> {
    host: &'a H,
    folder: &'a StorageLocation,
    output: &'a Output,
    table: Table<'a, 8>,
    changes: Option<Changes<'a, H>>,
    /// How many more steps are to be compared.
    left: u32,
    /// The step that was found last.
    last: Option<Box<Step>>,
}

impl<H: Host> Lines<'_, H> {
    /// Prints the last step, now that the next is known, and keeps this one.
    fn add(&mut self, step: Option<Box<Step>>) -> Result<(), Failure> {
        let Some(last) = std::mem::replace(&mut self.last, step) else { return Ok(()) };
        let changes = match &mut self.changes {
            Some(changes) if self.left > 0 => {
                self.left -= 1;
                Some(changes.between(self.last.as_deref(), &last)?)
            }
            _ => None,
        };
        if self.output.json { self.object(&last, changes) } else { self.table.add(row(&last, &changes.unwrap_or_default())) }
    }

    fn object(&self, step: &Step, changes: Option<String>) -> Result<(), Failure> {
        let location = self.host.written(&self.folder.clone().with_key(&step.metadata.key))?;
        let mut object = json!({"number": step.number, "location": location, "restates": step.restates, "metadata": step.metadata});
        if let (Some(changes), Some(object)) = (changes, object.as_object_mut()) {
            object.insert("changes".to_owned(), changes.into());
        }
        self.output.result(&object, "")
    }
}

pub(crate) fn run(arguments: &Arguments, host: &impl Host, output: &Output) -> Result<(), Failure> {
    let place = place(&arguments.timeline, arguments.filter.agent_id.as_deref(), arguments.filter.session_id.as_deref());
    // The IDs have named the folder. A fork also has the steps of another session.
    let filter = arguments.filter.without_ids();
    let folder = place_of(host, &place.text)?;
    let timeline = host.timeline(&folder, Access::Read)?;
    let is_unasked = !output.json && !arguments.no_changes && matches!(folder, StorageLocation::Local { .. });
    let mut lines = Lines {
        host,
        folder: &folder,
        output,
        table: Table::new(output, COLUMNS),
        changes: (arguments.changes || is_unasked).then(|| Changes::new(host, &*timeline, arguments.changes)),
        left: if arguments.changes { u32::MAX } else { UNASKED },
        last: None,
    };
    let (mut count, mut others, mut exit_code) = (0_u32, 0_u32, 0);
    let limit = arguments.limit.unwrap_or(u32::MAX);
    // With a filter, it is not known how many steps have to be read.
    let asked = if filter.takes_whole_sessions() { arguments.limit } else { None };
    // The last step is compared with one that is not listed.
    let asked = asked.map(|limit| limit.saturating_add(u32::from(lines.changes.is_some() && limit > 0)));
    for entry in timeline.history(filter.for_listing(), asked)? {
        if count >= limit && (lines.changes.is_none() || lines.last.is_none()) {
            break;
        }
        match entry? {
            HistoryEntry::Step(step) if filter.wants(&step.metadata) => {
                if count >= limit {
                    lines.add(Some(step))?;
                    lines.last = None;
                    break;
                }
                count += 1;
                lines.add(Some(step))?;
            }
            HistoryEntry::Step(_) => others += 1,
            HistoryEntry::Unreadable { .. } if count >= limit => break,
            HistoryEntry::Unreadable { error, .. } => {
                others += 1;
                // What changed is not known.
                lines.add(None)?;
                output.error(&error);
                exit_code = worse(exit_code, error.exit_code());
            }
        }
    }
    lines.add(None)?;
    lines.table.print()?;
    if count == 0 && others == 0 && exit_code == 0 && limit > 0 {
        let error = timeline.find(&persist_model::StepSelector::Newest).err();
        return match error {
            Some(error) if error.code() != ErrorCode::NotFound => Err(error.into()),
            Some(_) => Err(no_timeline(&place.text).into()),
            None => {
                output.note("no step matches");
                Ok(())
            }
        };
    }
    if exit_code == 0 { Ok(()) } else { Err(Failure::Reported(exit_code)) }
}
