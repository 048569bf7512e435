//! `persist restore`

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use clap::Args;
use persist_model::files::ALREADY_EXISTS;
use persist_model::{ErrorCode, ListEntry, PersistError, Result, SnapshotMetadata};
use persist_paths::StorageLocation;
use persist_paths::key::check_key;
use persist_paths::timeline::step_of;
use serde_json::json;

use crate::choices::IfExists;
use crate::host::{Host, Progress, Reader};
use crate::many::{Report, run as run_many};
use crate::order::by_age;
use crate::output::{Failure, Output, exact_bytes, printable, seal_note, worse};
use crate::search::{Depth, find};
use crate::sources::{Source, Sources, is_folder, step_name};
use crate::target::{Target, check_output};

/// Restore states from snapshots.
///
/// Every byte is checked before it is written, and the state as a whole at the end. A
/// file appears complete and correct or not at all. On stdout, the state is written while
/// it is checked, so the beginning of a damaged snapshot may be output before the command
/// fails with exit code 5.
///
/// If SRC is a folder, its latest snapshot is restored: the one with the highest index.
/// If the folder has several sessions, choose one with --session. If SRC is a timeline, its
/// newest step is restored, or the one that SRC@STEP selects.
#[derive(Args)]
#[command(
    visible_alias = "cat",
    after_help = "Examples:\n  persist restore agents/0001.json.gz -o state.json\n  persist restore agents/ --session case-4711\n  persist restore agents/support/case-4711@42 -o state.json\n  persist restore agents --recursive -o states"
)]
pub struct Arguments {
    /// Where to write the state: a file, or - for stdout. For several states, a folder;
    /// they get the names of their snapshots without .gz or .zst, and the state of a step
    /// is named TIMELINE.NUMBER.
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// What to do if the file already exists.
    #[arg(long, value_enum, default_value = "replace")]
    if_exists: IfExists,
    /// Print what would be restored, and write nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    sources: Sources,
}

/// Copies the state, and returns whether it went to stdout.
fn copy(
    host: &impl Host,
    source: &StorageLocation,
    mut reader: Box<dyn Reader>,
    (path, if_exists): (&Path, IfExists),
    mut progress: impl FnMut(u64),
) -> Result<bool, Failure> {
    let size = reader.metadata().uncompressed_size;
    // Read the first block before creating the file: most damage shows there.
    let mut next = reader.next_chunk()?;
    let mut target = Target::open(host, path, Some(size), if_exists, source)?;
    let is_stdout = matches!(target, Target::Stdout);
    let mut done = 0;
    while let Some(chunk) = next {
        target.write(path, &chunk)?;
        done += chunk.len() as u64;
        progress(done);
        next = reader.next_chunk()?;
    }
    target.finish()?;
    Ok(is_stdout)
}

/// Finds the latest matching snapshot in a folder. Unreadable snapshots are reported,
/// since one of them may be the latest; the second value is their exit code.
fn latest(host: &impl Host, sources: &Sources, text: &str, output: &Output) -> Result<(StorageLocation, u8), Failure> {
    let found = find(host, text, &sources.how.filter, false, Depth::Below)?;
    let (mut best, mut exit_code) = (None::<Box<SnapshotMetadata>>, 0);
    for entry in found.entries {
        let metadata = match entry? {
            ListEntry::Snapshot(metadata) => metadata,
            ListEntry::Unreadable { error, .. } if error.code() == ErrorCode::NotASnapshot => continue,
            ListEntry::Unreadable { error, .. } => {
                output.error(&error);
                exit_code = worse(exit_code, error.exit_code());
                continue;
            }
        };
        let Some(before) = &best else {
            best = Some(metadata);
            continue;
        };
        if (&before.agent_id, &before.session_id) != (&metadata.agent_id, &metadata.session_id) {
            let (option, [one, other]) = if before.session_id == metadata.session_id {
                ("--agent", [&before.agent_id, &metadata.agent_id])
            } else {
                ("--session", [&before.session_id, &metadata.session_id])
            };
            let message = format!("this folder has several sessions: '{}', '{}'", one.escape_debug(), other.escape_debug());
            let hint = format!("choose one with {option}, or restore all with --recursive; 'persist sessions' lists them");
            return Err(PersistError::new(ErrorCode::InvalidArgument, message).at(text.escape_debug()).hint(hint).into());
        }
        if by_age(before, &metadata).is_lt() {
            best = Some(metadata);
        }
    }
    match best {
        Some(best) => Ok((found.place.with_key(&best.key), exit_code)),
        None if exit_code != 0 => Err(Failure::Reported(exit_code)),
        None => {
            let error = PersistError::new(ErrorCode::NotFound, "there is no such snapshot in this folder").at(text.escape_debug());
            Err(error.hint("'persist list' shows what is there").into())
        }
    }
}

/// Returns the file in the output folder for the state of a snapshot.
fn file_in(folder: &Path, source: &Source, location: &StorageLocation) -> Result<PathBuf> {
    let name = match &source.found {
        Some(found) => &found.name,
        None => location.key().rsplit('/').next().unwrap_or_default(),
    };
    // Refuses names that lead out of the folder.
    check_key(name).map_err(|error| error.at(location))?;
    if let Some((timeline, number)) = step_of(name) {
        return Ok(folder.join(step_name(timeline, location, number)));
    }
    let endings = [".gz", ".zst", ".zstd"];
    let plain = endings.iter().find_map(|ending| name.strip_suffix(ending)).filter(|plain| !plain.is_empty() && !plain.ends_with('/'));
    Ok(folder.join(plain.unwrap_or(name)))
}

