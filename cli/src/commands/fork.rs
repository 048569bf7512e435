//! `persist fork`

use std::time::SystemTime;

use clap::Args;
use persist_model::{ErrorCode, PersistError, StepSelector};
use serde_json::json;

use crate::choices::Durability;
use crate::host::Host as _;
use crate::native::host::Native;
use crate::native::options::StorageArguments;
use crate::output::{Failure, Output, counted, exact_bytes, printable};
use crate::sources::{check_means_something, check_no_step};
use crate::timelines::{place, place_of};

/// Continue a timeline elsewhere, from any of its steps.
///
/// Copies the steps up to the chosen one into a new folder, where they keep their numbers. Whatever
/// is appended there comes after them. Nothing in the source changes, and it may be pruned or
/// deleted later. Forking is safe while others append or prune: the fork is either complete or
/// refused. If a fork was interrupted, the same command finishes it.
#[derive(Args)]
#[command(after_help = "Example: persist fork runs/support/case-4711@42 runs/support/case-4711b")]
pub(crate) struct Arguments {
    /// The last step to take: TIMELINE@STEP; without a step, the newest.
    #[arg(value_name = "TIMELINE@STEP")]
    src: String,
    /// The folder of the new timeline; or, with --agent or --session, the folder that
    /// contains AGENT/SESSION.
    new: String,
    /// The agent of the new timeline [with --session, default: that of the old one].
    #[arg(long, visible_alias = "agent", value_name = "ID")]
    agent_id: Option<String>,
    /// The session of the new timeline [with --agent, default: that of the old one].
    #[arg(long, visible_alias = "session", value_name = "ID")]
    session_id: Option<String>,
    /// Whether to wait until the local steps would survive a power cut.
    #[arg(long, value_enum, default_value = "fsync")]
    durability: Durability,
}

/// Refuses a step in place of a new timeline.
fn check_is_place(source: &str, new: &str) -> Result<(), PersistError> {
    match new.strip_prefix('@').map(|step| StepSelector::parse(step, SystemTime::now())) {
        Some(Ok(_)) => {
            let error = PersistError::new(ErrorCode::InvalidArgument, "this is a step, not the folder of a new timeline");
            Err(error.at(new.escape_debug()).hint(format!("write 'persist fork {}{new} NEW'", source.escape_debug())))
        }
        _ => Ok(()),
    }
}

pub(crate) fn run(arguments: &Arguments, storage: &StorageArguments, output: &Output) -> Result<(), Failure> {
    let host = Native::new(storage)?;
    let (from, at) = match host.named_step(&arguments.src, None)? {
        Some(named) => named,
        None => (place_of(&host, &arguments.src)?, StepSelector::Newest),
    };
    let whole = host.written(&from)?;
    let (agent_id, session_id) = (arguments.agent_id.as_deref(), arguments.session_id.as_deref());
    let has_ids = agent_id.is_some() || session_id.is_some();
    let new = if has_ids {
        let old = place(&whole, None, None);
        place(&arguments.new, agent_id.or(Some(&old.agent_id)), session_id.or(Some(&old.session_id)))
    } else {
        place(&arguments.new, None, None)
    };
    if !has_ids {
        check_is_place(&arguments.src, &arguments.new)?;
        check_means_something(&arguments.new)?;
        check_no_step(&host, &new.text)?;
    }
    let to = host.locate_folder_to_write(&new.text)?;
    if from.to_string() == to.to_string() {
        let error = PersistError::new(ErrorCode::InvalidArgument, "a timeline can't be forked onto itself");
        return Err(error.at(new.text.escape_debug()).hint("give another folder").into());
    }
    let target = host.writing(&to, arguments.durability)?;
    let progress = host.progress(output, "forking", None);
    let forked = host.stoppable(&from)?.timeline(from.key())?.fork(&at, &target, to.key(), progress)?;
    let (steps, newest) = (forked.steps, forked.newest);
    let location = host.written(&to)?;
    let (source, new) = (printable(whole.trim_end_matches('/')), printable(&new.text));
    let text = if steps > 0 {
        format!("forked {source}@{newest} to {new}: {}, {}", counted(steps, "step"), exact_bytes(forked.bytes))
    } else {
        format!("{new} is already a fork of {source}@{newest}")
    };
    let object = json!({"source": whole, "location": location, "newest": newest, "steps": steps, "bytes": forked.bytes});
    output.report(&object, text)?;
    Ok(())
}
