//! `persist exists`

use clap::Args;
use serde_json::json;

use crate::host::Host;
use crate::output::{Failure, Output, printable};

/// What the command exits with if there is nothing.
const NOT_FOUND: u8 = 3;

/// Say whether there is a snapshot.
///
/// The exit code is 0 if so, 3 if not. Any other is an error: a place that can't be
/// asked is not taken for an empty one. What is there is not looked at; 'persist show'
/// does.
#[derive(Args)]
#[command(after_help = "Example: persist exists agents/0001.json.gz || echo none")]
pub struct Arguments {
    /// The snapshot.
    src: String,
}

pub(crate) fn run(arguments: &Arguments, host: &impl Host, output: &Output) -> Result<(), Failure> {
    let location = host.locate_followed(&arguments.src)?;
    let exists = host.exists(&location)?;
    let src = printable(&arguments.src);
    output.report(
        &json!({"location": host.written(&location)?, "exists": exists}),
        format_args!("{src} {}", if exists { "exists" } else { "does not exist" }),
    )?;
    if exists { Ok(()) } else { Err(Failure::Reported(NOT_FOUND)) }
}
