//! `persist append`

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use persist_model::{Codec, ErrorCode, OnConflict, Result, SnapshotOptions};
use persist_paths::StorageLocation;
use serde_json::json;

use crate::choices::Durability;
use crate::filter::{parse_label, unique_labels};
use crate::host::{Access, Host};
use crate::output::{Failure, Output, exact_bytes, printable};
use crate::sources::{check_means_something, check_no_step};
use crate::state::{Parts, open_state};
use crate::timelines::place;

/// Append a state to a timeline, as its next step.
///
/// A timeline keeps every step of a session, and stores only what is new in each. It is a
/// folder, which the first step creates. The last two folders of its path name the agent
/// and the session. With --agent or --session, it is the folder AGENT/SESSION in TIMELINE.
///
/// The step appears whole or not at all. If another process appends at the same time, one
/// of the two gets the number. The other fails with exit code 4 or, with --on-conflict
/// rebase, takes the next number.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  persist append state.json runs/support/case-4711\n  persist append - s3://my-bucket/runs --agent support --session case-4711 --on-conflict rebase < state.json"
)]
pub struct Arguments {
    /// The file that contains the state, or - for stdin.
    state: PathBuf,
    /// The folder of the timeline, or, with --agent or --session, the folder that contains
    /// AGENT/SESSION.
    timeline: String,
    /// The agent that the state belongs to.
    #[arg(long, visible_alias = "agent", value_name = "ID")]
    agent_id: Option<String>,
    /// The conversation, run or thread of that agent.
    #[arg(long, visible_alias = "session", value_name = "ID")]
    session_id: Option<String>,
    /// What to do if another process appends at the same time.
    #[arg(long, value_enum, default_value = "fail")]
    on_conflict: OnConflictChoice,
    /// A note for people.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// A label to find the step by; can be given several times.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = parse_label)]
    labels: Vec<(String, String)>,
    /// The state's media type [default: application/json].
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// The codec for what is new in the state.
    #[arg(long, value_enum, default_value = "zstd")]
    codec: CodecChoice,
    /// The compression level: gzip 1 to 9 (default 6), zstd -7 to 4 except 0 (default
    /// 4).
    #[arg(long, allow_negative_numbers = true, value_name = "N")]
    level: Option<i32>,
    /// Whether to wait until a local step would survive a power cut.
    #[arg(long, value_enum, default_value = "fsync")]
    durability: Durability,
    /// Append an empty state from stdin, a pipe or an open file. Without this option it is
    /// refused, since the program that writes it may have failed.
    #[arg(long)]
    allow_empty: bool,
    /// The step's ID, a UUID [default: a new one].
    #[arg(long, value_name = "UUID")]
    snapshot_id: Option<String>,
    /// When the state was taken, as an RFC 3339 time [default: now].
    #[arg(long, value_name = "TIME")]
    timestamp: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum OnConflictChoice {
    /// Fail, and append nothing.
    Fail,
    /// Append after the other process's step.
    Rebase,
}

#[derive(Clone, Copy, ValueEnum)]
enum CodecChoice {
    /// Smaller and faster.
    Zstd,
    /// For readers that lack zstd.
    Gzip,
}

impl Arguments {
    fn options(&self, agent_id: String, session_id: String, size: Option<u64>) -> Result<SnapshotOptions> {
        Ok(SnapshotOptions::default()
            .agent_id(agent_id)
            .session_id(session_id)
            .description(self.description.clone())
            .labels(unique_labels(&self.labels, &self.timeline)?)
            .content_type(self.content_type.clone())
            .codec(Some(match self.codec {
                CodecChoice::Zstd => Codec::Zstd,
                CodecChoice::Gzip => Codec::Gzip,
            }))
            .level(self.level)
            .snapshot_id(self.snapshot_id.clone())
            .timestamp(self.timestamp.clone())
            .size_hint(size))
    }

    fn on_conflict(&self) -> OnConflict {
        match self.on_conflict {
            OnConflictChoice::Fail => OnConflict::Fail,
            OnConflictChoice::Rebase => OnConflict::Rebase,
        }
    }
}

pub(crate) fn run(arguments: &Arguments, host: &impl Host, output: &Output) -> Result<(), Failure> {
    let has_ids = arguments.agent_id.is_some() || arguments.session_id.is_some();
    if !has_ids || !arguments.timeline.contains("://") {
        check_means_something(&arguments.timeline)?;
    }
    let place = place(&arguments.timeline, arguments.agent_id.as_deref(), arguments.session_id.as_deref());
    // IDs may have any name.
    check_no_step(host, if has_ids { &arguments.timeline } else { &place.text })?;
    let folder = host.locate_folder_to_write(&place.text)?;
    if matches!(folder, StorageLocation::Memory { .. }) {
        output.note("memory storage lasts only as long as this command: nothing is kept");
    }
    let state = open_state(&arguments.state).map_err(|error| match error.code() {
        ErrorCode::NotFound => error.hint(host.missing_advice(&arguments.state)),
        _ => error,
    })?;
    let size = state.size;
    let options = arguments.options(place.agent_id, place.session_id, size)?;
    let path = if arguments.state == Path::new("-") { Path::new("/dev/stdin") } else { &arguments.state };
    let (mut parts, first) = Parts::begin(host, path, state, arguments.allow_empty)?;
    let mut timeline = host.timeline(&folder, Access::Write(arguments.durability))?;
    let mut progress = host.progress(output, "appending", size);
    let (mut first, mut done) = (Some(first), 0);
    let mut next = || {
        let part = first.take().map_or_else(|| parts.next(), Ok)?;
        done += part.len() as u64;
        progress(done);
        Ok(part)
    };
    let step = timeline.append(&mut next, &options, arguments.on_conflict()).map_err(|error| match error.code() {
        ErrorCode::AlreadyExists => error.hint("load the newest step and redo your change, or append with --on-conflict rebase"),
        _ => error,
    })?;
    drop(progress);
    let finished = timeline.finish();
    let metadata = &step.metadata;
    let text = format_args!(
        "appended {}@{}: {} of state in {}",
        printable(&place.text),
        step.number,
        exact_bytes(metadata.uncompressed_size),
        exact_bytes(metadata.stored_size),
    );
    let location = host.written(&folder.with_key(&metadata.key))?;
    output.report(&json!({"number": step.number, "location": location, "metadata": metadata}), text)?;
    // The step is stored all the same.
    if let Err(error) = finished {
        output.note(format_args!("could not record that step {} is the newest: {}", step.number, printable(&error.to_string())));
    }
    Ok(())
}
