//! `persist copy`

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, PoisonError};

use clap::Args;
use persist_cli::{Host, How, IfExists, Progress, Report, Source, run_with};
use serde_json::json;

use super::host::Native;
use super::output::{Failure, Output, exact_bytes, printable};
use super::storage::StorageArguments;
use crate::error::may_be_another_kind;
use crate::key::split;
use crate::{Copied, CopyOptions, Engine, ErrorCode, PersistError, Result, StorageConfig, StorageLocation};

/// Copy snapshots to another place, verified on the way.
///
/// The bytes are copied as they are and verified on the way: what is damaged
/// does not arrive. What is there already with the same digest is read, verified
/// and skipped, so that an interrupted copy goes on where it stopped when it is run
/// again; if it is damaged, it is copied over. What is no snapshot, or may as well be
/// another program's gzip file, or can't be read, is replaced only with --force.
#[derive(Args)]
#[command(
    visible_alias = "cp",
    after_help = "Examples:\n  persist copy agents/0001.json.gz s3://my-bucket/agents/\n  persist copy agents s3://my-bucket/agents --recursive --since 1d"
)]
pub(crate) struct Arguments {
    /// The snapshots, patterns, - for a list on stdin, or with --recursive folders; and
    /// at the end where to copy them. A folder, or a path that ends with /, takes them
    /// under their own names, which are kept below the folders that they were found in.
    #[arg(required = true, num_args = 2.., value_names = ["SRC", "DEST"])]
    paths: Vec<String>,
    /// What to do if there is something else at DEST, or a damaged copy.
    #[arg(long, value_enum, default_value = "replace")]
    if_exists: IfExists,
    /// Replace whatever is at DEST, also what is no snapshot.
    #[arg(short, long, conflicts_with = "if_exists")]
    force: bool,
    /// Say what would be copied, and copy nothing.
    #[arg(long)]
    dry_run: bool,
    /// Whether to wait until a local copy survives a power cut.
    #[arg(long, value_enum, default_value = "fsync")]
    durability: persist_cli::Durability,
    #[command(flatten)]
    how: How,
}

/// DEST, with the snapshot's own name where it is a folder.
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

/// The most memory that all copies together take, in bytes.
const MEMORY: u64 = 512 << 20;

/// What a copy takes beside the parts of its objects: an instance of the component,
/// which checks what passes.
const INSTANCE: u64 = 16 << 20;

/// The memory for all copies.
struct Memory {
    free: Mutex<u64>,
    freed: Condvar,
}

/// A part of it, given back when it is dropped.
struct Share<'a> {
    memory: &'a Memory,
    bytes: u64,
}

impl Memory {
    fn new() -> Self {
        Self { free: Mutex::new(MEMORY), freed: Condvar::new() }
    }

    /// Waits until so much is free. Who wants more than there is gets all of it.
    fn take(&self, bytes: u64) -> Share<'_> {
        let bytes = bytes.min(MEMORY);
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = self.freed.wait_while(free, |free| *free < bytes).unwrap_or_else(PoisonError::into_inner);
        *free -= bytes;
        Share { memory: self, bytes }
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        *self.memory.free.lock().unwrap_or_else(PoisonError::into_inner) += self.bytes;
        self.memory.freed.notify_all();
    }
}

fn copy(
    (source, key): (&Engine, &str),
    (target, target_key): (&Engine, &str),
    arguments: &Arguments,
    digest: Option<String>,
    progress: Progress<'_>,
) -> Result<Copied> {
    let options = CopyOptions { precondition: arguments.if_exists.precondition(), replaces_anything: arguments.force, digest };
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

/// Where the copies go.
struct Dest<'a> {
    text: &'a str,
    config: &'a StorageConfig,
    /// Where several go, which is a folder.
    folder: Option<StorageLocation>,
}

impl Dest<'_> {
    /// Where the copy of a snapshot goes.
    fn of(&self, source: &Source, from: &StorageLocation) -> Result<StorageLocation> {
        let Some(folder) = &self.folder else { return self.config.locate_to_write(target_of(self.text, self.config, from.key())) };
        let name = source.found.as_ref().map_or_else(|| split(from.key()).1, |found| &found.name);
        Ok(folder.clone().with_key(&format!("{}{name}", folder.key())))
    }
}

pub(crate) fn run(arguments: &Arguments, storage: &StorageArguments, output: &Output) -> Result<(), Failure> {
    let host = Native::new(storage)?;
    let Some((dest, src)) = arguments.paths.split_last() else { return Err(Failure::Reported(2)) };
    let task = arguments.how.task(&host, src, "copying", if arguments.dry_run { "would be copied" } else { "copied" });
    let folder = if task.is_many { Some(host.config.locate_folder_to_write(dest)?) } else { None };
    let dest = Dest { text: dest, config: &host.config, folder };
    let (memory, taken) = (Memory::new(), Mutex::new(HashSet::new()));
    run_with(&task, &host, output, (&arguments.how, src), |source, progress| {
        let from = source.location(&host)?;
        let to = dest.of(source, &from)?;
        if !taken.lock().unwrap_or_else(PoisonError::into_inner).insert(to.to_string()) {
            let error = PersistError::new(ErrorCode::AlreadyExists, "another snapshot was copied to this name").at(&to);
            return Err(error.hint("copy it by itself, to another name").into());
        }
        let (source_engine, target) = (host.stoppable(&from)?, host.writing(&to, arguments.durability)?);
        // Whether a snapshot that is named is the one that is meant.
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
                let error = PersistError::new(ErrorCode::AlreadyExists, "there is something else already").at(&to);
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
