//! The developer commands: `cargo xtask demo`, `cargo xtask test`.
//!
//! Uses only the standard library, so that the first command in a fresh clone starts
//! after a second.

mod bench;
mod circles;
mod components;
mod demo;
mod deny;
mod edge;
mod features;
mod fuzz;
mod python;
mod python_package;
mod pythons;
mod release;
mod rust_tests;
mod semver;
mod shell;
mod soak;
mod test;
mod tools;

use std::path::Path;
use std::process::ExitCode;

use persist_recipe::component;

const USAGE: &str = "\
Usage: cargo xtask COMMAND

Commands:
  demo              build, then save, verify and restore the state of a sample agent
  test              build and run all tests
  pythons           run the tests of the Python package on every other Python from
                    3.10 to 3.14 that is installed; also part of test
  fuzz [SECONDS]    fuzz every reader of untrusted bytes, each for SECONDS [600];
                    needs a nightly toolchain and cargo-fuzz
  soak [SECONDS]    run many processes on one folder, on one bucket and through
                    storage-fs, each for SECONDS [60], and kill them at random
                    moments; also test states of 1 GiB, more kills and more races
  bench [OPTION]… [PART]…
                    measure and print ratios; --check fails if a goal is missed,
                    --quick skips parts that take minutes; PART is s3, package (the
                    Python package) or a part of the snapshot benchmark [all]
  component [FILE]  build the WebAssembly component into FILE [persist.wasm]
  dist [DIR]        write everything that is published into DIR [dist]: the
                    components, the WIT package, checksums and a list of contents
  packages          build everything that is published, and install each package in an
                    empty environment
  release --dry-run [DIR]
                    write everything that is published into DIR [dist]: also the crates,
                    each built from its package, the Python and npm packages, notices and
                    bills of materials
  deny              check the licences, sources and versions of all dependencies
  features          compile the published crates with each of their features alone
  semver            compare the public interface of the crates with the last version's
  circles           find files of a crate that depend on each other in a circle
  edge [test]       build the command for small machines: without S3, optimised for size;
                    `test` also tests it";

fn build_component(file: &Path) -> Result<(), String> {
    shell::install_target()?;
    let built = component::build(&shell::workspace(), &shell::target_dir()?.join("component"))?;
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
        ["deny"] => deny::check(),
        ["features"] => features::check(),
        ["semver"] => semver::check(),
        ["circles"] => circles::check(),
        ["edge", "test"] => edge::test(),
        ["edge"] => edge::build().map(|built| println!("{}", built.display())),
        ["component"] => build_component(Path::new("persist.wasm")),
        ["dist"] => components::dist(Path::new("dist")),
        ["dist", folder] => components::dist(Path::new(folder)),
        ["packages"] => release::test(),
        ["release", "--dry-run"] => release::dry_run(Path::new("dist")),
        ["release", "--dry-run", folder] => release::dry_run(Path::new(folder)),
        ["component", file] => build_component(Path::new(file)),
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            Ok(())
        }
        _ => Err(format!("unknown command\n\n{USAGE}")),
    };
    persist_recipe::exit_code(done)
}
