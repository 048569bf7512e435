//! `cargo xtask soak`: many processes on one storage, for as long as requested.

use crate::python;
use crate::shell::{self, WITHOUT_COMPILER, cargo};

/// The tests that do more here than in `cargo xtask test`.
const TESTS: [&str; 8] = ["soak", "large", "crashes", "component", "finding", "s3_faults", "timeline_model", "timelines"];

/// Runs for `seconds` on each storage.
pub(crate) fn run(seconds: &str) -> Result<(), String> {
    seconds.parse::<u64>().map_err(|_| format!("'{seconds}' is not a number of seconds"))?;
    shell::install_target()?;
    shell::build_command()?;
    let mut soak = cargo();
    soak.args(["test", "--release", "--locked"])
        .args(WITHOUT_COMPILER)
        .args(TESTS.iter().flat_map(|test| ["--test", test]))
        .args(["--", "--nocapture"]);
    shell::run(soak.env("PERSIST_SOAK_SECONDS", seconds))?;
    python::soak()
}
