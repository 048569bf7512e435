//! `persist completions`

use std::io::{self, Write};

use clap::{Args, ValueEnum};
use clap_complete::Shell;

use crate::output::Failure;

/// Print a shell completion script.
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
    /// fish, the friendly interactive shell.
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

/// Prints the completion script.
pub(crate) fn run(arguments: &Arguments, mut command: clap::Command) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(Shell::from(arguments.shell), &mut command, "persist", &mut script);
    io::stdout().lock().write_all(&script).map_err(|error| Failure::stdout(&error))
}
