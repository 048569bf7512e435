//! `persist verify`

use clap::Args;

use crate::host::Host;
use crate::output::{Failure, Output, exact_bytes, printable, seal_note};

/// Check every byte of snapshots.
///
/// Reads each snapshot to its end and checks metadata, block table, every
/// block and the hash of the whole state. Goes on after an error; the first one
/// decides the exit code.
#[derive(Args)]
pub struct Arguments {
    /// The snapshots.
    #[arg(required = true)]
    src: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments, host: &impl Host, output: &Output) -> Result<(), Failure> {
    output.for_each(&arguments.src, |src| {
        let location = host.locate_followed(src)?;
        let metadata = host.verify(&location, host.progress(output, "verifying", None))?;
        let size = exact_bytes(metadata.uncompressed_size);
        let text = format_args!("{}: ok, {size} of state, SHA-256 {}{}", printable(src), metadata.content_hash, seal_note(&metadata));
        output.report(&metadata.located(&host.written(&location)?), text)
    })
}
