//! Builds components for WebAssembly, and compiles them ahead of time for processors.
//! The host's build script, the developer's commands and the tests share this recipe,
//! so each component and the compiler are built once.
//!
//! This crate uses only the standard library, since it is compiled before everything
//! else.

pub mod component;
pub mod precompile;

use std::process::ExitCode;

/// Returns the exit code for the result of a program. Prints the error to stderr.
pub fn exit_code(done: Result<(), String>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
