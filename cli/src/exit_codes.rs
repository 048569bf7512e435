//! What the exit codes of the command mean, for the help. `model/src/error_codes.rs` gives
//! each error its number.

/// The exit codes and their meanings.
pub const EXIT_CODES: [(u8, &str); 16] = [
    (0, "success"),
    (1, "any other error"),
    (2, "invalid argument or setting"),
    (3, "not found"),
    (4, "already exists, or was changed by another writer"),
    (5, "damaged, or not a snapshot"),
    (6, "access denied, or no valid credentials"),
    (7, "no such bucket, or not supported by the storage"),
    (8, "network or disk error"),
    (9, "a resource limit was reached"),
    (10, "encrypted, and none of the available keys decrypts it"),
    (11, "not sealed by a trusted party"),
    (12, "done, but not synced to disk: a power cut may undo it"),
    (13, "outcome unknown: it may or may not have been done"),
    (130, "stopped by Ctrl-C, SIGTERM or SIGHUP"),
    (141, "the reader of the output closed the pipe"),
];

/// What applies to all exit codes.
pub const ABOUT_EXIT_CODES: &str = "\
After 12 or 13, something may have changed. After any other code except 0, nothing has,
unless the only thing that failed was printing the result. A command that fails on one of
several snapshots goes on with the others and exits with the worst code: 5 is the worst,
followed by 13; 12 counts least.";

/// Returns the exit codes as a section of the command's help.
pub fn exit_codes() -> String {
    let codes: String = EXIT_CODES.iter().map(|(code, meaning)| format!("  {code:>3}  {meaning}\n")).collect();
    format!("Exit codes:\n{codes}\n{ABOUT_EXIT_CODES}")
}

#[cfg(test)]
mod tests {
    use super::EXIT_CODES;

    #[test]
    fn every_exit_code_of_an_error_is_explained() {
        for code in persist_model::ErrorCode::ALL {
            let exit_code = persist_model::PersistError::new(*code, "").exit_code();
            assert!(EXIT_CODES.iter().any(|(known, _)| *known == exit_code), "{exit_code}");
        }
    }
}
