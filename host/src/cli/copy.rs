//! `persist copy`

use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use clap::Args;
use persist_cli::IfExists;
use serde_json::json;

use super::interrupt;
use super::output::{Failure, Output, exact_bytes, printable, short_bytes};
use super::progress::Progress;
use super::storage::StorageArguments;
use crate::error::may_be_another_kind;
use crate::{
    Copied, CopyOptions, Durability, Engine, ErrorCode, ListEntry, PersistError, Result, Snapshots, StorageConfig, StorageLocation,
};

/// Copy snapshots from one place to another, from any storage to any other.
///
/// The bytes are copied as they are and verified on the way: what is damaged
/// does not arrive. What is there already with the same digest is read, verified
/// and skipped, so that an interrupted copy goes on where it stopped when it is run
/// again; if it is damaged, it is copied over. What is no snapshot, or may as well be
/// another program's gzip file, or can't be read, is replaced only with --force.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The snapshot, or with --recursive the folder.
    src: String,
    /// Where to copy it. A folder, or a path that ends with /, takes it under
    /// its own name.
    dest: String,
    /// Copy all snapshots in a folder and below it; their names below SRC are
    /// kept below DEST.
    #[arg(short, long)]
    recursive: bool,
    /// What to do if there is something else at DEST, or a damaged copy.
    #[arg(long, value_enum, default_value = "replace")]
    if_exists: IfExists,
    /// Replace whatever is at DEST, also what is no snapshot.
    #[arg(short, long, conflicts_with = "if_exists")]
    force: bool,
    /// Whether to wait until a local copy survives a power cut.
    #[arg(long, value_enum, default_value = "fsync")]
    durability: persist_cli::Durability,
}

/// DEST, with the snapshot's own name where it is a folder.
fn target_of(arguments: &Arguments, config: &StorageConfig, name: &str) -> String {
    let dest = &arguments.dest;
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
    dest.clone()
}

fn report(output: &Output, from: &str, to: &str, copied: &Copied) -> Result<(), Failure> {
    let action = if copied.is_new { "copied" } else { "skipped" };
    let object = json!({"action": action, "source": from, "location": to, "metadata": copied.metadata});
    let size = exact_bytes(copied.metadata.stored_size);
    let text = if copied.is_new {
        format!("copied {} to {}: {size}", printable(from), printable(to))
    } else {
        format!("skipped {}: {} is the same", printable(from), printable(to))
    };
    output.report(&object, text)
}

/// Copies at once, as far as there is memory for them.
const MAX_WORKERS: usize = 8;

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

/// What a recursive copy works on, and what there is to be told of it.
struct Copying<'a> {
    arguments: &'a Arguments,
    config: &'a StorageConfig,
    output: &'a Output,
    source: Engine,
    /// The folders: their keys are what those of the snapshots begin with.
    from: StorageLocation,
    target: Engine,
    to: StorageLocation,
    memory: Memory,
    total: Mutex<Total>,
}

#[derive(Default)]
struct Total {
    copied: u64,
    skipped: u64,
    bytes: u64,
    others: u64,
    exit_code: Option<u8>,
    /// Nobody is there any more to be told.
    failure: Option<Failure>,
}

impl Total {
    fn failed(&mut self, output: &Output, error: PersistError) {
        if error.code() == ErrorCode::Cancelled {
            // What is left behind, or not known, has to be said of each.
            let has_more = error.detail().hint.is_some() || !error.detail().facts.is_empty();
            if has_more && self.failure.is_some() {
                output.error(&error);
            }
            self.failure.get_or_insert(error.into());
            return;
        }
        output.error(&error);
        self.exit_code.get_or_insert(error.exit_code());
    }
}

