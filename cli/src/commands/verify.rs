//! `persist verify`

use clap::Args;

use crate::host::Host;
use crate::many::{Report, run as run_many};
use crate::output::{Failure, Output, exact_bytes, printable, seal_note};
use crate::sources::Sources;

/// Check every byte of snapshots.
///
/// Reads each snapshot to its end and checks the metadata, the block table, every block
/// and the hash of the whole state. With filters such as --session or --digest, also
/// checks that a named snapshot matches them.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  persist verify agents/0001.json.gz --session case-4711\n  persist verify agents --recursive --since 7d"
)]
pub struct Arguments {
    #[command(flatten)]
    sources: Sources,
}

pub(crate) fn run(arguments: &Arguments, host: &impl Host, output: &Output) -> Result<(), Failure> {
    let sources = &arguments.sources;
    run_many(&sources.task(host, "verifying", "verified"), host, output, sources, |source, progress| {
        let location = source.location(host, &sources.how)?;
        let metadata = host.verify(&location, progress)?;
        sources.check(source, &metadata)?;
        let size = exact_bytes(metadata.uncompressed_size);
        let text =
            format_args!("{}: ok, {size} of state, SHA-256 {}{}", printable(&source.text), metadata.content_hash, seal_note(&metadata));
        let line = output.report_line(&metadata.located(&host.written(&location)?), text)?;
        Ok(Report::new(line, metadata.uncompressed_size))
    })
}