/// Refuses to overwrite a snapshot, which may be one of those being restored.
fn check_no_snapshot(host: &impl Host, path: &Path) -> Result<()> {
    if !path.is_file() {
        return Ok(());
    }
    let location = StorageLocation::from_path(path)?;
    match host.metadata(&location) {
        Err(error) if matches!(error.code(), ErrorCode::NotASnapshot | ErrorCode::NotFound) => Ok(()),
        _ => {
            let error = PersistError::new(ErrorCode::AlreadyExists, "a snapshot already exists at this path").at(path.display());
            Err(error.hint("give another folder with --output"))
        }
    }
}

fn restore_one(
    arguments: &Arguments,
    host: &impl Host,
    output: &Output,
    (source, location): (&Source, &StorageLocation),
    opened: Option<Box<dyn Reader>>,
    path: &Path,
    progress: Option<Progress<'_>>,
) -> Result<Report, Failure> {
    check_output(host, path, location)?;
    if arguments.dry_run {
        let metadata = host.metadata(location)?;
        arguments.sources.check(source, &metadata)?;
        if matches!(arguments.if_exists, IfExists::Fail) && path.exists() {
            let error = PersistError::new(ErrorCode::AlreadyExists, ALREADY_EXISTS).at(path.display());
            return Err(error.hint("give another file, or --if-exists replace").into());
        }
        let (written, target) = (host.written(location)?, path.to_string_lossy());
        let size = exact_bytes(metadata.uncompressed_size);
        let text = format_args!("would restore {} to {}: {size} of state", printable(&written), printable(&target));
        let line = output.line(&json!({"location": written, "target": target, "restored": false}), text)?;
        return Ok(Report::new(Some(line), metadata.uncompressed_size));
    }
    let reader = opened.map_or_else(|| host.reader(location, path), Ok)?;
    let metadata = reader.metadata().clone();
    arguments.sources.check(source, &metadata)?;
    let bytes = metadata.uncompressed_size;
    let progress = progress.unwrap_or_else(|| host.progress(output, "restoring", Some(bytes)));
    if copy(host, location, reader, (path, arguments.if_exists), progress)? {
        // Stdout carries only the state.
        return Ok(Report::new(None, bytes));
    }
    let target = path.to_string_lossy();
    let text = format_args!("restored {}: {} of state{}", printable(&target), exact_bytes(bytes), seal_note(&metadata));
    let line = output.report_line(&metadata.located(&host.written(location)?), text)?;
    Ok(Report::new(line, bytes))
}

/// The snapshot that was named.
struct Named {
    location: StorageLocation,
    /// Its reader, if it was opened to find it.
    reader: Option<Box<dyn Reader>>,
    /// The exit code of what could not be read on the way.
    exit_code: u8,
}

impl Named {
    fn find(arguments: &Arguments, host: &impl Host, output: &Output, source: &Source) -> Result<Self, Failure> {
        let (how, text) = (&arguments.sources.how, source.text.as_str());
        if how.at.is_none() && is_folder(host, text) {
            let (location, exit_code) = latest(host, &arguments.sources, text, output)?;
            return Ok(Self { location, reader: None, exit_code });
        }
        if !arguments.dry_run
            && let Some((folder, step)) = host.named_step(text, how.at.as_deref())?
        {
            let (location, reader) = host.step_reader(&folder, &step, &arguments.output)?;
            return Ok(Self { location, reader: Some(reader), exit_code: 0 });
        }
        Ok(Self { location: source.location(host, how)?, reader: None, exit_code: 0 })
    }
}

pub(crate) fn run(arguments: &Arguments, host: &impl Host, output: &Output) -> Result<(), Failure> {
    let sources = &arguments.sources;
    let task = sources.task(host, "restoring", if arguments.dry_run { "would be restored" } else { "restored" });
    if !task.is_many {
        let text = sources.src.first().map(String::as_str).unwrap_or_default();
        let source = Source { text: text.to_owned(), found: None };
        let Named { location, reader, exit_code } = Named::find(arguments, host, output, &source)?;
        let report = restore_one(arguments, host, output, (&source, &location), reader, &arguments.output, None)?;
        if let Some(line) = report.line {
            output.print(&line)?;
        }
        return if exit_code == 0 { Ok(()) } else { Err(Failure::Reported(exit_code)) };
    }
    if arguments.output == Path::new("-") || arguments.output.is_file() {
        let error = PersistError::new(ErrorCode::InvalidArgument, "several states can only be restored into a folder");
        return Err(error.hint("give the folder with --output FOLDER").into());
    }
    let taken = Mutex::new(HashSet::new());
    run_many(&task, host, output, sources, |source, progress| {
        let location = source.location(host, &sources.how)?;
        let path = file_in(&arguments.output, source, &location)?;
        check_no_snapshot(host, &path)?;
        if !taken.lock().unwrap_or_else(PoisonError::into_inner).insert(path.clone()) {
            let error = PersistError::new(ErrorCode::AlreadyExists, "another state was restored to this name").at(path.display());
            return Err(error.hint("restore it separately, to another file").into());
        }
        restore_one(arguments, host, output, (source, &location), None, &path, Some(progress))
    })
}
