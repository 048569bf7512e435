//! `persist snapshot`

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use persist_model::{Codec, ErrorCode, PersistError, Precondition, Result, SnapshotOptions, StorageLocation};

use crate::host::{Host, Progress, Writer};
use crate::output::{Failure, Output, exact_bytes, printable, ratio};

/// Save a state as a snapshot.
///
/// The ending of DEST decides the codec: .gz is gzip, .zst is zstd, any other
/// is gzip. The snapshot appears whole or not at all.
#[derive(Args)]
pub struct Arguments {
    /// The file that holds the state, or - for stdin.
    state: PathBuf,
    /// Where to save it.
    dest: String,
    /// Whose state it is.
    #[arg(long, default_value = "default_agent", value_name = "ID")]
    agent_id: String,
    /// Which conversation, run or thread of that agent.
    #[arg(long, default_value = "default_session", value_name = "ID")]
    session_id: String,
    /// The place of this snapshot in its session.
    #[arg(long, default_value_t = 0, value_name = "N")]
    index: u64,
    /// A note for people.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// A label to find it by; can be given several times.
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = parse_label)]
    labels: Vec<(String, String)>,
    /// The state's media type [default: application/json].
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// How to compress; auto goes by the ending of DEST.
    #[arg(long, value_enum, default_value = "auto")]
    codec: CodecChoice,
    /// How hard to compress: gzip 1 to 9 (6 by default), zstd -7 to 4 without 0 (4).
    #[arg(long, allow_negative_numbers = true, value_name = "N")]
    level: Option<i32>,
    /// What to do if there is something at DEST.
    #[arg(long, value_enum, default_value = "replace")]
    if_exists: IfExists,
    /// Replace only the snapshot that has this etag ('persist show --json'
    /// gives it), where the storage can.
    #[arg(long, value_name = "ETAG", conflicts_with = "if_exists")]
    if_match: Option<String>,
    /// Whether to wait until a local snapshot survives a power cut.
    #[arg(long, value_enum, default_value = "fsync")]
    durability: Durability,
    /// The snapshot's id, a UUID [default: a new one].
    #[arg(long, value_name = "UUID")]
    snapshot_id: Option<String>,
    /// When it was taken, RFC 3339 [default: now].
    #[arg(long, value_name = "TIME")]
    timestamp: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum CodecChoice {
    Auto,
    Gzip,
    Zstd,
}

/// What to do if there is something already.
#[derive(Clone, Copy, ValueEnum)]
pub enum IfExists {
    /// It is replaced.
    Replace,
    /// Nothing is written.
    Fail,
}

/// When a local write is done.
#[derive(Clone, Copy, ValueEnum)]
pub enum Durability {
    /// Once it survives a power cut.
    Fsync,
    /// Once the system has it.
    None,
}

impl IfExists {
    /// The condition to write on.
    pub fn precondition(self) -> Precondition {
        match self {
            Self::Replace => Precondition::None,
            Self::Fail => Precondition::IfAbsent,
        }
    }
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("a label is written NAME=VALUE".to_owned()),
    }
}

/// Opens the state, and says how large it is if that is known.
fn open_state(path: &Path) -> Result<(Box<dyn Read + Send>, Option<u64>)> {
    if path == Path::new("-") {
        return Ok((Box::new(io::stdin()), None));
    }
    let opened = File::open(path).and_then(|file| {
        let metadata = file.metadata()?;
        Ok((file, metadata))
    });
    let (file, metadata) = opened.map_err(|error| state_failed(path, &error))?;
    if metadata.is_dir() {
        return Err(PersistError::new(ErrorCode::InvalidArgument, "the state is a folder")
            .at(path.display())
            .hint("give the file that holds it"));
    }
    let size = metadata.is_file().then_some(metadata.len());
    Ok((Box::new(file), size))
}

fn state_failed(path: &Path, error: &io::Error) -> PersistError {
    let (code, message) = match error.kind() {
        io::ErrorKind::NotFound => (ErrorCode::NotFound, "there is no such state file".to_owned()),
        io::ErrorKind::PermissionDenied => (ErrorCode::AccessDenied, "access denied to the state file".to_owned()),
        _ => (ErrorCode::Io, format!("could not read the state: {error}")),
    };
    PersistError::new(code, message).at(path.display())
}

fn copy(host: &impl Host, state: Box<dyn Read + Send>, path: &Path, writer: &mut dyn Writer, mut progress: Progress) -> Result<()> {
    let mut next = host.parts(state);
    loop {
        let chunk = next().map_err(|error| error.at(path.display()))?.map_err(|error| state_failed(path, &error))?;
        if chunk.is_empty() {
            return Ok(());
        }
        writer.write(&chunk)?;
        progress(chunk.len() as u64);
    }
}

impl Arguments {
    fn options(&self, size_hint: Option<u64>) -> Result<SnapshotOptions> {
        let mut labels = BTreeMap::new();
        for (name, value) in &self.labels {
            if labels.insert(name.clone(), value.clone()).is_some() {
                let error = PersistError::new(ErrorCode::InvalidArgument, format!("the label '{name}' is given twice"));
                return Err(error.at(&self.dest).hint("give each label once"));
            }
        }
        Ok(SnapshotOptions {
            agent_id: self.agent_id.clone(),
            session_id: self.session_id.clone(),
            snapshot_index: self.index,
            description: self.description.clone(),
            labels,
            content_type: self.content_type.clone(),
            codec: match self.codec {
                CodecChoice::Auto => None,
                CodecChoice::Gzip => Some(Codec::Gzip),
                CodecChoice::Zstd => Some(Codec::Zstd),
            },
            level: self.level,
            snapshot_id: self.snapshot_id.clone(),
            timestamp: self.timestamp.clone(),
            precondition: match &self.if_match {
                Some(etag) => Precondition::IfMatch(etag.clone()),
                None => self.if_exists.precondition(),
            },
            size_hint,
            ..SnapshotOptions::default()
        })
    }
}

pub(crate) fn run(arguments: &Arguments, host: &impl Host, output: &Output) -> Result<(), Failure> {
    let location = host.locate_followed(&arguments.dest)?;
    let (state, size) = open_state(&arguments.state).map_err(|error| match error.code() {
        ErrorCode::NotFound => error.hint(host.missing_advice(&arguments.state)),
        _ => error,
    })?;
    if host.is_same_file(&arguments.state, &location) {
        let error = PersistError::new(ErrorCode::InvalidArgument, "the state itself is at DEST, and would be replaced").at(&location);
        return Err(error.hint("save it under another name").into());
    }
    if matches!(location, StorageLocation::Memory { .. }) {
        output.note("the memory of this command ends with it: nothing is kept");
    }
    let mut writer = host.writer(&location, arguments.options(size)?, arguments.durability)?;
    copy(host, state, &arguments.state, &mut *writer, host.progress(output, "saving", size))?;
    let metadata = writer.commit()?;
    let text = format_args!(
        "saved {}: {} of state in {} ({}, {})",
        printable(&arguments.dest),
        exact_bytes(metadata.uncompressed_size),
        exact_bytes(metadata.stored_size),
        metadata.compression_algorithm.name(),
        ratio(&metadata),
    );
    output.report(&metadata, text)
}
