//! `persist restore`

use std::path::{Path, PathBuf};

use clap::Args;

use super::output::{Failure, Output, exact_bytes, printable};
use super::progress::Progress;
use super::storage::StorageArguments;
use super::target::Target;
use crate::{Result, SnapshotReader};

/// Restore the state of a snapshot.
///
/// Every byte is checked before it is given out. To stdout it goes as it is
/// checked, so that a damaged snapshot may give its beginning before the error;
/// a file appears whole or not at all.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The snapshot.
    src: String,
    /// Where to put the state: a file, which is replaced, or - for stdout.
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
}

fn copy(mut reader: SnapshotReader, path: &Path, output: &Output) -> Result<(), Failure> {
    let size = reader.metadata().uncompressed_size;
    // Before anything is made: the first block is where most damage shows.
    let mut next = reader.next_chunk()?;
    let mut target = Target::open(path, Some(size))?;
    let mut progress = Progress::new(output, "restoring", Some(size));
    while let Some(chunk) = next {
        target.write(path, &chunk)?;
        progress.advance(chunk.len() as u64);
        next = reader.next_chunk()?;
    }
    target.finish()
}

pub(crate) fn run(arguments: &Arguments, storage: &StorageArguments, output: &Output) -> Result<(), Failure> {
    let (engine, location) = storage.open_source(&arguments.src, &arguments.output)?;
    let reader = engine.reader(location.key())?;
    let metadata = reader.metadata().clone();
    copy(reader, &arguments.output, output)?;
    if arguments.output == Path::new("-") {
        // Stdout has the state, and nothing else.
        return Ok(());
    }
    let target = arguments.output.to_string_lossy();
    output.report(&metadata, format_args!("restored {}: {} of state", printable(&target), exact_bytes(metadata.uncompressed_size)))
}
