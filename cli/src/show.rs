//! `persist show`

use std::fmt;

use clap::Args;
use persist_model::{Encryption, SealState, SnapshotMetadata};

use crate::host::Host;
use crate::output::{Failure, Output, exact_bytes, printable, ratio};

/// Show what a snapshot says of itself, without reading its state.
///
/// Metadata is checked against the snapshot's digest; 'persist verify' checks
/// the state too.
#[derive(Args)]
pub struct Arguments {
    /// The snapshot.
    src: String,
}

/// Metadata for people.
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
            SealState::Wrong => line("seal", "WRONG")?,
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
    let location = host.locate_followed(&arguments.src)?;
    let metadata = host.metadata(&location)?;
    output.result(&metadata.located(&host.written(&location)?), Sheet(&metadata))
}
