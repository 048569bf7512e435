//! Running other programs, and installing what they need.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use persist_recipe::component::{TARGET, target_is_installed};
use persist_recipe::precompile::{PREBUILT, PROFILE, Precompiler};

/// Returns the root of the workspace. Cargo sets it when it runs this program. The value
/// at build time may belong to another clone, if clones share a target folder.
pub(crate) fn workspace() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    // The package is one level below the root.
    package.ancestors().nth(1).unwrap_or(Path::new(".")).to_owned()
}

/// Returns the cargo that runs this program, or the one in the path.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    as_from_a_shell(&mut command).current_dir(workspace());
    command
}

/// Removes the variables that cargo sets when it runs this program. Build scripts compare
/// them with those of the last build: ring, and everything that depends on it, would be
/// built again whenever a build from a shell follows one from here.
pub(crate) fn as_from_a_shell(command: &mut Command) -> &mut Command {
    let is_set_by_cargo =
        |name: &OsString| name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_set_by_cargo(name)) {
        command.env_remove(name);
    }
    command
}

/// All packages except those that contain a compiler of components. Tests and benchmarks
/// use the same selection, so that shared packages are built once; `features.rs` tests
/// their features.
pub(crate) const WITHOUT_COMPILER: [&str; 5] = ["--workspace", "--exclude", "persist-precompile", "--exclude", "persist-example-host"];

/// Builds the command with the same packages as the tests.
pub(crate) fn build_command() -> Result<(), String> {
    run(cargo().args(["build", "--release", "--locked"]).args(WITHOUT_COMPILER).args(["--bin", "persist"]))
}

/// The packages that contain a compiler of components.
pub(crate) const WITH_COMPILER: [&str; 6] =
    ["--package", "persist-precompile", "--package", "persist-example-host", "--package", "workspace-hack"];

/// Returns a cargo command for the packages that contain a compiler.
pub(crate) fn cargo_with_compiler(command: &str) -> Result<Command, String> {
    let mut cargo = cargo_in_compiler_profile(command)?;
    cargo.args(WITH_COMPILER);
    Ok(cargo)
}

/// Returns a cargo command in the profile of the packages that contain a compiler, which is
/// not optimised.
pub(crate) fn cargo_in_compiler_profile(command: &str) -> Result<Command, String> {
    let target = target_dir()?;
    let precompile = Precompiler::new(&workspace(), &target, None)?;
    let mut cargo = cargo();
    cargo.args([command, "--locked", "--profile", PROFILE]);
    // The build script cannot build the compiler in the target folder that this cargo has
    // locked.
    cargo.env(PREBUILT, precompile.program());
    Ok(cargo)
}

/// Runs a command that shows its own output.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let status = command.status().map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}")) }
}

/// Returns what a command writes to stderr. It has to succeed.
pub(crate) fn output_of(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(text) } else { Err(format!("{command:?}: {}\n{text}", output.status)) }
}

/// Returns the program that cargo names at the end of a line that begins like this.
pub(crate) fn program(beginning: &str, line: &str) -> Option<String> {
    let (_, program) = line.trim_start().strip_prefix(beginning)?.split_once(" (")?;
    program.strip_suffix(')').map(str::to_owned)
}

/// What came of tests.
#[derive(Default)]
pub(crate) struct Tested {
    /// The programs that were run.
    pub(crate) programs: BTreeSet<String>,
    /// The output, if it was not shown.
    pub(crate) output: String,
    /// The part of the output that is about failures.
    pub(crate) failures: String,
}

/// Runs tests. Shows their output as it comes, or returns it. Failures are returned in any
/// case, since they would be lost among thousands of lines.
pub(crate) fn run_tests(command: &mut Command, is_shown: bool) -> Result<Tested, String> {
    let mut tests = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    let (output, news) = tests.stdout.take().zip(tests.stderr.take()).ok_or("the tests have no output")?;
    let (mut tested, mut is_failure) = (Tested::default(), false);
    let counting = thread::spawn(move || {
        let mut programs = BTreeSet::new();
        for line in BufReader::new(news).lines().map_while(Result::ok) {
            programs.extend(program("Running ", &line));
            eprintln!("{line}");
        }
        programs
    });
    for line in BufReader::new(output).lines() {
        let line = line.map_err(|error| format!("could not read the output of the tests: {error}"))? + "\n";
        if is_shown {
            print!("{line}");
        } else {
            tested.output.push_str(&line);
        }
        is_failure = (is_failure || line == "failures:\n") && !line.starts_with("test result:");
        if is_failure {
            tested.failures.push_str(&line);
        }
    }
    tested.programs = counting.join().map_err(|_| "a thread panicked")?;
    let status = tests.wait().map_err(|error| format!("could not wait for the tests: {error}"))?;
    if !status.success() && tested.failures.is_empty() {
        tested.failures = format!("{command:?}: {status}\n");
    }
    Ok(tested)
}

/// Runs tests, shows their output, and repeats the failures at the end.
pub(crate) fn run_tests_alone(command: &mut Command) -> Result<(), String> {
    let tested = run_tests(command, true)?;
    if tested.failures.is_empty() { Ok(()) } else { Err(format!("tests failed\n{}", tested.failures)) }
}

/// Installs the standard library of the component's target, if it is missing.
pub(crate) fn install_target() -> Result<(), String> {
    if target_is_installed()? {
        return Ok(());
    }
    println!("Installing the Rust target {TARGET}");
    run(Command::new("rustup").args(["target", "add", TARGET]))
        .map_err(|error| format!("{error}\nThe component is built for {TARGET}; install its standard library and try again"))
}

/// Asks cargo for the target folder, which a user's configuration may move.
pub(crate) fn target_dir() -> Result<PathBuf, String> {
    let output =
        cargo().args(["metadata", "--no-deps", "--format-version", "1"]).output().map_err(|error| format!("cargo metadata: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let (_, rest) = text.split_once("\"target_directory\":\"").ok_or("cargo metadata names no target folder")?;
    // The string ends at the first quotation mark that is not escaped.
    let mut folder = String::new();
    let mut characters = rest.chars();
    loop {
        match characters.next() {
            Some('\\') => folder.extend(characters.next()),
            Some('"') => return Ok(PathBuf::from(folder)),
            Some(character) => folder.push(character),
            None => return Err("cargo metadata ends early".to_owned()),
        }
    }
}

/// Prints the heading of a stage.
pub(crate) fn announce(stage: &str) {
    println!("\n==> {stage}");
}

/// Formats a duration for people.
pub(crate) fn spoken(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{} ms", time.as_millis()),
        1..60 => format!("{:.1} s", time.as_secs_f64()),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::cargo;

    #[test]
    fn a_build_from_here_is_the_same_as_one_from_a_shell() {
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some(), "cargo runs this test");
        let removed = cargo().get_envs().filter(|(_, value)| value.is_none()).count();
        let set = std::env::vars().filter(|(name, _)| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")).count();
        assert_eq!(removed, set);
    }
}
