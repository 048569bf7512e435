//! The `persist` command: saves the state of an agent and brings it back.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(persist_host::cli::main(std::env::args_os()))
}
