//! `persist verify`

use clap::Args;
use serde::Serialize;

use super::output::{Failure, Output, exact_bytes, printable};
use super::progress::Progress;
use super::storage::{StorageArguments, Storages};
use crate::SnapshotMetadata;

/// Check every byte of snapshots.
///
/// Reads each snapshot to its end and checks metadata, block table, every
/// block and the hash of the whole state. Goes on after an error; the first one
/// decides the exit code.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The snapshots.
    #[arg(required = true)]
    src: Vec<String>,
}

/// What is printed of a snapshot that is right.
#[derive(Serialize)]
struct Verified<'a> {
    location: String,
    #[serde(flatten)]
    metadata: &'a SnapshotMetadata,
}

pub(crate) fn run(arguments: &Arguments, storage: &StorageArguments, output: &Output) -> Result<(), Failure> {
    let storages = Storages::new(storage)?;
    let engine = storage.engine()?;
    output.for_each(&arguments.src, |src| {
        let location = storages.config.locate_followed(src)?;
        let engine = engine.with_storage(storages.open(&location)?);
        let mut progress = Progress::new(output, "verifying", None);
        let mut before = 0;
        let metadata = engine.verify_with(location.key(), |checked| {
            progress.advance(checked - before);
            before = checked;
        })?;
        drop(progress);
        let text =
            format_args!("{}: ok, {} of state, SHA-256 {}", printable(src), exact_bytes(metadata.uncompressed_size), metadata.content_hash);
        output.report(&Verified { location: location.to_string(), metadata: &metadata }, text)
    })
}
