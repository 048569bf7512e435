//! The developer's commands: `cargo xtask demo`, `cargo xtask test`.
//!
//! Uses the standard library alone, so that the first command in a fresh clone
//! starts after a second.

mod bench;
mod component;
mod components;
mod demo;
mod edge;
mod exit;
#[cfg(test)]
mod features;
mod fuzz;
mod precompile;
mod python;
mod pythons;
mod shell;
mod soak;
mod test;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "\
Usage: cargo xtask COMMAND

Commands:
  demo              build, save the state of a sample agent, verify and restore it
  test              build, run every test
  pythons           the tests of the Python package, on every other Python from
                    3.10 to 3.14 that is found; a part of test
  fuzz [SECONDS]    fuzz every reader of untrusted bytes, each for so long [600];
                    needs a nightly toolchain and cargo-fuzz
  soak [SECONDS]    many processes on one folder, one bucket and through
                    storage-fs, killed at random moments, for so long each [60];
                    states of 1 GiB, more kills and races
  bench [OPTION]… [PART]…
                    measure, and print ratios; --check fails on one that is
                    missed, --quick leaves out what takes minutes; PART is s3,
                    package (of Python), or one of the snapshots' [all]
  component [FILE]  build the WebAssembly component, into FILE [persist.wasm]
  dist [DIR]        write what is published into DIR [dist]: the components, the
                    WIT package, checksums, a list of what is inside
  edge              build the command for small machines: no S3, as small as it gets";

/// The root of the workspace. Cargo says it when it runs this: what it said when
/// it built this may be another clone's, where clones share a target folder.
fn workspace() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    // The package is one level below it.
    package.ancestors().nth(1).unwrap_or(Path::new(".")).to_owned()
}

fn build_component(file: &Path) -> Result<(), String> {
    shell::install_target()?;
    let built = component::build(&workspace(), &shell::target_dir()?.join("component"))?;
    std::fs::copy(&built, file).map_err(|error| format!("{}: {error}", file.display()))?;
    println!("{}", file.display());
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["demo"] => demo::run(),
        ["test"] => test::run(),
        ["pythons"] => python::on_others(),
        ["bench", ref options @ ..] => bench::run(options),
        ["soak"] => soak::run("60"),
        ["soak", seconds] => soak::run(seconds),
        ["fuzz"] => fuzz::run("600"),
        ["fuzz", seconds] => fuzz::run(seconds),
        ["edge"] => edge::build().map(|built| println!("{}", built.display())),
        ["component"] => build_component(Path::new("persist.wasm")),
        ["dist"] => components::dist(Path::new("dist")),
        ["dist", folder] => components::dist(Path::new(folder)),
        ["component", file] => build_component(Path::new(file)),
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(())
        }
        _ => Err(format!("unknown command\n\n{USAGE}")),
    };
    exit::code(done)
}
