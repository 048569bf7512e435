//! The `persist` command: saves the state of an agent and brings it back.

mod completions;
mod copy;
mod delete;
mod doctor;
mod exists;
mod interrupt;
mod list;
mod man;
mod output;
mod progress;
mod restore;
mod salvage;
mod show;
mod snapshot;
mod storage;
mod target;
mod verify;

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::sync::LazyLock;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use self::output::{Failure, Output, OutputOptions};
use self::storage::StorageArguments;
use crate::{ErrorCode, PersistError};

/// Saves the state of an agent and brings it back, byte for byte.
///
/// A location is a path, file:///path, s3://bucket/key or memory://key. A path
/// is taken below PERSIST_LOCAL_PATH if that is set; PERSIST_STORAGE (local, s3
/// or memory) and PERSIST_S3_BUCKET say where a location without a scheme is.
///
/// Exit codes: 0 done, 2 wrong argument, 3 not found, 4 exists already or
/// changed meanwhile, 5 damaged or not a snapshot, 6 not allowed, 7 bucket
/// missing or not supported, 8 network or disk, 9 limit of the sandbox, 1
/// anything else.
#[derive(Parser)]
#[command(name = "persist", version, long_version = long_version(), propagate_version = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    storage: StorageArguments,
    #[command(flatten)]
    output: OutputOptions,
}

#[derive(Subcommand)]
enum Command {
    // Much larger than the others.
    Snapshot(Box<snapshot::Arguments>),
    Restore(restore::Arguments),
    Show(show::Arguments),
    Verify(verify::Arguments),
    Exists(exists::Arguments),
    Delete(delete::Arguments),
    List(list::Arguments),
    Copy(copy::Arguments),
    Salvage(salvage::Arguments),
    Doctor(doctor::Arguments),
    Completions(completions::Arguments),
    Man(man::Arguments),
}

/// The version, and what decides how snapshots look: format and component.
fn long_version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        let hash: String = crate::component_hash().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{}\nformat {}\ncomponent {hash}", env!("CARGO_PKG_VERSION"), crate::FORMAT_VERSION)
    });
    &VERSION
}

fn run(command: Command, storage: &StorageArguments, output: &Output) -> Result<(), Failure> {
    match command {
        Command::Snapshot(arguments) => snapshot::run(&arguments, storage, output),
        Command::Restore(arguments) => restore::run(&arguments, storage, output),
        Command::Show(arguments) => show::run(&arguments, storage, output),
        Command::Verify(arguments) => verify::run(&arguments, storage, output),
        Command::Exists(arguments) => exists::run(&arguments, storage, output),
        Command::Delete(arguments) => delete::run(&arguments, storage, output),
        Command::List(arguments) => list::run(&arguments, storage, output),
        Command::Copy(arguments) => copy::run(&arguments, storage, output),
        Command::Salvage(arguments) => salvage::run(&arguments, storage, output),
        Command::Doctor(arguments) => doctor::run(&arguments, storage, output),
        Command::Man(arguments) => man::run(&arguments),
        Command::Completions(arguments) => completions::run(&arguments),
    }
}

/// Logs go to stderr, as `RUST_LOG` says: `RUST_LOG=persist_host=debug`. The
/// library's earlier name `persist_core` still works there.
pub fn start_logging() {
    let Ok(filter) = std::env::var(EnvFilter::DEFAULT_ENV) else { return };
    // 'debug' means this program, not how its compiler allocates registers;
    // a directive of the user's for one of these wins.
    const QUIET: &str = "cranelift_codegen=warn,cranelift_frontend=warn,regalloc2=warn,wasmtime=warn,wasmtime_environ=warn,\
        wasmtime_internal_cranelift=warn,wasmtime_internal_cache=warn";
    let filter = EnvFilter::builder().parse_lossy(format!("{QUIET},{}", filter.replace("persist_core", "persist_host")));
    // Where the program has its own, that is who listens.
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(io::stderr().is_terminal()).try_init();
}

fn parse(arguments: &[OsString]) -> Result<Cli, u8> {
    Cli::try_parse_from(arguments).map_err(|error| {
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

/// Runs the `persist` command in this process, and gives its exit code.
///
/// The arguments begin with the program's name. The command takes over Ctrl-C,
/// SIGTERM and SIGHUP, and what is logged.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let cli = match parse(&arguments) {
        Ok(cli) => cli,
        Err(exit_code) => return exit_code,
    };
    start_logging();
    let output = Output::new(&cli.output);
    match run(cli.command, &cli.storage, &output) {
        Ok(()) => 0,
        Err(failure) => failure.report(&output),
    }
}
