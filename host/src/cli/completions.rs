//! `persist completions`

use std::io::{self, Write};

use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::Shell;

use super::Cli;
use super::output::Failure;

/// Print a script that completes commands in a shell.
#[derive(Args)]
#[command(after_help = "Example: persist completions bash > ~/.local/share/bash-completion/completions/persist")]
pub(crate) struct Arguments {
    /// The shell.
    #[arg(value_enum)]
    shell: ShellName,
}

#[derive(Clone, Copy, ValueEnum)]
enum ShellName {
    /// The Bourne Again Shell.
    Bash,
    /// Elvish.
    Elvish,
    /// The friendly interactive shell.
    Fish,
    /// PowerShell.
    #[value(name = "powershell")]
    PowerShell,
    /// The Z shell.
    Zsh,
}

impl From<ShellName> for Shell {
    fn from(name: ShellName) -> Self {
        match name {
            ShellName::Bash => Self::Bash,
            ShellName::Elvish => Self::Elvish,
            ShellName::Fish => Self::Fish,
            ShellName::PowerShell => Self::PowerShell,
            ShellName::Zsh => Self::Zsh,
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(Shell::from(arguments.shell), &mut Cli::command(), "persist", &mut script);
    io::stdout().lock().write_all(&script).map_err(|error| Failure::stdout(&error))
}
