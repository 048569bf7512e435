//! Names that nobody else chooses.

use crate::error::{ErrorCode, PersistError, Result};

/// A number that may be any.
///
/// # Errors
/// As [`random_hex`].
pub(crate) fn random_number() -> Result<u64> {
    getrandom::u64().map_err(|error| no_random_numbers(&error))
}

fn no_random_numbers(error: &getrandom::Error) -> PersistError {
    PersistError::new(ErrorCode::Other, format!("the system gives no random numbers: {error}"))
}

/// 128 random bits, as 32 hexadecimal digits.
///
/// # Errors
/// `Other` where the system gives no random numbers.
pub(crate) fn random_hex() -> Result<String> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).map_err(|error| no_random_numbers(&error))?;
    Ok(format!("{:032x}", u128::from_le_bytes(bits)))
}
