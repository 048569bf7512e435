//! The build for small machines: the command without S3, optimised for size.

use std::path::{Path, PathBuf};

use persist_recipe::precompile::PROFILE;

use crate::shell::{WITHOUT_COMPILER, announce, cargo, cargo_in_compiler_profile, install_target, run, run_tests_alone, target_dir};

/// The component is compiled by a program that all profiles share.
const SELECTION: [&str; 7] =
    ["--package", "persist-cli", "--package", "workspace-hack", "--no-default-features", "--features", "persist-cli/native"];

/// Builds the command and returns its path.
pub(crate) fn build() -> Result<PathBuf, String> {
    install_target()?;
    run(cargo().args(["build", "--locked", "--profile", "edge"]).args(["--bin", "persist"]).args(SELECTION))?;
    Ok(target_dir()?.join("edge").join("persist"))
}

/// Builds the command and tests it.
pub(crate) fn test() -> Result<(), String> {
    announce("Building and testing the command for small machines (5 minutes on two cores the first time)");
    run_on(&build()?)
}

/// Tests the same selection of code in an unoptimised command, which builds in a fifth of
/// the time.
pub(crate) fn test_unoptimised() -> Result<(), String> {
    announce("Building and testing the command without S3, unoptimised");
    run(cargo_in_compiler_profile("build")?.args(["--bin", "persist"]).args(SELECTION))?;
    run_on(&target_dir()?.join(PROFILE).join("persist"))
}

fn run_on(command: &Path) -> Result<(), String> {
    let mut tests = cargo();
    tests.args(["test", "--release", "--locked"]).args(WITHOUT_COMPILER).args(["--test", "edge", "--", "--show-output"]);
    run_tests_alone(tests.env("PERSIST_EDGE", command))
}
