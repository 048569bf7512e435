//! The `persist` command: saves the state of an agent and restores it.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(persist_cli::main(std::env::args_os()))
}
