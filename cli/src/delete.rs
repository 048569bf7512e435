//! `persist delete`

use std::io::{self, IsTerminal, Write};

use clap::Args;
use persist_model::{ErrorCode, PersistError, Precondition, Result};
use serde_json::json;

use crate::host::Host;
use crate::output::{Failure, Output, printable};

/// Delete snapshots.
///
/// Asks first; without a terminal to ask on, nothing is deleted unless --yes is
/// given. Goes on after an error; the first one decides the exit code.
#[derive(Args)]
pub struct Arguments {
    /// The snapshots.
    #[arg(required = true)]
    src: Vec<String>,
    /// Delete without asking.
    #[arg(short, long)]
    yes: bool,
    /// Delete only the snapshot that has this etag, where the storage can.
    #[arg(long, value_name = "ETAG")]
    if_match: Option<String>,
}

/// Whether whoever sits at the terminal says yes.
fn confirmed(sources: &[String]) -> Result<bool> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(PersistError::new(ErrorCode::InvalidArgument, "nothing was deleted: there is nobody to ask")
            .hint("give --yes to delete without asking"));
    }
    let what = match sources {
        [one] => printable(one).into_owned(),
        many => format!("{} snapshots", many.len()),
    };
    eprint!("Delete {what}? [y/N] ");
    let mut answer = String::new();
    io::stderr()
        .flush()
        .and_then(|()| io::stdin().read_line(&mut answer))
        .map_err(|error| PersistError::new(ErrorCode::Io, format!("could not read an answer: {error}")))?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

pub(crate) fn run(arguments: &Arguments, host: &impl Host, output: &Output) -> Result<(), Failure> {
    if !arguments.yes && !confirmed(&arguments.src)? {
        output.note("nothing was deleted");
        return Err(Failure::Reported(1));
    }
    let precondition = arguments.if_match.clone().map_or(Precondition::None, Precondition::IfMatch);
    output.for_each(&arguments.src, |src| {
        let location = host.locate(src)?;
        host.delete(&location, precondition.clone())?;
        output.report(&json!({"location": location.to_string(), "deleted": true}), format_args!("deleted {}", printable(src)))
    })
}