impl Copying<'_> {
    fn total(&self) -> MutexGuard<'_, Total> {
        self.total.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self, key: &str, target_key: &str, copied: &Copied) -> Result<(), Failure> {
        let from = self.config.written(&self.from.clone().with_key(key))?;
        let to = self.config.written(&self.to.clone().with_key(target_key))?;
        report(self.output, &from, &to, copied)
    }

    /// Copies what the listing gives, side by side with others.
    fn work(&self, listing: &Mutex<Snapshots>, shows_progress: bool) {
        loop {
            if self.total().failure.is_some() {
                return;
            }
            let entry = listing.lock().unwrap_or_else(PoisonError::into_inner).next();
            let (key, size) = match entry {
                None => return,
                Some(Ok(ListEntry::Snapshot(metadata))) => (metadata.key, metadata.stored_size),
                Some(Ok(ListEntry::Unreadable { error, .. })) if error.code() == ErrorCode::NotASnapshot => {
                    self.total().others += 1;
                    continue;
                }
                // After an error of the storage the listing ends.
                Some(Ok(ListEntry::Unreadable { error, .. }) | Err(error)) => {
                    self.total().failed(self.output, error);
                    continue;
                }
            };
            let target_key = format!("{}{}", self.to.key(), key.strip_prefix(self.from.key()).unwrap_or(&key));
            let progress = Progress::new(self.output, "copying", None).shown_if(shows_progress);
            let share = self.memory.take(INSTANCE + self.source.buffered_by_copy(&self.target, size));
            let copied = copy(&self.source, &key, &self.target, &target_key, self.arguments, progress);
            drop(share);
            let mut total = self.total();
            match copied {
                Ok(copied) => {
                    *if copied.is_new { &mut total.copied } else { &mut total.skipped } += 1;
                    total.bytes += if copied.is_new { copied.metadata.stored_size } else { 0 };
                    if let Err(failure) = self.report(&key, &target_key, &copied) {
                        total.failure.get_or_insert(failure);
                    }
                }
                Err(error) => total.failed(self.output, error),
            }
        }
    }
}

fn copy(source: &Engine, key: &str, target: &Engine, target_key: &str, arguments: &Arguments, mut progress: Progress) -> Result<Copied> {
    let options = CopyOptions { precondition: arguments.if_exists.precondition(), replaces_anything: arguments.force };
    source.copy(key, target, target_key, options, |copied| progress.set(copied)).map_err(|mut error| {
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

fn copy_all(arguments: &Arguments, storage: &StorageArguments, config: &StorageConfig, output: &Output) -> Result<(), Failure> {
    let (source, prefix) = config.open_folder(&arguments.src)?;
    let (from, to) = (config.locate_folder(&arguments.src)?, config.locate_folder_to_write(&arguments.dest)?);
    let target = config.open(&to)?;
    let workers = source.parallelism().max(target.parallelism()).min(MAX_WORKERS);
    let source = storage.engine()?.with_storage(source);
    // The cancel token goes to both storages.
    let target = source.with_storage(target).with_cancel(&interrupt::token());
    let source = source.with_cancel(&interrupt::token());
    let listing = Mutex::new(source.list(&prefix));
    let copying = Copying { arguments, config, output, source, from, target, to, memory: Memory::new(), total: Mutex::default() };
    thread::scope(|scope| {
        // This thread is one of them, and all there is where no other is to be had.
        for _ in 1..workers {
            if let Err(error) = thread::Builder::new().spawn_scoped(scope, || copying.work(&listing, false)) {
                tracing::debug!(%error, "no thread to copy on");
                break;
            }
        }
        copying.work(&listing, workers == 1);
    });
    let total = copying.total.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(failure) = total.failure {
        return Err(failure);
    }
    let Total { copied, skipped, bytes, others, exit_code, .. } = total;
    output.note(format_args!("{copied} copied ({}), {skipped} skipped, {others} other files left out", short_bytes(bytes)));
    exit_code.map_or(Ok(()), |exit_code| Err(Failure::Reported(exit_code)))
}

fn copy_one(arguments: &Arguments, storage: &StorageArguments, config: &StorageConfig, output: &Output) -> Result<(), Failure> {
    let from = config.locate_followed(&arguments.src)?;
    let to = config.locate_to_write(target_of(arguments, config, from.key()))?;
    let source = storage.engine()?.with_storage(config.open(&from)?);
    let target = source.with_storage(config.open(&to)?).with_cancel(&interrupt::token());
    let source = source.with_cancel(&interrupt::token());
    let progress = Progress::new(output, "copying", None);
    let copied = copy(&source, from.key(), &target, to.key(), arguments, progress).map_err(|error| match &from {
        StorageLocation::Local { root, key } if error.code() == ErrorCode::InvalidKey && root.join(key).is_dir() => {
            error.hint("give --recursive to copy what is in the folder")
        }
        _ => error,
    })?;
    report(output, &config.written(&from)?, &config.written(&to)?, &copied)
}

pub(crate) fn run(arguments: &Arguments, storage: &StorageArguments, output: &Output) -> Result<(), Failure> {
    let mut config = storage.config()?;
    config.durability = Durability::from(arguments.durability);
    if arguments.recursive { copy_all(arguments, storage, &config, output) } else { copy_one(arguments, storage, &config, output) }
}
