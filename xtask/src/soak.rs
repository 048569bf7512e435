//! `cargo xtask soak`: many processes on one place, for as long as is wanted.

use crate::shell::{self, cargo};

/// Runs for so many seconds in each of the places.
pub(crate) fn run(seconds: &str) -> Result<(), String> {
    seconds.parse::<u64>().map_err(|_| format!("'{seconds}' is not a number of seconds"))?;
    shell::install_target()?;
    // Of the whole workspace, so that nothing is built with other features than for
    // the tests.
    let mut soak = cargo();
    soak.args(["test", "--release", "--locked", "--workspace", "--test", "soak", "--", "--nocapture"]);
    shell::run(soak.env("PERSIST_SOAK_SECONDS", seconds))
}
