//! `persist man`

use std::io::{self, Write};

use clap::{Args, CommandFactory};

use super::Cli;
use super::output::Failure;
use crate::{ErrorCode, PersistError};

/// Print a man page: of this command, or of one of its commands.
///
/// To read it: persist man | man -l -
#[derive(Args)]
pub(crate) struct Arguments {
    /// One of the commands.
    command: Option<String>,
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
    // The long version is for bug reports.
    let command = command.version(env!("CARGO_PKG_VERSION")).long_version(env!("CARGO_PKG_VERSION"));
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page).map_err(|error| Failure::stdout(&error))?;
    io::stdout().lock().write_all(&page).map_err(|error| Failure::stdout(&error))
}
