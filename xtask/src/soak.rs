//! `cargo xtask soak`: many processes on one place, for as long as is wanted.

use crate::shell::{self, WITHOUT_COMPILER, cargo};

/// Those that do more here than with all others.
const TESTS: [&str; 5] = ["soak", "large", "crashes", "component", "finding"];

/// Runs for so many seconds in each of the places.
pub(crate) fn run(seconds: &str) -> Result<(), String> {
    seconds.parse::<u64>().map_err(|_| format!("'{seconds}' is not a number of seconds"))?;
    shell::install_target()?;
    let mut soak = cargo();
    soak.args(["test", "--release", "--locked"])
        .args(WITHOUT_COMPILER)
        .args(TESTS.iter().flat_map(|test| ["--test", test]))
        .args(["--", "--nocapture"]);
    shell::run(soak.env("PERSIST_SOAK_SECONDS", seconds))
}
