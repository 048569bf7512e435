//! `persist sessions`

use std::collections::BTreeMap;

use clap::Args;
use persist_model::SnapshotMetadata;
use persist_paths::key::natural_order;
use serde_json::json;

use crate::commands::list::for_each_found;
use crate::filter::Filter;
use crate::host::Host;
use crate::output::{Failure, Output, short_bytes};
use crate::table::{Column, Table, cell, time_cell};

/// List agents and sessions with a summary of their snapshots.
///
/// LOCATION is the same as for 'persist list'.
#[derive(Args)]
#[command(after_help = "Example: persist sessions agents --agent support-agent")]
pub struct Arguments {
    /// Folders, patterns or name prefixes.
    #[arg(default_value = ".")]
    location: Vec<String>,
    /// Read every object in a bucket, without using or updating the cache.
    #[arg(long)]
    no_index: bool,
    #[command(flatten)]
    filter: Filter,
}

/// The summary of the snapshots of one session.
#[derive(Default)]
struct Session {
    snapshots: u64,
    stored_size: u64,
    last_index: u64,
    first: String,
    last: String,
}

impl Session {
    fn add(&mut self, metadata: &SnapshotMetadata) {
        if self.snapshots == 0 || metadata.timestamp < self.first {
            self.first.clone_from(&metadata.timestamp);
        }
        if metadata.timestamp > self.last {
            self.last.clone_from(&metadata.timestamp);
        }
        self.last_index = self.last_index.max(metadata.snapshot_index);
        self.snapshots += 1;
        self.stored_size += metadata.stored_size;
    }
}

const COLUMNS: [Column; 6] = [
    Column("AGENT", false),
    Column("SESSION", false),
    Column("SNAPSHOTS", true),
    Column("LAST INDEX", true),
    Column("LAST TIME", false),
    Column("STORED", true),
];

pub(crate) fn run(arguments: &Arguments, host: &impl Host, output: &Output) -> Result<(), Failure> {
    let mut sessions: BTreeMap<(String, String), Session> = BTreeMap::new();
    let rest = for_each_found(host, &arguments.location, &arguments.filter, arguments.no_index, output, |(_, metadata)| {
        sessions.entry((metadata.agent_id.clone(), metadata.session_id.clone())).or_default().add(&metadata);
        Ok(true)
    })?;
    let mut sessions: Vec<_> = sessions.into_iter().collect();
    sessions.sort_by(|(a, _), (b, _)| natural_order(&a.0, &b.0).then_with(|| natural_order(&a.1, &b.1)));
    let mut table = Table::new(output, COLUMNS);
    let is_empty = sessions.is_empty();
    for ((agent, session), found) in sessions {
        let Session { snapshots, stored_size, last_index, first, last } = found;
        if output.json {
            let object = json!({
                "agent_id": agent, "session_id": session, "snapshots": snapshots, "stored_size": stored_size,
                "last_index": last_index, "first": first, "last": last,
            });
            output.result(&object, "")?;
        } else {
            table.add([
                cell(&agent),
                cell(&session),
                snapshots.to_string(),
                last_index.to_string(),
                time_cell(&last),
                short_bytes(stored_size),
            ])?;
        }
    }
    table.print()?;
    rest.report(is_empty, &arguments.location, output)
}
