//! `persist copy`

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use clap::Args;
use persist_host::{Copied, CopyOptions, Engine, StorageConfig};
use persist_model::error::may_be_another_kind;
use persist_model::{ErrorCode, PersistError, Result, StepSelector};
use persist_paths::StorageLocation;
use persist_paths::key::split;
use persist_paths::timeline::{is_reserved, step_of};
use serde_json::json;

use crate::choices::{Durability, IfExists};
use crate::commands::copy_memory::{INSTANCE, Memory};
use crate::host::{Host, Progress};
use crate::many::{Report, run_with};
use crate::native::host::Native;
use crate::native::options::StorageArguments;
use crate::output::{Failure, Output, counted, exact_bytes, printable};
use crate::sources::{How, Source, check_means_something, step_name};
use crate::step_names::{Part, check_location, check_text};

/// Copy snapshots and timelines, verifying them on the way.
///
/// The bytes are copied unchanged and verified on the way, so a damaged snapshot is never
/// copied. A snapshot that already exists at DEST with the same digest is verified and
/// skipped; if it is damaged, it is replaced. Running an interrupted copy again therefore
/// continues where it stopped. A file at DEST that is not a snapshot, that cannot be told
/// apart from another program's gzip file, or that cannot be read is replaced only with
/// --force. With --recursive, a timeline is copied as a whole, step by step; copying it again
/// adds the steps appended since then. Nothing in the copy is removed.
#[derive(Args)]
#[command(
    visible_alias = "cp",
    after_help = "Examples:\n  persist copy agents/0001.json.gz s3://my-bucket/agents/\n  persist copy agents s3://my-bucket/agents --recursive --since 1d"
)]
pub(crate) struct Arguments {
    /// The snapshots: locations, patterns, - for a list on stdin, or, with --recursive,
    /// folders. The last argument is where to copy them. If it is a folder or ends with
    /// /, the copies keep their names, relative to the folders they were found in.
    #[arg(required = true, num_args = 2.., value_names = ["SRC", "DEST"])]
    paths: Vec<String>,
    /// What to do if DEST has another snapshot or a damaged copy.
    #[arg(long, value_enum, default_value = "replace")]
    if_exists: IfExists,
    /// Replace whatever is at DEST, even if it is not a snapshot.
    #[arg(short, long, conflicts_with = "if_exists")]
    force: bool,
    /// Print what would be copied, and copy nothing.
    #[arg(long)]
    dry_run: bool,
    /// Whether to wait until a local copy would survive a power cut.
    #[arg(long, value_enum, default_value = "fsync")]
    durability: Durability,
    #[command(flatten)]
    how: How,
}

/// Returns DEST, with the snapshot's name appended if DEST is a folder.
fn target_of(dest: &str, config: &StorageConfig, name: &str) -> String {
    let has_scheme = dest.contains("://");
    let folder = match &config.local_base_path {
        Some(base) => base.join(dest),
        None => PathBuf::from(dest),
    };
    if dest.ends_with('/') || (!has_scheme && folder.is_dir()) {
        let name = name.rsplit('/').next().unwrap_or(name);
        return if has_scheme {
            format!("{}/{name}", dest.trim_end_matches('/'))
        } else {
            Path::new(dest).join(name).display().to_string()
        };
    }
    dest.to_owned()
}

/// The size in bytes of a step from which on storages buffer no more of it.
const LARGE_STEP: u64 = 1 << 30;

fn line(output: &Output, from: &str, to: &str, copied: &Copied) -> Result<Option<String>> {
    let action = if copied.is_new { "copied" } else { "skipped" };
    let object = json!({"action": action, "source": from, "location": to, "metadata": copied.metadata});
    let size = exact_bytes(copied.metadata.stored_size);
    let text = if copied.is_new {
        format!("copied {} to {}: {size}", printable(from), printable(to))
    } else {
        format!("skipped {}: {} is the same", printable(from), printable(to))
    };
    output.report_line(&object, text)
}

fn copy(
    (source, key): (&Engine, &str),
    (target, target_key): (&Engine, &str),
    arguments: &Arguments,
    digest: Option<String>,
    progress: Progress<'_>,
) -> Result<Copied> {
    let options = CopyOptions::default().precondition(arguments.if_exists.precondition()).replaces_anything(arguments.force).digest(digest);
    source.copy(key, target, target_key, options, progress).map_err(|mut error| {
        if error.location() != Some(&target.storage().locate(target_key)) {
            return error;
        }
        let hint = match error.code() {
            ErrorCode::NotASnapshot | ErrorCode::WrongKind => "it was not replaced: check the path, or give --force to replace it",
            _ if may_be_another_kind(&error) => "it was not replaced: check what it is, or give --force to replace it",
            _ => return error,
        };
        error.detail_mut().hint = Some(hint.to_owned());
        error
    })
}

