//! Parsing of the arguments: help, version, and errors with advice.

use std::ffi::OsString;
use std::sync::OnceLock;

use clap::Parser;
use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use persist_model::{ErrorCode, FORMAT_VERSION, PersistError};

use crate::exit_codes::exit_codes;
use crate::output::{Output, OutputOptions};

/// Returns what `--version` prints: the version, the format, and the component's SHA-256
/// in hexadecimal. A process has one component, so later calls return the first text.
pub fn long_version(component_hash: &str) -> &'static str {
    static VERSION: OnceLock<String> = OnceLock::new();
    VERSION.get_or_init(|| format!("{}\nformat {FORMAT_VERSION}\ncomponent {component_hash}", env!("CARGO_PKG_VERSION")))
}

/// Returns advice for a value or file name that begins with a hyphen and was taken for an
/// option. The parser's own advice, to write `--` before it, is wrong for the value of an
/// option, and for a short option it names only the first letter.
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
        return Some(format!("write a value that begins with a hyphen as {before}{equals}{text}"));
    }
    let is_option = text.starts_with("--");
    (!is_option).then(|| format!("write a file name that begins with a hyphen as ./{text}"))
}

/// Removes the parser's advice to write `--` before an unknown option, which would turn
/// it into a file name. Similar options that the parser found are kept.
fn forget_double_dash(error: &mut clap::Error) {
    if let Some(ContextValue::StyledStrs(mut advice)) = error.remove(ContextKind::Suggested) {
        advice.retain(|advice| !advice.to_string().contains("as a value, use"));
        if !advice.is_empty() {
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(advice));
        }
    }
}

/// The option that prints the full help.
const HELP_ALL: &str = "--help-all";

/// Returns the command with its full help.
fn whole_help(command: clap::Command) -> clap::Command {
    command.mut_subcommands(|command| command.after_long_help(exit_codes()))
}

/// Returns the command with help that fits on one screen: it omits the options that all
/// commands share, which have their own headings.
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

/// Parses the arguments, the first of which is the program's name.
///
/// # Errors
/// Returns the exit code once the help or an error has been printed.
pub fn parse<C: Parser>(arguments: &[OsString]) -> Result<C, u8> {
    // The parser only lists this option; here it is a form of `--help`.
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
        // Fails only if there is nowhere to print.
        let _ = error.print();
        u8::try_from(error.exit_code()).unwrap_or(1)
    })
}
