//! The rules for keys, and the names of unfinished writes.

pub(crate) use persist_paths::key::{is_unlocked_temporary, split};

use crate::bindings::wit::{Error, ErrorCode};
use crate::failure::error;

/// Returns a name for a file that is being written.
pub(crate) fn temporary_name() -> String {
    persist_paths::key::unlocked_temporary_name(&format!("{:016x}", wasip2::random::random::get_random_u64()))
}

/// Checks a key against the rules of the contract.
pub(crate) fn check(key: &str) -> Result<(), Error> {
    match persist_paths::key::file_problem(key) {
        None => Ok(()),
        Some(problem) => Err(error(ErrorCode::InvalidKey, format!("the key is not valid: {problem}"))),
    }
}
