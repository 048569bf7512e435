//! `persist log`

use clap::Args;
use persist_model::{ErrorCode, HistoryEntry, Step};
use persist_paths::StorageLocation;
use serde_json::json;

use crate::filter::Filter;
use crate::host::Host as _;
use crate::native::host::Native;
use crate::native::options::StorageArguments;
use crate::output::{Failure, Output, short_bytes, worse};
use crate::table::{Column, Table, cell, time_cell};
use crate::timelines::{no_timeline, open, place};

/// List the steps of a timeline, the newest first.
///
/// Reads only what describes the steps, not their states. A step that can't be read is
/// reported as an error.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  persist log runs/support/case-4711 -n 20\n  persist log runs --agent support --session case-4711 --since 7d"
)]
pub(crate) struct Arguments {
    /// The folder of the timeline, or, with --agent or --session, the folder that contains
    /// AGENT/SESSION.
    timeline: String,
    /// List at most this many.
    #[arg(short = 'n', long, value_name = "N")]
    limit: Option<u32>,
    #[command(flatten)]
    filter: Filter,
}

const COLUMNS: [Column; 6] = [
    Column("STEP", true),
    Column("TIME", false),
    Column("SIZE", true),
    Column("STORED", true),
    Column("LABELS", false),
    Column("DESCRIPTION", false),
];

fn row(step: &Step) -> [String; 6] {
    let metadata = &step.metadata;
    let mut labels: Vec<String> = metadata.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    labels.extend(step.restates.map(|number| format!("(was step {number})")));
    [
        step.number.to_string(),
        time_cell(&metadata.timestamp),
        short_bytes(metadata.uncompressed_size),
        short_bytes(metadata.stored_size),
        cell(&labels.join(" ")),
        cell(metadata.description.as_deref().unwrap_or_default()),
    ]
}

fn object(host: &Native<'_>, folder: &StorageLocation, step: &Step) -> Result<serde_json::Value, Failure> {
    let location = host.written(&folder.clone().with_key(&step.metadata.key))?;
    Ok(json!({"number": step.number, "location": location, "restates": step.restates, "metadata": step.metadata}))
}

pub(crate) fn run(arguments: &Arguments, storage: &StorageArguments, output: &Output) -> Result<(), Failure> {
    let host = Native::new(storage)?;
    let place = place(&arguments.timeline, arguments.filter.agent_id.as_deref(), arguments.filter.session_id.as_deref());
    let (timeline, folder) = open(&host, &place.text)?;
    let mut table = Table::new(output, COLUMNS);
    let (mut count, mut others, mut exit_code) = (0_u32, 0_u32, 0);
    let limit = arguments.limit.unwrap_or(u32::MAX);
    // With a filter, it is not known how many steps have to be read.
    let asked = if arguments.filter.takes_whole_sessions() { arguments.limit } else { None };
    for entry in timeline.history(arguments.filter.for_listing(), asked)? {
        if count >= limit {
            break;
        }
        match entry? {
            HistoryEntry::Step(step) if arguments.filter.wants(&step.metadata) => {
                count += 1;
                if output.json {
                    output.result(&object(&host, &folder, &step)?, "")?;
                } else {
                    table.add(row(&step))?;
                }
            }
            HistoryEntry::Step(_) => others += 1,
            HistoryEntry::Unreadable { error, .. } => {
                others += 1;
                output.error(&error);
                exit_code = worse(exit_code, error.exit_code());
            }
        }
    }
    table.print()?;
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
