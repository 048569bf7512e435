//! `persist delete`

use std::io::{self, IsTerminal, Write};

use clap::Args;
use persist_model::error::may_be_another_kind;
use persist_model::{ErrorCode, PersistError, Precondition, Result, StorageLocation};
use serde_json::json;

use crate::host::Host;
use crate::output::{Failure, Output, printable};

/// Delete snapshots.
///
/// Asks first; without a terminal to ask on, nothing is deleted unless --yes is
/// given. Looks at each first: what is no snapshot stays unless --force is given, and
/// so does a gzip file that may be a cut snapshot or another program's. A damaged
/// snapshot, or one of a newer format, is deleted; of a symlink, the link. Goes on
/// after an error; the first one decides the exit code.
#[derive(Args)]
pub struct Arguments {
    /// The snapshots.
    #[arg(required = true)]
    src: Vec<String>,
    /// Delete without asking.
    #[arg(short, long)]
    yes: bool,
    /// Delete whatever is there, also what is no snapshot, without looking at it
    /// first.
    #[arg(short, long)]
    force: bool,
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

/// Fails unless a snapshot is there, whole or damaged, or nothing. For a link that is
/// to be deleted, this is the location that it leads to.
fn check_is_snapshot(host: &impl Host, location: &StorageLocation) -> Result<()> {
    let Err(mut error) = host.metadata(location) else { return Ok(()) };
    match error.code() {
        _ if may_be_another_kind(&error) => {
            error.detail_mut().hint = Some("it was not deleted: check what it is, or give --force to delete it".to_owned());
            Err(error)
        }
        ErrorCode::Integrity
        | ErrorCode::InvalidFormat
        | ErrorCode::UnsupportedFormat
        | ErrorCode::LimitExceeded
        | ErrorCode::NoKey
        | ErrorCode::Untrusted => Ok(()),
        // A link that leads nowhere can be deleted; for nothing, deleting has the error.
        ErrorCode::NotFound => Ok(()),
        ErrorCode::NotASnapshot | ErrorCode::WrongKind => {
            error.detail_mut().hint = Some("it was not deleted: check the path, or give --force to delete it".to_owned());
            Err(error)
        }
        ErrorCode::AccessDenied => {
            error.detail_mut().hint = Some("check the permissions, or give --force to delete it without looking at it".to_owned());
            Err(error)
        }
        _ => Err(error),
    }
}

pub(crate) fn run(arguments: &Arguments, host: &impl Host, output: &Output) -> Result<(), Failure> {
    if !arguments.yes && !confirmed(&arguments.src)? {
        output.note("nothing was deleted");
        return Err(Failure::Reported(1));
    }
    let precondition = arguments.if_match.clone().map_or(Precondition::None, Precondition::IfMatch);
    output.for_each(&arguments.src, |src| {
        let location = host.locate(src)?;
        if !arguments.force {
            check_is_snapshot(host, &host.locate_followed(src)?)?;
        }
        host.delete(&location, precondition.clone())?;
        output.report(&json!({"location": host.written(&location)?, "deleted": true}), format_args!("deleted {}", printable(src)))
    })
}
