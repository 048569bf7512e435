//! `persist salvage`

use std::fmt;
use std::path::PathBuf;

use clap::Args;
use persist_host::SalvageReport;
use persist_model::{ErrorCode, PersistError};

use crate::choices::IfExists;
use crate::host::Host;
use crate::native::host::Native;
use crate::native::options::StorageArguments;
use crate::output::{Failure, Output, exact_bytes, printable};
use crate::sources::is_step;
use crate::target::{Target, check_output};

/// The exit code if part of the state is missing.
const INCOMPLETE: u8 = 5;

/// Recover what is left of a damaged snapshot.
///
/// Works on truncated snapshots too. If the block table is intact, every intact block is
/// recovered, and the report lists the gaps between them. Otherwise the state is
/// recovered from its beginning up to the first damage. The result is UNVERIFIED: the
/// report says how many of its bytes were checked against their hashes. The exit code is
/// 5 unless the whole state was recovered.
#[derive(Args)]
#[command(after_help = "Example: persist salvage agents/0001.json.gz -o state.json")]
pub(crate) struct Arguments {
    /// The damaged snapshot.
    src: String,
    /// Where to write what is left of the state: a file, or - for stdout (the report then
    /// goes to stderr).
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// What to do if the file already exists.
    #[arg(long, value_enum, default_value = "replace")]
    if_exists: IfExists,
}

/// The maximum number of holes in the text report.
const SHOWN_HOLES: usize = 10;

/// The report as text.
struct Sheet<'a> {
    report: &'a SalvageReport,
    output: &'a str,
}

impl fmt::Display for Sheet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.report;
        write!(f, "salvaged {}: {} of state, UNVERIFIED", printable(self.output), exact_bytes(report.salvaged_size))?;
        let mut line = |name: &str, value: &str| write!(f, "\n  {name:<10} {}", printable(value));
        line("checked", &format!("{} against the hashes in the snapshot", exact_bytes(report.checked_size)))?;
        match report.break_offset {
            Some(offset) => line("break", &format!("at byte {offset} of the snapshot"))?,
            None => line("break", "none: this is all of the state")?,
        }
        for hole in report.holes.iter().take(SHOWN_HOLES) {
            line("hole", &format!("{} at byte {} of the state", exact_bytes(hole.length), hole.state_offset))?;
        }
        match report.holes.len() {
            0..=SHOWN_HOLES => {}
            more => line("hole", &format!("and {} more: --json lists up to 1,000", more - SHOWN_HOLES))?,
        }
        match &report.metadata {
            Some(metadata) => {
                let missing = metadata.uncompressed_size.saturating_sub(report.salvaged_size);
                line("missing", &format!("{} of {}", exact_bytes(missing), exact_bytes(metadata.uncompressed_size)))?;
            }
            None => line("missing", "not known: the metadata is lost")?,
        }
        if let Some(reason) = &report.reason {
            line("reason", &reason.to_string())?;
        }
        Ok(())
    }
}

/// Replaces the advice to salvage a damaged snapshot, which this command has just tried.
fn last_advice(mut error: PersistError) -> PersistError {
    if matches!(error.code(), ErrorCode::Integrity | ErrorCode::InvalidFormat) {
        error.detail_mut().hint = Some("use another copy: nothing more can be recovered from this one".to_owned());
    }
    error
}

pub(crate) fn run(arguments: &Arguments, storage: &StorageArguments, output: &Output) -> Result<(), Failure> {
    let host = Native::new(storage)?;
    if is_step(&host, &arguments.src)? {
        let error = PersistError::new(ErrorCode::Unsupported, "a step of a timeline can't be salvaged").at(arguments.src.escape_debug());
        return Err(error.hint("'persist check' names the steps that are damaged: all others can be restored").into());
    }
    let location = host.locate_followed(&arguments.src)?;
    check_output(&host, &arguments.output, &location)?;
    let mut salvager = host.engine_to(&location, &arguments.output)?.salvage(location.key()).map_err(last_advice)?;
    let mut next = salvager.next_chunk().map_err(last_advice)?;
    if next.is_none() {
        let report = salvager.report()?;
        if report.break_offset.is_some() {
            let reason = report.reason.map_or_else(String::new, |reason| format!(": {}", reason.detail().message));
            let error = PersistError::new(ErrorCode::Integrity, format!("nothing can be salvaged{reason}"));
            return Err(last_advice(error.at(location)).into());
        }
    }
    let mut target = Target::open(&host, &arguments.output, None, arguments.if_exists, &location)?;
    let is_stdout = matches!(target, Target::Stdout);
    let mut progress = host.progress(output, "salvaging", None);
    let mut done = 0;
    while let Some(chunk) = next {
        target.write(&arguments.output, &chunk)?;
        done += chunk.len() as u64;
        progress(done);
        next = salvager.next_chunk().map_err(last_advice)?;
    }
    drop(progress);
    target.finish()?;
    let report = salvager.report()?;
    let name = arguments.output.to_string_lossy();
    let sheet = Sheet { report: &report, output: if is_stdout { "to stdout" } else { &name } };
    if is_stdout {
        output.note_or_object(&report.to_json(), sheet)?;
    } else {
        output.report(&report.to_json(), sheet)?;
    }
    if report.break_offset.is_some() { Err(Failure::Reported(INCOMPLETE)) } else { Ok(()) }
}
