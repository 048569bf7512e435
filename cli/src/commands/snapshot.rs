//! `persist snapshot`

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use persist_model::{Codec, ErrorCode, PersistError, Precondition, Result, SnapshotOptions};
use persist_paths::StorageLocation;

use crate::choices::{Durability, IfExists};
use crate::commands::snapshot_name::Naming;
use crate::filter::{parse_label, unique_labels};
use crate::host::{Host, Progress, Writer};
use crate::output::{Failure, Output, exact_bytes, printable, ratio};
use crate::sources::{check_no_step, is_folder};
use crate::state::{Parts, State, open_state};
use crate::target::is_descriptor;

/// Save a state as a snapshot.
///
/// The extension of DEST selects the codec: gzip for .gz, zstd for .zst and .zstd (in
/// upper or lower case), and gzip for any other. The snapshot appears whole or not at
/// all.
///
/// If DEST is a folder, the snapshot is named AGENT/SESSION/INDEX.json.zst, with the next
/// free index of its session. In that case, nothing is ever replaced.
#[derive(Args)]
#[command(
    visible_alias = "save",
    after_help = "Examples:\n  persist snapshot state.json agents/0001.json.gz --agent support --session case-4711\n  persist snapshot state.json agents/ --agent support --session case-4711"
)]
pub struct Arguments {
    /// The file that contains the state, or - for stdin.
    state: PathBuf,
    /// Where to save it: a file or a folder.
    dest: String,
    /// The agent that the state belongs to.
    #[arg(long, visible_alias = "agent", default_value = "default_agent", value_name = "ID")]
    agent_id: String,
    /// The conversation, run or thread of that agent.
    #[arg(long, visible_alias = "session", default_value = "default_session", value_name = "ID")]
    session_id: String,
    /// The index of the snapshot in its session, from 0 [default: 0; in a folder, the
    /// next free index].
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = parse_index)]
    index: Option<u64>,
    /// A note for people.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// A label to find the snapshot by; can be given several times.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = parse_label)]
    labels: Vec<(String, String)>,
    /// The state's media type [default: application/json].
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// The codec.
    #[arg(long, value_enum, default_value = "auto")]
    codec: CodecChoice,
    /// The compression level: gzip 1 to 9 (default 6), zstd -7 to 4 except 0 (default
    /// 4).
    #[arg(long, allow_negative_numbers = true, value_name = "N")]
    level: Option<i32>,
    /// What to do if DEST already exists.
    #[arg(long, value_enum, default_value = "replace")]
    if_exists: IfExists,
    /// Replace DEST only if it has this etag, which 'persist show --json' prints. Not
    /// supported by every storage.
    #[arg(long, value_name = "ETAG", conflicts_with = "if_exists")]
    if_match: Option<String>,
    /// Whether to wait until a local snapshot would survive a power cut.
    #[arg(long, value_enum, default_value = "fsync")]
    durability: Durability,
    /// Save an empty state from stdin, a pipe or an open file. Without this option it is
    /// refused, since the program that writes it may have failed.
    #[arg(long)]
    allow_empty: bool,
    /// The snapshot's ID, a UUID [default: a new one].
    #[arg(long, value_name = "UUID")]
    snapshot_id: Option<String>,
    /// When the snapshot was taken, as an RFC 3339 time [default: now].
    #[arg(long, value_name = "TIME")]
    timestamp: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum CodecChoice {
    /// Selected by the extension of DEST.
    Auto,
    /// Readable everywhere.
    Gzip,
    /// Smaller and several times faster.
    Zstd,
}

fn parse_index(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "expected a whole number, 0 or more".to_owned())
}

fn write_all(first: Vec<u8>, parts: &mut Parts<'_>, writer: &mut dyn Writer, mut progress: Progress<'_>) -> Result<()> {
    let (mut part, mut done) = (first, 0);
    while !part.is_empty() {
        writer.write(&part)?;
        done += part.len() as u64;
        progress(done);
        part = parts.next()?;
    }
    Ok(())
}

impl Arguments {
    fn options(&self, index: u64, precondition: Precondition, size_hint: Option<u64>) -> Result<SnapshotOptions> {
        Ok(SnapshotOptions::default()
            .agent_id(self.agent_id.clone())
            .session_id(self.session_id.clone())
            .snapshot_index(index)
            .description(self.description.clone())
            .labels(unique_labels(&self.labels, &self.dest)?)
            .content_type(self.content_type.clone())
            .codec(self.codec())
            .level(self.level)
            .snapshot_id(self.snapshot_id.clone())
            .timestamp(self.timestamp.clone())
            .precondition(precondition)
            .size_hint(size_hint))
    }
}

