//! `persist check`

use clap::Args;
use persist_model::{Checked, ErrorCode, PersistError};
use persist_paths::key::split;
use persist_paths::timeline::{self, Name};
use serde_json::json;

use crate::choices::Durability;
use crate::host::{Access, Done, Host};
use crate::output::{Failure, Output, counted, printable, worse};
use crate::timelines::{find, no_timeline, place_of};

/// Check timelines, and name the steps that can't be restored.
///
/// Checks that every step is there and matches the steps that it depends on; with
/// --read-data, also reads all data. 'persist verify' checks snapshots.
#[derive(Args)]
#[command(after_help = "Examples:\n  persist check runs --read-data\n  persist check runs/support/case-4711 --repair")]
pub struct Arguments {
    /// Timelines, or folders that contain timelines.
    #[arg(required = true, value_name = "LOCATION")]
    location: Vec<String>,
    /// Read all data. Without it, only damage to the metadata is found.
    #[arg(long)]
    read_data: bool,
    /// Rewrite what is derived from the steps, where it is missing or damaged.
    #[arg(long)]
    repair: bool,
    /// Hide the damaged steps. If the newest is damaged, first append a step that repeats
    /// the newest undamaged one.
    #[arg(long, requires = "repair")]
    forget_damaged: bool,
}

/// What was found in all timelines.
#[derive(Default)]
struct Summary {
    timelines: u64,
    steps: u64,
    damaged: u64,
    /// Damaged objects that are no steps, and steps that are not those that were appended.
    others: u64,
    exit_code: u8,
}

impl Summary {
    fn add(&mut self, checked: &Checked, output: &Output) -> Result<(), Failure> {
        self.steps += u64::from(checked.number.is_some());
        let Some(error) = &checked.error else { return Ok(()) };
        let Some(number) = checked.number else {
            self.others += 1;
            let hint = match timeline::parse(split(&checked.key).1) {
                Some(Name::Catalogue(_) | Name::Hint) => Some("no state is lost: 'persist check --repair' rewrites this object"),
                Some(Name::Label(_) | Name::Hidden(_)) => {
                    Some("no state is lost: 'persist check --repair --forget-damaged' removes this object")
                }
                _ => None,
            };
            let mut error = error.clone();
            if let Some(hint) = hint {
                error.detail_mut().hint = Some(hint.to_owned());
            }
            output.error(&error);
            self.exit_code = worse(self.exit_code, error.exit_code());
            return Ok(());
        };
        self.damaged += 1;
        self.exit_code = worse(self.exit_code, PersistError::new(ErrorCode::Integrity, "").exit_code());
        if output.json {
            let object = json!({"number": number, "key": checked.key, "error": error.to_string(), "location": error.location()});
            return output.result(&object, "");
        }
        output.error(
            &PersistError::new(error.code(), format!("step {number} can't be restored: {}", error.detail().message))
                .at(error.location().unwrap_or(&checked.key)),
        );
        Ok(())
    }
}

pub(crate) fn run(arguments: &Arguments, host: &impl Host, output: &Output) -> Result<(), Failure> {
    let access = if arguments.repair { Access::Write(Durability::Fsync) } else { Access::Read };
    let mut summary = Summary::default();
    for text in &arguments.location {
        let folders = find(host, &place_of(host, text)?)?;
        if folders.is_empty() {
            return Err(no_timeline(text).into());
        }
        for folder in folders {
            let mut timeline = host.timeline(&folder, access)?;
            let before = summary.steps;
            if arguments.repair {
                let written = timeline.repair(arguments.forget_damaged)?;
                output.note(format_args!("{}: repaired, {} written or removed", timeline.location(), counted(written, "object")));
            }
            let mut progress = host.total_progress(output, "checking");
            for checked in timeline.check(arguments.read_data)? {
                summary.add(&checked?, output)?;
                progress(Done { snapshots: summary.steps, bytes: 0 });
            }
            // One that was deleted has no steps.
            summary.timelines += u64::from(summary.steps > before);
        }
    }
    let Summary { timelines, steps, damaged, others, exit_code } = summary;
    let how = if arguments.read_data { "all data read" } else { "data not read" };
    let mut state = if damaged == 0 { "none damaged".to_owned() } else { format!("{damaged} damaged") };
    if others > 0 {
        let verb = if others == 1 { "is" } else { "are" };
        state = format!("{state}, but {} {verb} wrong", counted(others, "other object"));
    }
    let text = format!("checked {} in {}: {state}, {how}", counted(steps, "step"), counted(timelines, "timeline"));
    let object = json!({"timelines": timelines, "steps": steps, "damaged": damaged, "others": others, "data_read": arguments.read_data});
    output.report(&object, printable(&text))?;
    if exit_code == 0 { Ok(()) } else { Err(Failure::Reported(exit_code)) }
}
