//! `persist copy`

use std::path::{Path, PathBuf};

use clap::Args;
use persist_host::{Copied, Durability, Engine, ErrorCode, ListEntry, PersistError, Result, StorageConfig};
use serde_json::json;

use crate::output::{Failure, Output, exact_bytes, printable, short_bytes};
use crate::progress::Progress;
use crate::snapshot::{DurabilityChoice, IfExists};

/// Copy snapshots from one place to another, from any storage to any other.
///
/// The bytes are copied as they are and verified on the way: what is damaged
/// does not arrive. What is there already with the same digest is skipped, so
/// that an interrupted copy goes on where it stopped when it is run again.
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
    /// What to do if there is something else at DEST.
    #[arg(long, value_enum, default_value = "replace")]
    if_exists: IfExists,
    /// Whether to wait until a local copy survives a power cut.
    #[arg(long, value_enum, default_value = "fsync")]
    durability: DurabilityChoice,
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

/// What there is to be told at the end of a recursive copy.
#[derive(Default)]
struct Total {
    copied: u64,
    skipped: u64,
    bytes: u64,
    others: u64,
    exit_code: Option<u8>,
}

impl Total {
    fn failed(&mut self, output: &Output, error: &PersistError) {
        output.error(error);
        self.exit_code.get_or_insert(error.exit_code());
    }
}

fn copy(source: &Engine, key: &str, target: &Engine, target_key: &str, if_exists: IfExists, output: &Output) -> Result<Copied> {
    let mut progress = Progress::new(output, "copying", None);
    let mut before = 0;
    source.copy(key, target, target_key, if_exists.precondition(), |copied| {
        progress.advance(copied - before);
        before = copied;
    })
}

fn copy_all(arguments: &Arguments, config: &StorageConfig, output: &Output) -> Result<(), Failure> {
    let (source, prefix) = config.open_folder(&arguments.src)?;
    let (target, target_prefix) = config.open_folder_to_write(&arguments.dest)?;
    let source = Engine::builder().shared_storage(source).build()?;
    let target = source.with_storage(target);
    let mut total = Total::default();
    for entry in source.list(&prefix) {
        let key = match entry {
            Ok(ListEntry::Snapshot(metadata)) => metadata.key,
            Ok(ListEntry::Unreadable { error, .. }) if error.code() == ErrorCode::NotASnapshot => {
                total.others += 1;
                continue;
            }
            // After an error of the storage the listing ends.
            Ok(ListEntry::Unreadable { error, .. }) | Err(error) => {
                total.failed(output, &error);
                continue;
            }
        };
        let target_key = format!("{target_prefix}{}", key.strip_prefix(&prefix).unwrap_or(&key));
        match copy(&source, &key, &target, &target_key, arguments.if_exists, output) {
            Ok(copied) => {
                *if copied.is_new { &mut total.copied } else { &mut total.skipped } += 1;
                total.bytes += if copied.is_new { copied.metadata.stored_size } else { 0 };
                report(output, &source.storage().locate(&key), &target.storage().locate(&target_key), &copied)?;
            }
            Err(error) => total.failed(output, &error),
        }
    }
    let Total { copied, skipped, bytes, others, exit_code } = total;
    output.note(format_args!("{copied} copied ({}), {skipped} skipped, {others} other files left out", short_bytes(bytes)));
    exit_code.map_or(Ok(()), |exit_code| Err(Failure::Reported(exit_code)))
}

fn copy_one(arguments: &Arguments, config: &StorageConfig, output: &Output) -> Result<(), Failure> {
    let from = config.locate_followed(&arguments.src)?;
    let to = config.locate_followed(target_of(arguments, config, from.key()))?;
    let source = Engine::builder().shared_storage(config.open(&from)?).build()?;
    let target = source.with_storage(config.open(&to)?);
    let copied = copy(&source, from.key(), &target, to.key(), arguments.if_exists, output)?;
    report(output, &from.to_string(), &to.to_string(), &copied)
}

pub(crate) fn run(arguments: &Arguments, output: &Output) -> Result<(), Failure> {
    let mut config = StorageConfig::from_env()?;
    config.durability = Durability::from(arguments.durability);
    if arguments.recursive { copy_all(arguments, &config, output) } else { copy_one(arguments, &config, output) }
}
