//! `cargo xtask test`: runs all tests, in stages.

use crate::shell::{self, WITHOUT_COMPILER, announce, cargo, cargo_with_compiler, install_target, run_tests_alone};
use crate::{edge, python, release, rust_tests};

pub(crate) fn run() -> Result<(), String> {
    announce("Setting up");
    install_target()?;
    release::remove_left()?;
    rust_tests::run()?;

    announce("Testing the packages that compile components");
    run_tests_alone(cargo_with_compiler("test")?.args(["--", "--show-output"]))?;

    edge::test_unoptimised()?;

    python::test()?;

    if std::env::var("RUN_S3_TESTS").is_ok_and(|value| value == "1") {
        announce("Testing the bucket in TEST_S3_BUCKET");
        shell::run(cargo().args(["test", "--release", "--locked"]).args(WITHOUT_COMPILER).args(["--test", "real_bucket"]))?;
    }
    Ok(())
}
