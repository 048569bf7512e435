//! The part of the `persist` command that is the same wherever it runs, natively
//! or as a component: arguments, what is printed, and exit codes. What does the
//! work is a [`Host`].

mod delete;
mod delete_found;
mod exists;
mod filter;
mod host;
mod list;
mod many;
mod order;
pub mod output;
mod restore;
mod search;
mod sessions;
mod show;
mod snapshot;
mod sources;
mod table;
mod target;
mod verify;

use std::ffi::OsString;
use std::sync::OnceLock;

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Parser, Subcommand};
use persist_model::{ErrorCode, FORMAT_VERSION, PersistError};

pub use self::host::{Done, Entries, FileWriter, Host, Keys, Progress, Reader, TotalProgress, Writer};
pub use self::many::{Report, Task, run_with};
use self::output::{Failure, Output, OutputOptions};
pub use self::search::Search;
pub use self::snapshot::{Durability, IfExists};
pub use self::sources::{FoundIn, How, Source, Sources};
pub use self::target::{Target, check_output, is_stream};

/// The codes that the command exits with, and what each means.
pub const EXIT_CODES: [(u8, &str); 16] = [
    (0, "done"),
    (1, "anything else"),
    (2, "wrong argument or setting"),
    (3, "not found"),
    (4, "exists already, or somebody else changed it"),
    (5, "damaged, or not a snapshot"),
    (6, "not allowed"),
    (7, "bucket missing, or not supported"),
    (8, "network or disk failed"),
    (9, "a limit of the sandbox was reached"),
    (10, "encrypted, and no key at hand opens it"),
    (11, "not sealed by anybody who is trusted"),
    (12, "done, but not synced: a power cut may undo it"),
    (13, "not known whether it was done"),
    (130, "stopped by Ctrl-C, SIGTERM or SIGHUP"),
    (141, "whoever read its output stopped reading"),
];

/// What holds for all exit codes.
pub const ABOUT_EXIT_CODES: &str = "\
After 12 and 13 something may have changed; after any other code but 0 nothing has, unless
it was not the storage but the output that failed. Of
several snapshots the others are done, and the worst decides: 5 before 13, and these
before all others; 12 counts least.";

/// The exit codes, for the command's help.
pub fn exit_codes() -> String {
    let codes: String = EXIT_CODES.iter().map(|(code, meaning)| format!("  {code:>3}  {meaning}\n")).collect();
    format!("Exit codes:\n{codes}\n{ABOUT_EXIT_CODES}")
}

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
    Sessions(sessions::Arguments),
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
            Self::Sessions(arguments) => sessions::run(arguments, host, output),
        }
    }
}

/// What to do where a value, or the name of a file, begins with a hyphen and was
/// taken for an option. The parser's own advice, to write `--` before it, is wrong
/// for the value of an option, and names only the first letter of others.
fn advice_on_hyphen<C: Parser>(error: &clap::Error, arguments: &[OsString]) -> Option<String> {
    let Some(ContextValue::String(unexpected)) = error.get(ContextKind::InvalidArg) else { return None };
    if error.kind() != ErrorKind::UnknownArgument || !unexpected.starts_with('-') {
        return None;
    }
    let at = arguments.iter().position(|argument| argument.to_str().is_some_and(|argument| argument.starts_with(unexpected)))?;
    let text = arguments.get(at)?.to_str()?;
    let before = arguments.get(at.checked_sub(1)?)?.to_str()?;
    let mut command = C::command();
    command.build();
    let subcommand = arguments.iter().find_map(|argument| command.find_subcommand(argument)).unwrap_or(&command);
    let takes_value = |argument: &clap::Arg| {
        let is_it = argument.get_long().is_some_and(|long| before == format!("--{long}"))
            || argument.get_short().is_some_and(|short| before == format!("-{short}"));
        is_it && argument.get_action().takes_values()
    };
    if subcommand.get_arguments().any(takes_value) {
        let equals = if before.starts_with("--") { "=" } else { "" };
        return Some(format!("a value that begins with a hyphen is written {before}{equals}{text}"));
    }
    let is_option = text.starts_with("--");
    (!is_option).then(|| format!("a file of this name is written ./{text}"))
}

