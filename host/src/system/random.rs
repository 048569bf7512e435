//! Random numbers and names.

use persist_model::{ErrorCode, PersistError, Result};

/// Returns a random number.
///
/// # Errors
/// As [`random_hex`].
pub(crate) fn random_number() -> Result<u64> {
    getrandom::u64().map_err(no_random_numbers)
}

pub(crate) fn no_random_numbers(error: getrandom::Error) -> PersistError {
    PersistError::new(ErrorCode::Other, format!("the system provided no random numbers: {error}")).caused_by(error)
}

/// Returns 128 random bits as 32 hexadecimal digits.
///
/// # Errors
/// `Other` if the system provides no random numbers.
pub(crate) fn random_hex() -> Result<String> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).map_err(no_random_numbers)?;
    Ok(format!("{:032x}", u128::from_le_bytes(bits)))
}
