//! Names that nobody else chooses.

use crate::error::{ErrorCode, PersistError, Result};

/// 128 random bits, as 32 hexadecimal digits.
///
/// # Errors
/// `Other` where the system gives no random numbers.
pub(crate) fn random_hex() -> Result<String> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits)
        .map_err(|error| PersistError::new(ErrorCode::Other, format!("the system gives no random numbers: {error}")))?;
    Ok(format!("{:032x}", u128::from_le_bytes(bits)))
}
