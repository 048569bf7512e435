//! How the developer's programs and build scripts end. Shared by all of them.

use std::process::ExitCode;

/// The exit code of what was done. What went wrong is said on stderr.
pub(crate) fn code(done: Result<(), String>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
