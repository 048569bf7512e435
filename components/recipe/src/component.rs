//! Builds packages of the workspace as WebAssembly components.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{self, Command};

/// The target that components are built for.
pub const TARGET: &str = "wasm32-wasip2";

/// Variables that the user or an outer build set for another compilation. Nested
/// builds don't inherit them.
pub const FOREIGN: [&str; 8] = [
    "CARGO_ENCODED_RUSTFLAGS",
    "RUSTFLAGS",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_TARGET_WASM32_WASIP2_RUSTFLAGS",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "CARGO_PROFILE_RELEASE_DEBUG",
];

/// Returns the program that a variable of cargo's names, such as `RUSTC`.
pub fn tool(variable: &str, default: &str) -> OsString {
    env::var_os(variable).unwrap_or_else(|| default.into())
}

/// Runs a command and returns what it prints, without white space at its ends.
///
/// # Errors
/// What the command writes to stderr, if it fails.
pub fn printed(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Returns whether the compiler has the standard library of the target.
///
/// # Errors
/// If there is no compiler.
pub fn target_is_installed() -> Result<bool, String> {
    let libraries = printed(Command::new(tool("RUSTC", "rustc")).args(["--print", "target-libdir", "--target", TARGET]))?;
    Ok(Path::new(&libraries).is_dir())
}

/// SIMD makes saving about 10 % faster and restoring 5 %. Every host that runs
/// components has it.
const FEATURES: &str = "-Ctarget-feature=+simd128";

/// Between flags in `CARGO_ENCODED_RUSTFLAGS`.
const SEPARATOR: &str = "\u{1f}";

/// The folder of what is compiled with these flags. Cargo does not compile again what only other names
/// of paths would change, so rename it whenever they change.
const NAMED: &str = "short-paths";

/// Returns the compiler's flags, as `CARGO_ENCODED_RUSTFLAGS` has them, that keep the paths of this
/// machine out of what is built: the same source gives the same bytes in every folder.
///
/// # Errors
/// If there is no compiler, or no folder for cargo's files.
pub fn short_paths(workspace: &Path) -> Result<OsString, String> {
    let cargo_home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::home_dir().map(|home| home.join(".cargo")))
        .ok_or("neither CARGO_HOME nor a home folder is set")?;
    let sysroot = printed(Command::new(tool("RUSTC", "rustc")).args(["--print", "sysroot"]))?;
    let mut pairs = vec![
        (workspace.to_owned(), OsStr::new("/persist").to_owned()),
        (cargo_home.clone(), OsStr::new("/cargo").to_owned()),
        (PathBuf::from(sysroot), OsStr::new("/rust").to_owned()),
    ];
    // A registry's folder is named after its address. The names of its packages say enough. The
    // last rule that matches applies.
    let registries = cargo_home.join("registry").join("src");
    if !registries.is_dir() {
        // Cargo makes the folder when it unpacks the first package, which this does.
        printed(Command::new(tool("CARGO", "cargo")).current_dir(workspace).args([
            "tree",
            "--quiet",
            "--package",
            "persist-guest",
            "--target",
            TARGET,
        ]))?;
    }
    if let Ok(registries) = fs::read_dir(registries) {
        pairs.extend(registries.flatten().map(|registry| (registry.path(), OsStr::new("").to_owned())));
    }
    let mut flags = OsString::new();
    for (from, to) in pairs {
        if !flags.is_empty() {
            flags.push(SEPARATOR);
        }
        flags.push("--remap-path-prefix=");
        flags.push(from);
        flags.push("=");
        flags.push(to);
    }
    Ok(flags)
}

