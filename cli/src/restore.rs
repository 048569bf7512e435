//! `persist restore`

use std::path::PathBuf;

use clap::Args;
use persist_model::StorageLocation;

use crate::host::{Host, Reader};
use crate::output::{Failure, Output, exact_bytes, printable, seal_note};
use crate::snapshot::IfExists;
use crate::target::{Target, check_output};

/// Restore the state of a snapshot.
///
/// Every byte is checked before it is given out, and the state as a whole at its
/// end. A file appears whole and right or not at all. To stdout the state goes as
/// it is checked, so that a damaged snapshot may give its beginning before the
/// error and exit code 5.
#[derive(Args)]
pub struct Arguments {
    /// The snapshot.
    src: String,
    /// Where to put the state: a file, or - for stdout.
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// What to do if there is a file already.
    #[arg(long, value_enum, default_value = "replace")]
    if_exists: IfExists,
}

/// Copies the state, and says whether it went to stdout.
fn copy(
    host: &impl Host,
    source: &StorageLocation,
    mut reader: Box<dyn Reader>,
    arguments: &Arguments,
    output: &Output,
) -> Result<bool, Failure> {
    let path = &arguments.output;
    let size = reader.metadata().uncompressed_size;
    // Before anything is made: the first block is where most damage shows.
    let mut next = reader.next_chunk()?;
    let mut target = Target::open(host, path, Some(size), arguments.if_exists, source)?;
    let is_stdout = matches!(target, Target::Stdout);
    let mut progress = host.progress(output, "restoring", Some(size));
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

pub(crate) fn run(arguments: &Arguments, host: &impl Host, output: &Output) -> Result<(), Failure> {
    let location = host.locate_followed(&arguments.src)?;
    check_output(host, &arguments.output, &location)?;
    let reader = host.reader(&location, &arguments.output)?;
    let metadata = reader.metadata().clone();
    if copy(host, &location, reader, arguments, output)? {
        // Stdout has the state, and nothing else.
        return Ok(());
    }
    let target = arguments.output.to_string_lossy();
    let size = exact_bytes(metadata.uncompressed_size);
    let location = host.written(&location)?;
    output.report(&metadata.located(&location), format_args!("restored {}: {size} of state{}", printable(&target), seal_note(&metadata)))
}
