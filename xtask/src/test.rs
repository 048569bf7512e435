//! `cargo xtask test`: runs all tests, in stages.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::shell::{self, WITHOUT_COMPILER, announce, cargo, cargo_with_compiler, install_target};
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

    announce("Building and testing the command for small machines (5 minutes on two cores the first time)");
    let edge = edge::build()?;
    let mut tests = cargo();
    tests.args(["test", "--release", "--locked"]).args(WITHOUT_COMPILER).args(["--test", "edge", "--", "--show-output"]);
    run_tests(tests.env("PERSIST_EDGE", edge))?;

    python::test()?;

    if std::env::var("RUN_S3_TESTS").is_ok_and(|value| value == "1") {
        announce("Testing the bucket in TEST_S3_BUCKET");
        shell::run(cargo().args(["test", "--release", "--locked"]).args(WITHOUT_COMPILER).args(["--test", "real_bucket"]))?;
    }
    Ok(())
}

/// Runs tests, and repeats the failures at the end, where they are not lost among
/// thousands of lines.
fn run_tests(command: &mut Command) -> Result<(), String> {
    let mut tests = command.stdout(Stdio::piped()).spawn().map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    let output = tests.stdout.take().ok_or("the tests have no output")?;
    let (mut failures, mut is_failure) = (String::new(), false);
    for line in BufReader::new(output).lines() {
        let line = line.map_err(|error| format!("could not read the output of the tests: {error}"))?;
        println!("{line}");
        is_failure = (is_failure || line == "failures:") && !line.starts_with("test result:");
        if is_failure {
            failures.push_str(&line);
            failures.push('\n');
        }
    }
    let status = tests.wait().map_err(|error| format!("could not wait for the tests: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}\n{failures}")) }
}
