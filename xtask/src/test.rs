//! `cargo xtask test`: everything, in stages.

use crate::shell::{self, announce, cargo, install_target};

pub(crate) fn run() -> Result<(), String> {
    announce("Setting up");
    install_target()?;

    announce("Building the component, the host and the tests (the first time, 5 to 10 minutes on two cores)");
    shell::run(cargo().args(["test", "--release", "--locked", "--workspace", "--no-run"]))?;

    // With what the tests print: how much was tried, and how large things are.
    announce("All tests (states of 1 GiB, kills and faults take most of the time: about 10 minutes)");
    shell::run(cargo().args(["test", "--release", "--locked", "--workspace", "--no-fail-fast", "--", "--show-output"]))?;

    if std::env::var("RUN_S3_TESTS").is_ok_and(|value| value == "1") {
        announce("The bucket that TEST_S3_BUCKET names");
        shell::run(cargo().args(["test", "--release", "--locked", "--package", "persist-host", "--test", "real_bucket"]))?;
    }
    Ok(())
}
