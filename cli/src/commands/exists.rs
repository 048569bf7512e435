//! `persist exists`

use clap::Args;
use persist_model::ErrorCode;
use serde_json::json;

use crate::host::Host;
use crate::output::{Failure, Output, printable};
use crate::sources::is_folder;

/// The exit code if nothing is there.
const NOT_FOUND: u8 = 3;

/// Check whether a snapshot, a timeline or a step of one exists.
///
/// The exit code is 0 if it exists and 3 if it does not. Any other code is an error: a
/// storage that cannot be reached does not count as empty. The object is not read; use
/// 'persist show' to check that it is a snapshot.
#[derive(Args)]
#[command(after_help = "Example: persist exists agents/0001.json.gz || echo none")]
pub struct Arguments {
    /// The snapshot, the folder of a timeline, or TIMELINE@STEP.
    src: String,
}

pub(crate) fn run(arguments: &Arguments, host: &impl Host, output: &Output) -> Result<(), Failure> {
    // A folder may be a timeline, of which the newest step stands for all.
    let newest = is_folder(host, &arguments.src).then_some("latest");
    let step = match host.locate_step(&arguments.src, newest) {
        Ok(step) => step,
        // The selector selects nothing.
        Err(error) if matches!(error.code(), ErrorCode::NotFound | ErrorCode::Unsupported) => None,
        Err(error) => return Err(error.into()),
    };
    let (location, exists) = match step {
        Some(step) => (step, true),
        // A folder that is no timeline is no snapshot either.
        None if is_folder(host, &arguments.src) => (host.locate_folder(&arguments.src, false)?, false),
        None => {
            let location = host.locate_followed(&arguments.src)?;
            let exists = host.exists(&location)?;
            (location, exists)
        }
    };
    let src = printable(&arguments.src);
    output.report(
        &json!({"location": host.written(&location)?, "exists": exists}),
        format_args!("{src} {}", if exists { "exists" } else { "does not exist" }),
    )?;
    if exists { Ok(()) } else { Err(Failure::Reported(NOT_FOUND)) }
}