/// A timeline, found by its newest step.
struct Found<'a> {
    from: StorageLocation,
    /// Its folder, relative to the one that was searched.
    name: &'a str,
}

impl<'a> Found<'a> {
    fn of(source: &'a Source, step: &StorageLocation) -> Option<Self> {
        let (found, (folder, _)) = (source.found.as_ref()?, step_of(step.key())?);
        let name = found.name.rfind('/').map_or("", |slash| found.name.get(..slash).unwrap_or_default());
        Some(Self { from: step.clone().with_key(folder), name })
    }

    fn copy(
        &self,
        host: &Native<'_>,
        dest: &Dest<'_>,
        arguments: &Arguments,
        output: &Output,
        memory: &Memory,
        progress: Progress<'_>,
    ) -> Result<Report, Failure> {
        let to = dest.of_timeline(self.name)?;
        let (from_text, to_text) = (host.written(&self.from)?, host.written(&to)?);
        if self.from.to_string() == to.to_string() {
            let error = PersistError::new(ErrorCode::InvalidArgument, "a timeline can't be copied onto itself").at(&to_text);
            return Err(error.hint("copy to another folder").into());
        }
        let (from, target) = (host.stoppable(&self.from)?, host.writing(&to, arguments.durability)?);
        let timeline = from.timeline(self.from.key())?;
        if matches!(arguments.if_exists, IfExists::Fail) && has_objects(&target, to.key())? {
            let error = PersistError::new(ErrorCode::AlreadyExists, "a different timeline already exists").at(&to_text);
            return Err(error.hint("give another folder").into());
        }
        let object = |action, steps, newest: u64| json!({"action": action, "source": from_text, "location": to_text, "steps": steps, "newest": newest});
        if arguments.dry_run {
            let newest = timeline.find(&StepSelector::Newest)?.number;
            let is_there = target.timeline(to.key())?.find(&StepSelector::Newest).is_ok_and(|there| there.number == newest);
            let action = if is_there { "skip" } else { "copy" };
            let text = format!("would {action} the timeline {} to {}: up to step {newest}", printable(&from_text), printable(&to_text));
            return Ok(Report { line: Some(output.line(&object("none", 0, newest), text)?), bytes: 0, is_skipped: is_there });
        }
        let _share = memory.take(INSTANCE * 2 + from.buffered_by_copy(&target, LARGE_STEP));
        let copied = timeline.copy(&target, to.key(), progress)?;
        let (steps, newest) = (copied.steps, copied.newest);
        let (action, text) = if steps > 0 {
            let size = exact_bytes(copied.bytes);
            ("copied", format!("copied {} to {}: {}, {size}", printable(&from_text), printable(&to_text), counted(steps, "step")))
        } else {
            ("skipped", format!("skipped {}: {} has all its steps", printable(&from_text), printable(&to_text)))
        };
        Ok(Report { line: output.report_line(&object(action, steps, newest), text)?, bytes: copied.bytes, is_skipped: steps == 0 })
    }
}

/// Returns whether a folder has a step, or what has taken the place of one.
fn has_objects(engine: &Engine, folder: &str) -> Result<bool> {
    let is_numbered = |key: Result<String>| Ok(step_of(&key?).is_some_and(|(of, _)| of == folder));
    engine.keys(folder).map(is_numbered).find(|is| !matches!(is, Ok(false))).unwrap_or(Ok(false))
}

/// Where the copies go.
struct Dest<'a> {
    text: &'a str,
    config: &'a StorageConfig,
    /// The folder, if there are several copies.
    folder: Option<StorageLocation>,
    /// Where something was copied to.
    taken: Mutex<HashSet<String>>,
}

