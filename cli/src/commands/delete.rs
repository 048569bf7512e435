//! `persist delete`

use clap::Args;
use persist_model::{ErrorCode, PersistError, Precondition};
use serde_json::json;

use crate::commands::delete_found::{Deleting, check_is_snapshot, confirmed, delete_found, nothing_there};
use crate::host::Host;
use crate::many::{Report, run as run_many};
use crate::output::{Failure, Output, printable};
use crate::search::{is_pattern, is_there};
use crate::sources::is_step;

/// Delete snapshots.
///
/// Asks for confirmation; without a terminal, nothing is deleted unless --yes is given.
/// Reads each file first: one that is not a snapshot is kept unless --force is given, and
/// so is a gzip file that may be a truncated snapshot or another program's file. Damaged
/// snapshots and those of a newer format are deleted if they are named explicitly. If SRC
/// is a symlink, the link is deleted. With --recursive, folders that become empty are removed,
/// and timelines are deleted as a whole: a marker of 192 bytes stays in place of each step.
/// In a folder, 'persist prune' removes the markers a week later.
#[derive(Args)]
#[command(
    visible_alias = "rm",
    mut_arg("at", |at| at.hide(true)),
    after_help = "Examples:\n  persist delete agents/0001.json.gz\n  persist delete agents --recursive --until 30d --dry-run"
)]
pub struct Arguments {
    /// Delete the snapshot only if it has this etag. Not supported by every storage.
    #[arg(long, value_name = "ETAG", conflicts_with = "recursive")]
    if_match: Option<String>,
    #[command(flatten)]
    what: Deleting,
}

pub(crate) fn run(arguments: &Arguments, host: &impl Host, output: &Output) -> Result<(), Failure> {
    let sources = &arguments.what.sources;
    if arguments.what.force && !sources.how.filter.is_empty() {
        let error = PersistError::new(ErrorCode::InvalidArgument, "--force does not read snapshots, so filters cannot be used with it");
        return Err(error.hint("leave out --force or the filters").into());
    }
    if sources.how.at.is_some() {
        let error = PersistError::new(ErrorCode::InvalidArgument, "a step of a timeline can't be deleted on its own");
        return Err(error.hint("'persist prune' removes steps; with --recursive, the whole timeline is deleted").into());
    }
    if sources.how.recursive || sources.src.iter().any(|text| is_pattern(host, text)) {
        if arguments.if_match.is_some() {
            let error = PersistError::new(ErrorCode::InvalidArgument, "--if-match takes one snapshot, and this may select several");
            return Err(error.hint("give the location of one snapshot").into());
        }
        return delete_found(&arguments.what, host, output);
    }
    if !arguments.what.yes && !arguments.what.dry_run {
        let what = match sources.src.as_slice() {
            [one] if one != "-" => printable(one).into_owned(),
            many if many.iter().all(|text| text != "-") => format!("{} snapshots", many.len()),
            _ => "the snapshots listed on stdin".to_owned(),
        };
        if !confirmed(&what)? {
            output.note("nothing was deleted");
            return Err(Failure::Reported(1));
        }
    }
    let precondition = arguments.if_match.clone().map_or(Precondition::None, Precondition::IfMatch);
    let task = sources.task(host, "deleting", if arguments.what.dry_run { "would be deleted" } else { "deleted" });
    run_many(&task, host, output, sources, |source, _| {
        if source.found.is_none() && is_step(host, &source.text)? {
            let error = PersistError::new(ErrorCode::Unsupported, "a step of a timeline can't be deleted by itself");
            return Err(error
                .at(source.text.escape_debug())
                .hint("'persist prune' removes steps, and 'persist delete -r' deletes a whole timeline")
                .into());
        }
        let location = host.locate(&source.text)?;
        if !arguments.what.force {
            check_is_snapshot(host, &host.locate_followed(&source.text)?, sources, source)?;
        }
        let (written, text) = (host.written(&location)?, printable(&source.text));
        let line = if arguments.what.dry_run {
            if !is_there(host, &location)? {
                return Err(nothing_there(&source.text).into());
            }
            Some(output.line(&json!({"location": written, "deleted": false}), format_args!("would delete {text}"))?)
        } else {
            host.delete(&location, precondition.clone(), arguments.what.durability)?;
            output.report_line(&json!({"location": written, "deleted": true}), format_args!("deleted {text}"))?
        };
        Ok(Report::new(line, 0))
    })
}
