//! The wheels for Linux: for glibc and musl, for two processors, and for Pythons without a GIL.
//! Zig links them, against the oldest libraries that they are to run with.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use persist_recipe::component::{printed, short_paths};
use persist_recipe::precompile::{PREBUILT, Precompiler};

use super::folders::{files, fresh, subfolders};
use super::staging::Staging;
use crate::python_package::{environment, maturin};
use crate::shell::{announce, run, target_dir, workspace};

/// What builds and checks wheels.
const REQUIREMENTS: &str = "tests/packages/requirements.txt";

/// A kind of wheel.
struct Wheel {
    target: &'static str,
    /// The oldest libraries that it runs with.
    compatibility: &'static str,
    /// The Python that it is for; any from 3.10 on, if there is none.
    python: Option<&'static str>,
}

/// The first time that a file in a wheel can have: 1980-01-01, in seconds since 1970.
const EPOCH: &str = "315532800";

const X86_64: &str = "x86_64-unknown-linux-gnu";
const AARCH64: &str = "aarch64-unknown-linux-gnu";
const GLIBC: &str = "manylinux2014";
const MUSL: &str = "musllinux_1_2";
const FREE_THREADED: Option<&str> = Some("python3.14t");

const WHEELS: [Wheel; 6] = [
    Wheel { target: X86_64, compatibility: GLIBC, python: None },
    Wheel { target: X86_64, compatibility: GLIBC, python: FREE_THREADED },
    Wheel { target: "x86_64-unknown-linux-musl", compatibility: MUSL, python: None },
    Wheel { target: AARCH64, compatibility: GLIBC, python: None },
    Wheel { target: AARCH64, compatibility: GLIBC, python: FREE_THREADED },
    Wheel { target: "aarch64-unknown-linux-musl", compatibility: MUSL, python: None },
];

/// Returns the folder with the programs that build and check.
pub(crate) fn tools() -> Result<PathBuf, String> {
    environment(&target_dir()?.join("wheel-tools"), REQUIREMENTS)
}

/// Builds all wheels, and checks that each needs only what its name allows.
pub(crate) fn build(staging: &Staging, out: &Path) -> Result<(), String> {
    let (target_dir, programs) = (target_dir()?, tools()?);
    // Zig is a program of the Python in this environment.
    let path: Vec<PathBuf> = env::var_os("PATH").iter().flat_map(env::split_paths).collect();
    let path = env::join_paths([programs.clone()].iter().chain(&path)).map_err(|error| error.to_string())?;
    for Wheel { target, compatibility, python } in WHEELS {
        announce(&format!("Building the wheel for {target}{}", python.map_or_else(String::new, |python| format!(", {python}"))));
        run(Command::new("rustup").args(["target", "add", target]))?;
        let mut arguments = vec!["build", "--release", "--locked", "--zig", "--target", target, "--compatibility", compatibility];
        arguments.extend(python.iter().flat_map(|python| ["--interpreter", python]));
        // The compiler in the build script knows only the processor that it runs on. One that knows all
        // has other features, and is not built in the place of the usual one.
        let built_in = if target.starts_with(env::consts::ARCH) { target_dir.clone() } else { target_dir.join("all-arch") };
        let compiler = Precompiler::new(&workspace(), &built_in, Some(target))?;
        let built = fresh(&target_dir.join("wheel"))?;
        let mut maturin = maturin(&programs, &staging.root, &arguments, &built, &target_dir);
        maturin.env("CARGO_ENCODED_RUSTFLAGS", short_paths(&staging.root)?);
        run(maturin.env(PREBUILT, compiler.program()).env("PATH", &path))?;
        for wheel in files(&built, "whl")? {
            if compatibility == MUSL {
                rename_musl(&programs, &wheel, target, out)?;
            } else {
                fs::copy(&wheel, out.join(wheel.file_name().unwrap_or_default())).map_err(|error| failed(&wheel, error))?;
            }
        }
    }
    announce("Checking the wheels");
    for wheel in files(out, "whl")? {
        check(&programs, &wheel)?;
    }
    Ok(())
}

/// Gives the C library in a wheel the name that it has where musl is the system's. Zig has another
/// for it, which musl's loader takes for the same.
fn rename_musl(programs: &Path, wheel: &Path, target: &str, out: &Path) -> Result<(), String> {
    let unpacked = fresh(&target_dir()?.join("wheel-unpacked"))?;
    run(Command::new(programs.join("wheel")).arg("unpack").arg(wheel).arg("--dest").arg(&unpacked))?;
    let [root] = &subfolders(&unpacked)?[..] else { return Err(format!("{} has several folders", wheel.display())) };
    let processor = target.split('-').next().unwrap_or_default();
    let mut patch = Command::new(programs.join("patchelf"));
    patch.args(["--replace-needed", "libc.so", &format!("libc.musl-{processor}.so.1")]);
    run(patch.args(files(&root.join("persist"), "so")?))?;
    // The time that maturin gives to all files, too.
    let mut pack = Command::new(programs.join("wheel"));
    run(pack.env("SOURCE_DATE_EPOCH", EPOCH).arg("pack").arg(root).arg("--dest-dir").arg(out))
}

/// Checks that a wheel needs only what its name says, and that one for all versions of Python uses only
/// their stable interface.
fn check(programs: &Path, wheel: &Path) -> Result<(), String> {
    let name = wheel.file_name().unwrap_or_default().to_string_lossy();
    let audit = printed(Command::new(programs.join("auditwheel")).args(["show", "--json"]).arg(wheel))?;
    let found = audit.split_once("\"overall_tag\": \"").and_then(|(_, rest)| rest.split('"').next());
    match found {
        Some(found) if name.contains(found) => println!("{name} is consistent with {found}"),
        found => return Err(format!("{name} is only consistent with {}:\n{audit}", found.unwrap_or("nothing"))),
    }
    if name.contains("-abi3-") {
        run(Command::new(programs.join("abi3audit")).args(["--strict", "--summary"]).arg(wheel))?;
    }
    Ok(())
}

fn failed(path: &Path, error: std::io::Error) -> String {
    format!("{}: {error}", path.display())
}
