//! The commands, one per file.

mod append;
mod check;
#[cfg(feature = "native")]
pub(crate) mod completions;
#[cfg(feature = "native")]
pub(crate) mod copy;
#[cfg(feature = "native")]
mod copy_memory;
mod delete;
mod delete_found;
mod diff;
#[cfg(feature = "native")]
pub(crate) mod doctor;
mod exists;
#[cfg(feature = "native")]
pub(crate) mod fork;
mod list;
mod log;
mod log_changes;
#[cfg(feature = "native")]
pub(crate) mod man;
mod prune;
mod prune_sessions;
mod restore;
#[cfg(feature = "native")]
pub(crate) mod salvage;
mod sessions;
mod show;
mod snapshot;
mod snapshot_name;
mod verify;

use clap::Subcommand;

use crate::host::Host;
use crate::output::{Failure, Output};

/// The commands that exist on every host.
#[derive(Subcommand)]
#[allow(missing_docs, reason = "a comment here would replace the command's help, which is on its arguments")]
pub enum Command {
    // Boxed because it is much larger than the others.
    Snapshot(Box<snapshot::Arguments>),
    Restore(restore::Arguments),
    Show(show::Arguments),
    Verify(verify::Arguments),
    Diff(diff::Arguments),
    Exists(exists::Arguments),
    Delete(delete::Arguments),
    List(list::Arguments),
    Sessions(sessions::Arguments),
    // Boxed as well.
    Append(Box<append::Arguments>),
    Log(log::Arguments),
    Prune(Box<prune::Arguments>),
    Check(check::Arguments),
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// A failure that is still to be reported, or already was.
    pub fn run(&self, host: &impl Host, output: &Output) -> Result<(), Failure> {
        match self {
            Self::Snapshot(arguments) => snapshot::run(arguments, host, output),
            Self::Restore(arguments) => restore::run(arguments, host, output),
            Self::Show(arguments) => show::run(arguments, host, output),
            Self::Verify(arguments) => verify::run(arguments, host, output),
            Self::Diff(arguments) => diff::run(arguments, host, output),
            Self::Exists(arguments) => exists::run(arguments, host, output),
            Self::Delete(arguments) => delete::run(arguments, host, output),
            Self::List(arguments) => list::run(arguments, host, output),
            Self::Sessions(arguments) => sessions::run(arguments, host, output),
            Self::Append(arguments) => append::run(arguments, host, output),
            Self::Log(arguments) => log::run(arguments, host, output),
            Self::Prune(arguments) => prune::run(arguments, host, output),
            Self::Check(arguments) => check::run(arguments, host, output),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};
    use persist_test_support::help;

    use super::Command;
    use crate::output::OutputOptions;

    /// The command as the component builds it.
    #[derive(Parser)]
    #[command(about = "the command as the component builds it")]
    struct Cli {
        #[command(subcommand)]
        _command: Command,
        #[command(flatten)]
        _output: OutputOptions,
    }

    #[test]
    fn every_option_and_every_value_has_help() {
        let mut command = Cli::command();
        command.build();
        assert!(command.get_subcommands().count() >= 13);
        assert_eq!(help::without_help(&command), Vec::<String>::new());
    }
}