impl Dest<'_> {
    /// Returns the location of the copy of a snapshot.
    fn of(&self, host: &Native<'_>, source: &Source, from: &StorageLocation) -> Result<StorageLocation> {
        let name = match (&source.found, step_of(from.key())) {
            (Some(found), _) => found.name.clone(),
            (None, Some((_, number))) => format!("{}.json.zst", step_name("", from, number)),
            (None, None) => split(from.key()).1.to_owned(),
        };
        let to = match &self.folder {
            None => {
                let text = target_of(self.text, self.config, &name);
                check_text(host, &text).map_err(|error| error.hint("give another name"))?;
                self.config.locate_to_write(text)?
            }
            Some(folder) => {
                let to = folder.clone().with_key(&format!("{}{name}", folder.key()));
                check_location(host, &to, Part::Name).map_err(|error| error.hint("copy it separately, to another name"))?;
                to
            }
        };
        if is_reserved(to.key()) {
            let error = PersistError::new(ErrorCode::InvalidArgument, "a copy can't have the name of a step of a timeline");
            return Err(error.at(&to).hint("give the name of a snapshot, such as state.json.zst"));
        }
        self.take(to)
    }

    /// Returns the location of the copy of a timeline.
    fn of_timeline(&self, name: &str) -> Result<StorageLocation> {
        let folder = match &self.folder {
            Some(folder) => folder.clone(),
            None => self.config.locate_folder_to_write(self.text)?,
        };
        let key = if name.is_empty() { folder.key().to_owned() } else { format!("{}{name}/", folder.key()) };
        self.take(folder.with_key(&key))
    }

    /// Takes a location for one copy.
    fn take(&self, to: StorageLocation) -> Result<StorageLocation> {
        if self.taken.lock().unwrap_or_else(PoisonError::into_inner).insert(to.to_string()) {
            return Ok(to);
        }
        let error = PersistError::new(ErrorCode::AlreadyExists, "another snapshot was copied to this name").at(&to);
        Err(error.hint("copy it separately, to another name"))
    }
}

pub(crate) fn run(arguments: &Arguments, storage: &StorageArguments, output: &Output) -> Result<(), Failure> {
    let host = Native::new(storage)?;
    let Some((dest, src)) = arguments.paths.split_last() else { return Err(Failure::Reported(2)) };
    let task = arguments.how.task(&host, src, "copying", if arguments.dry_run { "would be copied" } else { "copied" });
    if task.is_many && !dest.contains("://") {
        check_means_something(dest)?;
    }
    let folder = if task.is_many { Some(host.config.locate_folder_to_write(dest)?) } else { None };
    if folder.is_some() {
        check_text(&host, dest).map_err(|error| error.hint("give another folder"))?;
    }
    let dest = Dest { text: dest, config: &host.config, folder, taken: Mutex::default() };
    let memory = Memory::new();
    run_with(&task, &host, output, (&arguments.how, src), |source, progress| {
        let from = source.location(&host, &arguments.how)?;
        if let Some(timeline) = Found::of(source, &from) {
            if !arguments.how.recursive {
                let error = PersistError::new(ErrorCode::InvalidArgument, "this is a timeline, not a snapshot").at(&source.text);
                return Err(error.hint("add --recursive to copy it as a whole, or @latest for its newest state").into());
            }
            return timeline.copy(&host, &dest, arguments, output, &memory, progress);
        }
        let to = dest.of(&host, source, &from)?;
        let (source_engine, target) = (host.stoppable(&from)?, host.writing(&to, arguments.durability)?);
        // A snapshot that was named must match the filter.
        let digest = if source.found.is_none() && arguments.how.has_filter() {
            let metadata = source_engine.metadata(from.key())?;
            arguments.how.check(source, &metadata)?;
            Some(metadata.digest)
        } else {
            None
        };
        let (from_text, to_text) = (host.written(&from)?, host.written(&to)?);
        if arguments.dry_run {
            let metadata = source_engine.metadata(from.key())?;
            let is_there = target.metadata(to.key()).is_ok_and(|found| found.digest == metadata.digest);
            if !is_there && matches!(arguments.if_exists, IfExists::Fail) && target.exists(to.key())? {
                let error = PersistError::new(ErrorCode::AlreadyExists, "a different object already exists").at(&to);
                return Err(error.hint("give another name").into());
            }
            let (size, action) = (metadata.stored_size, if is_there { "skip" } else { "copy" });
            let text = format!("would {action} {} to {}: {}", printable(&from_text), printable(&to_text), exact_bytes(size));
            let object = json!({"action": "none", "source": from_text, "location": to_text});
            return Ok(Report { line: Some(output.line(&object, text)?), bytes: if is_there { 0 } else { size }, is_skipped: is_there });
        }
        let size = match &source.found {
            Some(found) => found.stored_size,
            None if task.is_many => source_engine.storage().stat(from.key())?.size,
            None => 0,
        };
        let _share = memory.take(INSTANCE + source_engine.buffered_by_copy(&target, size));
        let copied = copy((&source_engine, from.key()), (&target, to.key()), arguments, digest, progress)?;
        let bytes = if copied.is_new { copied.metadata.stored_size } else { 0 };
        Ok(Report { line: line(output, &from_text, &to_text, &copied)?, bytes, is_skipped: !copied.is_new })
    })
}
