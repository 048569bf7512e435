//! The native `persist` program: arguments, logging and signals.

use std::ffi::OsString;
use std::io::{self, IsTerminal};

use clap::{CommandFactory as _, Parser, Subcommand};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::arguments::{long_version as version_text, parse};
use crate::commands::{self, completions, copy, doctor, fork, man, salvage};
use crate::exit_codes::exit_codes;
use crate::native::host::Native;
use crate::native::interrupt;
use crate::native::options::StorageArguments;
use crate::output::{Failure, Output, OutputOptions};

/// Save the state of an AI agent and restore it, byte for byte.
///
/// A location is a path, file:///path, s3://bucket/key or memory://key. If
/// PERSIST_LOCAL_PATH is set, paths are relative to that folder. PERSIST_STORAGE (local,
/// s3 or memory) and PERSIST_S3_BUCKET set the storage for locations without a scheme.
#[derive(Parser)]
#[command(
    name = "persist",
    version,
    long_version = long_version(),
    propagate_version = true,
    max_term_width = 100,
    after_long_help = exit_codes()
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    output: OutputOptions,
    #[command(flatten)]
    storage: StorageArguments,
}

#[derive(Subcommand)]
enum Command {
    #[command(flatten)]
    Everywhere(commands::Command),
    Fork(fork::Arguments),
    Copy(copy::Arguments),
    Salvage(salvage::Arguments),
    Doctor(doctor::Arguments),
    Completions(completions::Arguments),
    Man(man::Arguments),
}

fn long_version() -> &'static str {
    let hash: String = persist_host::component_hash().iter().map(|byte| format!("{byte:02x}")).collect();
    version_text(&hash)
}

fn run(command: Command, storage: &StorageArguments, output: &Output) -> Result<(), Failure> {
    match command {
        Command::Everywhere(command) => command.run(&Native::new(storage)?, output),
        Command::Fork(arguments) => fork::run(&arguments, storage, output),
        Command::Copy(arguments) => copy::run(&arguments, storage, output),
        Command::Salvage(arguments) => salvage::run(&arguments, storage, output),
        Command::Doctor(arguments) => doctor::run(&arguments, storage, output),
        Command::Man(arguments) => man::run(&arguments, Cli::command()),
        Command::Completions(arguments) => completions::run(&arguments, Cli::command()),
    }
}

/// The environment variable that sets what is logged.
const LOG: &str = "RUST_LOG";

/// Parses a setting such as `persist_host=debug,warn`. Invalid directives are reported
/// and ignored.
fn log_filter(setting: &str) -> Targets {
    // 'debug' is about this program, not about how its compiler allocates registers. A
    // directive of the user's for one of these wins.
    const QUIET: &str = "cranelift_codegen=warn,cranelift_frontend=warn,regalloc2=warn,wasmtime=warn,wasmtime_environ=warn,\
        wasmtime_internal_cranelift=warn";
    let can_be_read = |directive: &&str| {
        let can_be_read = directive.parse::<Targets>().is_ok();
        if !can_be_read {
            eprintln!("warning: {LOG}: ignoring '{}', which is not TARGET=LEVEL", directive.escape_debug());
        }
        can_be_read
    };
    let directives = setting.split(',').map(str::trim).filter(|directive| !directive.is_empty()).filter(can_be_read);
    let all: Vec<&str> = std::iter::once(QUIET).chain(directives).collect();
    all.join(",").parse().unwrap_or_default()
}

/// Starts logging to stderr as set by `RUST_LOG`, such as `RUST_LOG=persist_host=debug`.
/// The library's earlier name `persist_core` still works.
pub fn start_logging(is_verbose: bool) {
    let setting = match std::env::var(LOG) {
        Ok(setting) => setting,
        Err(_) if is_verbose => "persist_host=debug,persist_cli=debug".to_owned(),
        Err(_) => return,
    };
    let filter = log_filter(&setting.replace("persist_core", "persist_host"));
    let log = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    // Fails if the embedding program has set up its own logging, which then stays in
    // place.
    let _ = tracing_subscriber::registry().with(log.with_filter(filter)).try_init();
}

/// Runs the `persist` command in this process and returns its exit code.
///
/// The first argument is the program's name. The command takes over Ctrl-C, SIGTERM,
/// SIGHUP and logging.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let cli: Cli = match parse(&arguments) {
        Ok(cli) => cli,
        Err(exit_code) => return exit_code,
    };
    start_logging(cli.output.verbose);
    // Commands that only print text need no signal handling.
    if !matches!(cli.command, Command::Completions(_) | Command::Man(_)) {
        interrupt::start();
    }
    let output = Output::new(&cli.output);
    match run(cli.command, &cli.storage, &output) {
        Ok(()) => 0,
        Err(failure) => failure.report(&output),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use persist_test_support::help;

    use super::{Cli, log_filter};

    #[test]
    fn valid_directives_of_a_log_setting_apply() {
        let is_logged = |setting: &str, target: &str| log_filter(setting).would_enable(target, &tracing::Level::DEBUG);
        for (setting, logged, not_logged) in [
            ("persist_host=debug", "persist_host::s3", "aws_config"),
            ("persist_host=debug,aws_config=debug", "aws_config", "hyper"),
            ("debug", "hyper", "regalloc2"),
            ("trace, regalloc2=trace", "regalloc2", "wasmtime"),
            ("no level=5,,persist_host=debug", "persist_host", "hyper"),
            ("warn,persist_host", "persist_host", "hyper"),
        ] {
            assert!(is_logged(setting, logged) && !is_logged(setting, not_logged), "{setting}");
        }
        assert_eq!(log_filter("").default_level(), None);
    }

    #[test]
    fn every_option_and_every_value_has_help() {
        let mut command = Cli::command();
        command.build();
        command.clone().debug_assert();
        assert!(command.get_subcommands().count() > 12);
        assert_eq!(help::without_help(&command), Vec::<String>::new());
    }
}
