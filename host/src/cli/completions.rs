//! `persist completions`

use std::io::{self, Write};

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;
use super::output::Failure;

/// Print a script that completes this command in a shell.
///
/// For bash: persist completions bash > ~/.local/share/bash-completion/completions/persist
#[derive(Args)]
pub(crate) struct Arguments {
    /// The shell.
    shell: Shell,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "persist", &mut script);
    io::stdout().lock().write_all(&script).map_err(|error| Failure::stdout(&error))
}
