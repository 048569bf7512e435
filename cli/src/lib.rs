//! The part of the `persist` command that is the same wherever it runs, natively
//! or as a component: arguments, what is printed, and exit codes. What does the
//! work is a [`Host`].

mod delete;
mod exists;
mod host;
mod list;
pub mod output;
mod restore;
mod show;
mod snapshot;
mod target;
mod verify;

use std::ffi::OsString;
use std::sync::OnceLock;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use persist_model::{ErrorCode, FORMAT_VERSION, PersistError};

pub use self::host::{Entries, FileWriter, Host, Progress, Reader, Writer};
use self::output::{Failure, Output, OutputOptions};
pub use self::snapshot::{Durability, IfExists};
pub use self::target::Target;

/// What the command exits with, for its help.
pub const EXIT_CODES: &str = "\
Exit codes: 0 done, 2 wrong argument, 3 not found, 4 exists already or changed meanwhile,
5 damaged or not a snapshot, 6 not allowed, 7 bucket missing or not supported, 8 network or
disk, 9 limit of the sandbox, 10 no key for what is encrypted, 11 not sealed by anybody who is
trusted, 12 done but not synced (a power cut may undo it), 13 not known whether it was done,
1 anything else. With 12 and 13 something may have changed; with any other nothing has. Of
several snapshots the others are done, and the first that failed decides.";

/// What `--version` says: the version, and what decides how snapshots look, the
/// format and the component, by the SHA-256 of its bytes in hexadecimal. A command
/// runs on one component, so that the first call is the one that counts.
pub fn long_version(component_hash: &str) -> &'static str {
    static VERSION: OnceLock<String> = OnceLock::new();
    VERSION.get_or_init(|| format!("{}\nformat {FORMAT_VERSION}\ncomponent {component_hash}", env!("CARGO_PKG_VERSION")))
}

/// The commands that are there on every host.
#[derive(Subcommand)]
#[allow(missing_docs, reason = "a comment here would be the command's help, which its arguments have")]
pub enum Command {
    // Much larger than the others.
    Snapshot(Box<snapshot::Arguments>),
    Restore(restore::Arguments),
    Show(show::Arguments),
    Verify(verify::Arguments),
    Exists(exists::Arguments),
    Delete(delete::Arguments),
    List(list::Arguments),
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// A failure that is still to be reported, or was already.
    pub fn run(&self, host: &impl Host, output: &Output) -> Result<(), Failure> {
        match self {
            Self::Snapshot(arguments) => snapshot::run(arguments, host, output),
            Self::Restore(arguments) => restore::run(arguments, host, output),
            Self::Show(arguments) => show::run(arguments, host, output),
            Self::Verify(arguments) => verify::run(arguments, host, output),
            Self::Exists(arguments) => exists::run(arguments, host, output),
            Self::Delete(arguments) => delete::run(arguments, host, output),
            Self::List(arguments) => list::run(arguments, host, output),
        }
    }
}

/// Reads the arguments, of which the first is the program's name.
///
/// # Errors
/// The exit code, after help was printed or what is wrong.
pub fn parse<C: Parser>(arguments: &[OsString]) -> Result<C, u8> {
    C::try_parse_from(arguments).map_err(|error| {
        let wants_json = arguments.iter().any(|argument| argument == "--json");
        if wants_json && error.use_stderr() && error.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
            let text = error.to_string();
            // The first paragraph; usage and help follow it.
            let lines: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
            let message = lines.join(" ");
            let message = message.trim_start_matches("error: ");
            let error = PersistError::new(ErrorCode::InvalidArgument, message).hint("see 'persist --help'");
            Output::new(&OutputOptions::json()).error(&error);
            return error.exit_code();
        }
        // Fails only where there is nowhere to print.
        let _ = error.print();
        u8::try_from(error.exit_code()).unwrap_or(1)
    })
}