/// Where a state goes.
struct Dest {
    text: String,
    index: u64,
    precondition: Precondition,
    /// Whether the index was chosen here, so that another one would do.
    is_counted: bool,
}

/// How many times the next index is determined if other processes save in the same
/// session.
const ATTEMPTS: u32 = 20;

impl Arguments {
    fn codec(&self) -> Option<Codec> {
        match self.codec {
            CodecChoice::Auto => None,
            CodecChoice::Gzip => Some(Codec::Gzip),
            CodecChoice::Zstd => Some(Codec::Zstd),
        }
    }

    /// Returns DEST, or a name in it if it is a folder.
    fn dest(&self, host: &impl Host) -> Result<Dest> {
        if !is_folder(host, &self.dest) {
            let precondition = match &self.if_match {
                Some(etag) => Precondition::IfMatch(etag.clone()),
                None => self.if_exists.precondition(),
            };
            return Ok(Dest { text: self.dest.clone(), index: self.index.unwrap_or(0), precondition, is_counted: false });
        }
        if self.if_match.is_some() {
            let error = PersistError::new(ErrorCode::InvalidArgument, "DEST is a folder, but --if-match needs a snapshot");
            return Err(error.at(&self.dest).hint("give the snapshot to replace"));
        }
        let naming = Naming {
            folder: &self.dest,
            agent_id: &self.agent_id,
            session_id: &self.session_id,
            index: self.index,
            codec: self.codec(),
            content_type: self.content_type.as_deref(),
        };
        let (text, index) = naming.choose(host)?;
        Ok(Dest { text, index, precondition: Precondition::IfAbsent, is_counted: self.index.is_none() })
    }
}

pub(crate) fn run(arguments: &Arguments, host: &impl Host, output: &Output) -> Result<(), Failure> {
    for _ in 1..ATTEMPTS {
        match save(arguments, host, output) {
            // Another process was faster.
            Err(Attempt::Taken) => {}
            Err(Attempt::Failed(failure)) => return Err(failure),
            Ok(()) => return Ok(()),
        }
    }
    match save(arguments, host, output) {
        Ok(()) => Ok(()),
        Err(Attempt::Failed(failure)) => Err(failure),
        Err(Attempt::Taken) => {
            let error = PersistError::new(
                ErrorCode::AlreadyExists,
                "other processes keep saving in this session, and have taken every index that was tried",
            );
            Err(error.at(&arguments.dest).hint("try again, or give --index").into())
        }
    }
}

/// Why an attempt to save ended.
enum Attempt {
    /// The chosen index was taken in the meantime, and the state can be read again.
    Taken,
    Failed(Failure),
}

impl<E: Into<Failure>> From<E> for Attempt {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

fn save(arguments: &Arguments, host: &impl Host, output: &Output) -> Result<(), Attempt> {
    // The names of the IDs in a folder may look like anything.
    check_no_step(host, &arguments.dest)?;
    let dest = arguments.dest(host)?;
    let location = host.locate_to_write(&dest.text)?;
    let State { bytes, size, permissions } = open_state(&arguments.state).map_err(|error| match error.code() {
        ErrorCode::NotFound => error.hint(host.missing_advice(&arguments.state)),
        _ => error,
    })?;
    let state = if arguments.state == Path::new("-") { Path::new("/dev/stdin") } else { &arguments.state };
    if host.is_same_file(state, &location) {
        let error = PersistError::new(ErrorCode::InvalidArgument, "DEST is the state itself, which would be replaced").at(&location);
        return Err(Attempt::from(error.hint("save it under another name")));
    }
    if matches!(location, StorageLocation::Memory { .. }) {
        output.note("memory storage lasts only as long as this command: nothing is kept");
    }
    let options = arguments.options(dest.index, dest.precondition.clone(), size)?;
    let is_named = size.is_some() && !is_descriptor(&arguments.state);
    let (mut parts, first) = Parts::begin(host, &arguments.state, State { bytes, size, permissions }, arguments.allow_empty)?;
    let write = || {
        let mut writer = host.writer(&location, options, arguments.durability, permissions)?;
        write_all(first, &mut parts, &mut *writer, host.progress(output, "saving", size))?;
        writer.commit()
    };
    let metadata = match write() {
        Err(error) if dest.is_counted && is_named && error.code() == ErrorCode::AlreadyExists => return Err(Attempt::Taken),
        written => written?,
    };
    let text = format_args!(
        "saved {}: {} of state in {} ({}, {})",
        printable(&dest.text),
        exact_bytes(metadata.uncompressed_size),
        exact_bytes(metadata.stored_size),
        metadata.compression_algorithm.name(),
        ratio(&metadata),
    );
    Ok(output.report(&metadata.located(&host.written(&location)?), text)?)
}
