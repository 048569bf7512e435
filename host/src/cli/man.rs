//! `persist man`

use std::io::{self, Write};

use clap::builder::Resettable;
use clap::{Args, CommandFactory};
use clap_mangen::roff::{Roff, bold, roman};

use super::Cli;
use super::output::Failure;
use crate::{ErrorCode, PersistError};

/// Print a man page: of this command, or of one of its commands.
#[derive(Args)]
#[command(after_help = "Example: persist man | man -l -")]
pub(crate) struct Arguments {
    /// One of the commands.
    command: Option<String>,
}

/// The section of a page that says what each exit code means.
fn exit_codes() -> Roff {
    let mut section = Roff::new();
    section.control("SH", ["EXIT CODES"]);
    for (code, meaning) in persist_cli::EXIT_CODES {
        section.control("TP", []).text([bold(code.to_string())]).text([roman(meaning)]);
    }
    section.control("PP", []).text([roman(persist_cli::ABOUT_EXIT_CODES)]);
    section
}

/// The section of a page with what the help has as examples.
fn examples(text: &str) -> Roff {
    let lines = text.trim_start_matches("Examples:").trim_start_matches("Example:").lines().map(str::trim);
    let mut section = Roff::new();
    section.control("SH", ["EXAMPLES"]);
    for line in lines.filter(|line| !line.is_empty()) {
        section.control("PP", []).text([roman(line)]);
    }
    section
}

/// The page of a command.
fn page(command: clap::Command) -> io::Result<Vec<u8>> {
    // The long version is for bug reports; the exit codes have a section of their own.
    let version = env!("CARGO_PKG_VERSION");
    let command = command.version(version).long_version(version).after_long_help(Resettable::Reset);
    // What the short help leaves out would be there without its text.
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

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut command = Cli::command();
    command.build();
    if let Some(name) = &arguments.command {
        let Some(found) = command.find_subcommand(name) else {
            let error = PersistError::new(ErrorCode::InvalidArgument, format!("there is no command '{name}'"));
            return Err(error.hint("see 'persist --help'").into());
        };
        command = found.clone();
    }
    let page = page(command).map_err(|error| Failure::stdout(&error))?;
    io::stdout().lock().write_all(&page).map_err(|error| Failure::stdout(&error))
}