/// Removes the parser's advice to write `--` before an option that is not known, which
/// would make it the name of a file. What it found that is similar stays.
fn forget_double_dash(error: &mut clap::Error) {
    if let Some(ContextValue::StyledStrs(mut advice)) = error.remove(ContextKind::Suggested) {
        advice.retain(|advice| !advice.to_string().contains("as a value, use"));
        if !advice.is_empty() {
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(advice));
        }
    }
}

/// What prints the whole help.
const HELP_ALL: &str = "--help-all";

/// A command whose help has everything.
fn whole_help(command: clap::Command) -> clap::Command {
    command.mut_subcommands(|command| command.after_long_help(exit_codes()))
}

/// A command whose help fits one screen: without the options that all commands share,
/// which have headings of their own.
fn short_help(command: clap::Command) -> clap::Command {
    command
        .long_about(Resettable::Reset)
        .after_long_help(Resettable::Reset)
        .mut_args(|argument| {
            let is_shared = argument.get_help_heading().is_some() || argument.get_id() == "verbose";
            argument.hide(is_shared)
        })
        .mut_subcommands(|command| {
            let is_for_setup = ["completions", "man"].contains(&command.get_name());
            command.hide(is_for_setup)
        })
}

/// Reads the arguments, of which the first is the program's name.
///
/// # Errors
/// The exit code, after help was printed or what is wrong.
pub fn parse<C: Parser>(arguments: &[OsString]) -> Result<C, u8> {
    // That it is there is in the help; it is a way to ask for it.
    let wants_all = arguments.iter().any(|argument| argument == HELP_ALL);
    let plain = |argument: &OsString| if argument == HELP_ALL { "--help".into() } else { argument.clone() };
    let asked: Vec<OsString> = arguments.iter().map(plain).collect();
    let mut command = if wants_all { whole_help(C::command()) } else { short_help(C::command()) };
    let parsed = command.try_get_matches_from_mut(&asked).and_then(|mut matches| C::from_arg_matches_mut(&mut matches));
    parsed.map_err(|error| {
        let mut error = error.format(&mut command);
        let advice = advice_on_hyphen::<C>(&error, arguments);
        if let Some(advice) = &advice {
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![advice.into()]));
        } else if error.kind() == ErrorKind::UnknownArgument {
            forget_double_dash(&mut error);
        }
        let wants_json = arguments.iter().any(|argument| argument == "--json");
        if wants_json && error.use_stderr() && error.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
            let text = error.to_string();
            // The first paragraph; usage and help follow it.
            let lines: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).map(str::trim).collect();
            let message = lines.join(" ");
            let message = message.trim_start_matches("error: ");
            let advice = advice.as_deref().unwrap_or("see 'persist --help'");
            let error = PersistError::new(ErrorCode::InvalidArgument, message).hint(advice);
            Output::new(&OutputOptions::json()).error(&error);
            return error.exit_code();
        }
        // Fails only where there is nowhere to print.
        let _ = error.print();
        u8::try_from(error.exit_code()).unwrap_or(1)
    })
}

#[cfg(test)]
#[path = "../../tests/support/help.rs"]
mod help;

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::{Command, EXIT_CODES, OutputOptions, help};

    /// As the component has it.
    #[derive(Parser)]
    #[command(about = "as the component has it")]
    struct Cli {
        #[command(subcommand)]
        _command: Command,
        #[command(flatten)]
        _output: OutputOptions,
    }

    #[test]
    fn every_option_and_every_value_has_a_text() {
        let mut command = Cli::command();
        command.build();
        assert!(command.get_subcommands().count() >= 8);
        assert_eq!(help::without_help(&command), Vec::<String>::new());
    }

    #[test]
    fn every_exit_code_of_an_error_is_explained() {
        for code in persist_model::ErrorCode::ALL {
            let exit_code = persist_model::PersistError::new(*code, "").exit_code();
            assert!(EXIT_CODES.iter().any(|(known, _)| *known == exit_code), "{exit_code}");
        }
    }
}
