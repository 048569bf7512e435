//! The `persist` command: saves the state of an agent and brings it back.

mod completions;
mod copy;
mod doctor;
mod host;
mod interrupt;
mod man;
mod progress;
mod salvage;
mod storage;

use std::ffi::OsString;
use std::io::{self, IsTerminal};

use clap::{Parser, Subcommand};
use persist_cli::output;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use self::host::Native;
use self::output::{Failure, Output, OutputOptions};
use self::storage::StorageArguments;

/// Saves the state of an agent and brings it back, byte for byte.
///
/// A location is a path, file:///path, s3://bucket/key or memory://key. A path
/// is taken below PERSIST_LOCAL_PATH if that is set; PERSIST_STORAGE (local, s3
/// or memory) and PERSIST_S3_BUCKET say where a location without a scheme is.
#[derive(Parser)]
#[command(
    name = "persist",
    version,
    long_version = long_version(),
    propagate_version = true,
    max_term_width = 100,
    after_long_help = persist_cli::exit_codes()
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
    Everywhere(persist_cli::Command),
    Copy(copy::Arguments),
    Salvage(salvage::Arguments),
    Doctor(doctor::Arguments),
    Completions(completions::Arguments),
    Man(man::Arguments),
}

fn long_version() -> &'static str {
    let hash: String = crate::component_hash().iter().map(|byte| format!("{byte:02x}")).collect();
    persist_cli::long_version(&hash)
}

fn run(command: Command, storage: &StorageArguments, output: &Output) -> Result<(), Failure> {
    match command {
        Command::Everywhere(command) => command.run(&Native::new(storage)?, output),
        Command::Copy(arguments) => copy::run(&arguments, storage, output),
        Command::Salvage(arguments) => salvage::run(&arguments, storage, output),
        Command::Doctor(arguments) => doctor::run(&arguments, storage, output),
        Command::Man(arguments) => man::run(&arguments),
        Command::Completions(arguments) => completions::run(&arguments),
    }
}

/// The variable that says what is logged.
const LOG: &str = "RUST_LOG";

/// What a setting such as `persist_host=debug,warn` asks for. What can't be read
/// of it is said, and left out.
fn log_filter(setting: &str) -> Targets {
    // 'debug' means this program, not how its compiler allocates registers;
    // a directive of the user's for one of these wins.
    const QUIET: &str = "cranelift_codegen=warn,cranelift_frontend=warn,regalloc2=warn,wasmtime=warn,wasmtime_environ=warn,\
        wasmtime_internal_cranelift=warn";
    let can_be_read = |directive: &&str| {
        let can_be_read = directive.parse::<Targets>().is_ok();
        if !can_be_read {
            eprintln!("warning: {LOG}: '{}' is not TARGET=LEVEL, and is left out", directive.escape_debug());
        }
        can_be_read
    };
    let directives = setting.split(',').map(str::trim).filter(|directive| !directive.is_empty()).filter(can_be_read);
    let all: Vec<&str> = std::iter::once(QUIET).chain(directives).collect();
    all.join(",").parse().unwrap_or_default()
}

/// Logs go to stderr, as `RUST_LOG` says: `RUST_LOG=persist_host=debug`. The
/// library's earlier name `persist_core` still works there.
pub fn start_logging(is_verbose: bool) {
    let setting = match std::env::var(LOG) {
        Ok(setting) => setting,
        Err(_) if is_verbose => "persist_host=debug,persist_cli=debug".to_owned(),
        Err(_) => return,
    };
    let filter = log_filter(&setting.replace("persist_core", "persist_host"));
    let log = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal());
    // Where the program has its own, that is who listens.
    let _ = tracing_subscriber::registry().with(log.with_filter(filter)).try_init();
}

/// Runs the `persist` command in this process, and gives its exit code.
///
/// The arguments begin with the program's name. The command takes over Ctrl-C,
/// SIGTERM and SIGHUP, and what is logged.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let cli: Cli = match persist_cli::parse(&arguments) {
        Ok(cli) => cli,
        Err(exit_code) => return exit_code,
    };
    start_logging(cli.output.verbose);
    // What only prints a text does nothing that could be in its way.
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
#[path = "../../../tests/support/help.rs"]
mod help;

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::{Cli, help, log_filter};

    #[test]
    fn what_can_be_read_of_a_log_setting_is_followed() {
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
    fn every_option_and_every_value_has_a_text() {
        let mut command = Cli::command();
        command.build();
        command.clone().debug_assert();
        assert!(command.get_subcommands().count() > 12);
        assert_eq!(help::without_help(&command), Vec::<String>::new());
    }
}
