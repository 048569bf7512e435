//! `cargo xtask test`: runs all tests, in stages.

use crate::shell::{self, WITHOUT_COMPILER, announce, cargo, cargo_with_compiler, install_target, run_tests};
use crate::{edge, python};

pub(crate) fn run() -> Result<(), String> {
    announce("Setting up");
    install_target()?;

    announce("Building the component, the host and the tests (8 minutes on two cores the first time)");
    shell::run(cargo().args(["test", "--release", "--locked", "--no-run"]).args(WITHOUT_COMPILER))?;

    // With the output of the tests, which reports numbers of cases and sizes.
    announce("Running all tests (about 5 minutes, most of it for kills and faults)");
    run_tests(cargo().args(["test", "--release", "--locked", "--no-fail-fast"]).args(WITHOUT_COMPILER).args(["--", "--show-output"]))?;

    announce("Testing the packages that compile components");
    run_tests(cargo_with_compiler("test")?.args(["--", "--show-output"]))?;

    edge::test_unoptimised()?;

    python::test()?;

    if std::env::var("RUN_S3_TESTS").is_ok_and(|value| value == "1") {
        announce("Testing the bucket in TEST_S3_BUCKET");
        shell::run(cargo().args(["test", "--release", "--locked"]).args(WITHOUT_COMPILER).args(["--test", "real_bucket"]))?;
    }
    Ok(())
}
