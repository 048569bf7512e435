//! Running other programs, and what has to be there for it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::component::{TARGET, target_is_installed};
use crate::precompile::{PREBUILT, PROFILE, Precompiler};
use crate::workspace;

/// The cargo that runs this, or the one in the path.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.current_dir(workspace());
    command
}

/// All packages but those that have a compiler of components in them: one
/// selection for tests and benchmarks, so that what both need is built once. Which
/// features that has is held by `tests/features.rs`.
pub(crate) const WITHOUT_COMPILER: [&str; 5] = ["--workspace", "--exclude", "persist-precompile", "--exclude", "persist-example-host"];

/// The packages that have one.
pub(crate) const WITH_COMPILER: [&str; 4] = ["--package", "persist-precompile", "--package", "persist-example-host"];

/// A cargo for the packages that have one.
pub(crate) fn cargo_with_compiler(command: &str) -> Result<Command, String> {
    let target = target_dir()?;
    let precompile = Precompiler::new(&workspace(), &target, None)?;
    let mut cargo = cargo();
    cargo.args([command, "--locked", "--profile", PROFILE]).args(WITH_COMPILER);
    // It can't build what it is building itself.
    cargo.env(PREBUILT, precompile.program());
    Ok(cargo)
}

/// Runs a command that shows its own output.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let status = command.status().map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}")) }
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

/// Where cargo builds: its own answer, since a user's configuration may move it.
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

/// A stage of a longer command.
pub(crate) fn announce(stage: &str) {
    println!("\n==> {stage}");
}

/// A time as people say it.
pub(crate) fn spoken(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{} ms", time.as_millis()),
        1..60 => format!("{:.1} s", time.as_secs_f64()),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}
