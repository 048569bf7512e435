//! All Rust tests, in two lanes at the same time: tests that mostly wait for servers and
//! for processes, and tests that mostly compute. One after the other, they would leave a
//! processor idle a third of the time.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::thread;

use crate::circles::members;
use crate::shell::{WITHOUT_COMPILER, announce, cargo, output_of, program, run_tests, workspace};

/// The tests that mostly wait.
const WAITING: [&str; 8] = ["component", "crashes", "guards", "s3", "s3_faults", "s3_outcomes", "soak", "timelines"];

/// Builds the tests and runs them.
pub(crate) fn run() -> Result<(), String> {
    announce("Building the component, the host and the tests (8 minutes on two cores the first time)");
    let build = || {
        let mut build = cargo();
        build.args(["test", "--release", "--locked", "--no-run"]).args(WITHOUT_COMPILER);
        build
    };
    crate::shell::run(&mut build())?;
    let built: BTreeSet<String> = output_of(&mut build())?.lines().filter_map(|line| program("Executable ", line)).collect();

    announce("Running all tests (about 5 minutes, most of it for kills and faults)");
    let all = targets(&workspace())?;
    if let Some(missing) = WAITING.iter().find(|name| !all.contains(**name)) {
        return Err(format!("there is no test '{missing}'"));
    }
    let (waiting, computing): (Vec<_>, Vec<_>) = all.iter().partition(|name| WAITING.contains(&name.as_str()));
    let lane = |targets: &[&String], more: &[&str]| {
        let mut tests = cargo();
        tests.args(["test", "--release", "--locked", "--no-fail-fast"]).args(WITHOUT_COMPILER).args(more);
        // With the output of the tests, which reports numbers of cases and sizes.
        tests.args(targets.iter().flat_map(|name| ["--test", name.as_str()])).args(["--", "--show-output"]);
        tests
    };
    let (waited, computed) = thread::scope(|scope| {
        let waiting = scope.spawn(|| run_tests(&mut lane(&waiting, &[]), false));
        let computed = run_tests(&mut lane(&computing, &["--lib", "--bins"]), true);
        (waiting.join().unwrap_or_else(|_| Err("a thread panicked".to_owned())), computed)
    });
    let (waited, computed) = (waited?, computed?);
    print!("{}", waited.output);
    let documents = run_tests(cargo().args(["test", "--release", "--locked", "--doc"]).args(WITHOUT_COMPILER), true)?;
    let forgotten: Vec<&String> =
        built.iter().filter(|program| !waited.programs.contains(*program) && !computed.programs.contains(*program)).collect();
    if built.is_empty() || !forgotten.is_empty() {
        return Err(format!("of {} programs with tests, these were not run: {forgotten:?}", built.len()));
    }
    let failures = [waited, computed, documents].map(|tested| tested.failures).concat();
    if failures.is_empty() { Ok(()) } else { Err(format!("tests failed\n{failures}")) }
}

/// Returns the names of all targets that are tests, except those that are only run by name.
fn targets(workspace: &Path) -> Result<BTreeSet<String>, String> {
    let read = |path: &Path| fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()));
    let mut targets = declared(&read(&workspace.join("tests/Cargo.toml"))?);
    for member in members(&read(&workspace.join("Cargo.toml"))?)? {
        // Their targets are declared, or they are built with other packages.
        if ["tests", "examples/rust", "components/precompile"].contains(&member.as_str()) {
            continue;
        }
        let files = fs::read_dir(workspace.join(&member).join("tests")).into_iter().flatten().flatten();
        targets.extend(files.filter_map(|file| file.file_name().to_str()?.strip_suffix(".rs").map(str::to_owned)));
    }
    Ok(targets)
}

/// Returns the tests that a manifest declares in one line each.
fn declared(manifest: &str) -> BTreeSet<String> {
    let lines = manifest.lines().skip_while(|line| *line != "test = [").skip(1).take_while(|line| *line != "]");
    let tests = lines.filter(|line| !line.contains("test = false"));
    tests.filter_map(|line| line.split('"').nth(1).map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_tests_are_those_that_run_by_default() {
        let manifest = "bench = [\n    { name = \"b\", path = \"b.rs\" },\n]\ntest = [\n    { name = \"a\", path = \"a.rs\" },\n    \
                        { name = \"edge\", path = \"edge.rs\", test = false },\n]\n\n[package]\nname = \"p\"\n";
        assert_eq!(declared(manifest), BTreeSet::from(["a".to_owned()]));
    }

    #[test]
    fn the_tests_that_wait_exist() -> Result<(), String> {
        let all = targets(persist_test_support::workspace::workspace())?;
        assert!(WAITING.iter().all(|name| all.contains(*name)), "{all:?}");
        Ok(())
    }
}
