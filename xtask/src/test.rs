//! `cargo xtask test`: everything, in stages.

use crate::shell::{self, announce, cargo, install_target};

pub(crate) fn run() -> Result<(), String> {
    announce("Setting up");
    install_target()?;

    announce("Building the component, the host and the tests (the first time, 5 to 10 minutes on two cores)");
    shell::run(cargo().args(["test", "--release", "--locked", "--workspace", "--no-run"]))?;

    announce("Every bit, every truncation, every added byte of a snapshot");
    let tampering = ["test", "--release", "--locked", "--package", "persist-guest", "--test", "tamper", "--", "--nocapture"];
    shell::run(cargo().args(tampering))?;

    announce("All tests (the states of 1 GiB take two to three minutes)");
    shell::run(cargo().args(["test", "--release", "--locked", "--workspace", "--no-fail-fast"]))
}