/// Builds `persist.wasm` and returns its path. The compiler writes into `target_dir`.
///
/// # Errors
/// If the target is not installed or the build fails.
pub fn build(workspace: &Path, target_dir: &Path) -> Result<PathBuf, String> {
    let built = build_package(workspace, "persist-guest", target_dir)?;
    let described = target_dir.join("persist.wasm");
    let failed = |error: io::Error| format!("{}: {error}", described.display());
    let wasm = with_description(fs::read(&built).map_err(|error| format!("{}: {error}", built.display()))?);
    if fs::read(&described).is_ok_and(|earlier| earlier == wasm) {
        return Ok(described);
    }
    // Others may be reading an earlier one.
    let new = target_dir.join(format!("persist.wasm.{}", process::id()));
    fs::write(&new, wasm).and_then(|()| fs::rename(&new, &described)).map_err(failed)?;
    Ok(described)
}

/// What the component says about itself, in the sections that tools and OCI registries read. Hosts
/// embed it and name it by its hash, so it has them from the start.
const DESCRIPTION: [(&str, &str); 4] = [
    ("version", env!("CARGO_PKG_VERSION")),
    ("description", "Snapshots and timelines of the states of agents"),
    ("licenses", env!("CARGO_PKG_LICENSE")),
    ("source", env!("CARGO_PKG_REPOSITORY")),
];

/// Returns a component with its description. Tools that write these sections would draw a parser of
/// WebAssembly into the first command in a fresh clone; a section without structure needs none.
#[must_use]
pub fn with_description(mut wasm: Vec<u8>) -> Vec<u8> {
    for (name, value) in DESCRIPTION {
        let contents = [&size(name.len())[..], name.as_bytes(), value.as_bytes()].concat();
        // A section of kind 0, which readers that don't know its name skip.
        wasm.push(0);
        wasm.extend(size(contents.len()));
        wasm.extend(contents);
    }
    wasm
}

/// Returns a size as WebAssembly writes it: seven bits to a byte, the lowest first.
fn size(mut size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while size >= 0x80 {
        bytes.push(size as u8 | 0x80);
        size >>= 7;
    }
    bytes.push(size as u8);
    bytes
}

/// Builds a library of the workspace as a component and returns its path.
///
/// # Errors
/// As [`build`].
pub fn build_package(workspace: &Path, package: &str, target_dir: &Path) -> Result<PathBuf, String> {
    build_part(workspace, package, "--lib", target_dir, &[]).map(|folder| folder.join(format!("{}.wasm", package.replace('-', "_"))))
}

/// Builds a program of the workspace as a component and returns its path. The program
/// prints `hash`, the SHA-256 of the component that it runs on, with its version.
///
/// # Errors
/// As [`build`].
pub fn build_command(workspace: &Path, package: &str, target_dir: &Path, hash: &str) -> Result<PathBuf, String> {
    let built = build_part(workspace, package, "--bins", target_dir, &[("PERSIST_COMPONENT_HASH", hash)]);
    built.map(|folder| folder.join(format!("{package}.wasm")))
}

/// Builds a part of a package and returns the output folder.
fn build_part(workspace: &Path, package: &str, part: &str, target_dir: &Path, variables: &[(&str, &str)]) -> Result<PathBuf, String> {
    if !target_is_installed()? {
        return Err(format!("the component is built for {TARGET}, which is not installed; run\n\n    rustup target add {TARGET}\n"));
    }
    let target_dir = target_dir.join(NAMED);
    let mut cargo = Command::new(tool("CARGO", "cargo"));
    cargo
        .current_dir(workspace)
        .args(["build", "--package", package, part, "--profile", "guest", "--target", TARGET, "--target-dir"])
        .arg(&target_dir);
    for variable in FOREIGN {
        cargo.env_remove(variable);
    }
    let mut flags = OsString::from(FEATURES);
    flags.push(SEPARATOR);
    flags.push(short_paths(workspace)?);
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags).envs(variables.iter().copied());
    let status = cargo.status().map_err(|error| format!("{cargo:?}: {error}"))?;
    if !status.success() {
        return Err(format!("the component failed to build: {cargo:?}: {status}"));
    }
    Ok(target_dir.join(TARGET).join("guest"))
}
