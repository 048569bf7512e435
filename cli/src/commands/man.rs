//! `persist man`

use std::io::{self, Write};

use clap::Args;
use clap::builder::Resettable;
use clap_mangen::roff::{Roff, bold, roman};
use persist_model::{ErrorCode, PersistError};

use crate::exit_codes::{ABOUT_EXIT_CODES, EXIT_CODES};
use crate::output::Failure;

/// Print the man page of persist or of one of its commands.
#[derive(Args)]
#[command(after_help = "Example: persist man | man -l -")]
pub(crate) struct Arguments {
    /// The command, such as copy.
    command: Option<String>,
}

/// Returns the section on exit codes.
fn exit_codes() -> Roff {
    let mut section = Roff::new();
    section.control("SH", ["EXIT CODES"]);
    for (code, meaning) in EXIT_CODES {
        section.control("TP", []).text([bold(code.to_string())]).text([roman(meaning)]);
    }
    section.control("PP", []).text([roman(ABOUT_EXIT_CODES)]);
    section
}

/// Returns the section with the examples of the help.
fn examples(text: &str) -> Roff {
    let lines = text.trim_start_matches("Examples:").trim_start_matches("Example:").lines().map(str::trim);
    let mut section = Roff::new();
    section.control("SH", ["EXAMPLES"]);
    for line in lines.filter(|line| !line.is_empty()) {
        section.control("PP", []).text([roman(line)]);
    }
    section
}

/// Returns the man page of a command.
fn page(command: clap::Command) -> io::Result<Vec<u8>> {
    // The long version is for bug reports, and the exit codes have their own section.
    let version = env!("CARGO_PKG_VERSION");
    let command = command.version(version).long_version(version).after_long_help(Resettable::Reset);
    // Otherwise, options that the short help hides would appear without their text.
    let command = command.mut_args(|argument| argument.hide_short_help(false));
    let text = command.get_after_help().map(ToString::to_string);
    let mut page = Vec::new();
    clap_mangen::Man::new(command.after_help(Resettable::Reset)).render(&mut page)?;
    if let Some(text) = text {
        page.write_all(examples(&text).to_roff().as_bytes())?;
    }
    page.write_all(exit_codes().to_roff().as_bytes())?;
    Ok(page)
}

/// Prints the man page of `persist` or of one of its commands.
pub(crate) fn run(arguments: &Arguments, mut command: clap::Command) -> Result<(), Failure> {
    command.build();
    if let Some(name) = &arguments.command {
        let Some(found) = command.find_subcommand(name) else {
            let error = PersistError::new(ErrorCode::InvalidArgument, format!("unknown command '{name}'"));
            return Err(error.hint("see 'persist --help'").into());
        };
        command = found.clone();
    }
    let page = page(command).map_err(|error| Failure::stdout(&error))?;
    io::stdout().lock().write_all(&page).map_err(|error| Failure::stdout(&error))
}
