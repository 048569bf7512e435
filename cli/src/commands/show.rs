//! `persist show`

use std::fmt;

use clap::Args;
use persist_model::{Encryption, SealState, SnapshotMetadata};

use crate::host::Host;
use crate::many::{Report, run as run_many};
use crate::output::{Failure, Output, exact_bytes, printable, ratio};
use crate::sources::Sources;

/// Show the metadata of snapshots.
///
/// The metadata is checked against the snapshot's digest. The state is not read; to check
/// the state too, use 'persist verify'.
#[derive(Args)]
#[command(after_help = "Example: persist show agents/0001.json.gz --json")]
pub struct Arguments {
    #[command(flatten)]
    sources: Sources,
}

/// Metadata as text.
struct Sheet<'a>(&'a SnapshotMetadata);

impl fmt::Display for Sheet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let metadata = self.0;
        f.write_str(&printable(&metadata.key))?;
        let mut line = |name: &str, value: &str| write!(f, "\n  {name:<13} {}", printable(value));
        line("agent", &metadata.agent_id)?;
        line("session", &metadata.session_id)?;
        line("index", &metadata.snapshot_index.to_string())?;
        line("time", &metadata.timestamp)?;
        if let Some(description) = &metadata.description {
            line("description", description)?;
        }
        for (name, value) in &metadata.labels {
            line("label", &format!("{name}={value}"))?;
        }
        line("state", &format!("{}, {}", exact_bytes(metadata.uncompressed_size), metadata.content_type))?;
        line("stored", &format!("{}, {}, {}", exact_bytes(metadata.stored_size), metadata.compression_algorithm.name(), ratio(metadata)))?;
        line("content hash", &metadata.content_hash)?;
        line("digest", &metadata.digest)?;
        match metadata.seal {
            SealState::None => {}
            SealState::Checked => line("seal", "checked")?,
            SealState::NotChecked => line("seal", "sealed, not checked")?,
            SealState::Wrong => line("seal", "INVALID")?,
        }
        if metadata.encryption != Encryption::None {
            line("encrypted", metadata.encryption.name())?;
        }
        line("snapshot id", &metadata.snapshot_id)?;
        if metadata.extra != "{}" {
            line("extra", &metadata.extra)?;
        }
        line("written by", &format!("{}, format {}", metadata.producer, metadata.format_version))
    }
}

pub(crate) fn run(arguments: &Arguments, host: &impl Host, output: &Output) -> Result<(), Failure> {
    let sources = &arguments.sources;
    let task = sources.task(host, "reading", "shown");
    run_many(&task, host, output, sources, |source, _| {
        let location = source.location(host, &sources.how)?;
        let metadata = host.metadata(&location)?;
        sources.check(source, &metadata)?;
        let line = output.line(&metadata.located(&host.written(&location)?), Sheet(&metadata))?;
        Ok(Report::new(Some(line), metadata.stored_size))
    })
}
