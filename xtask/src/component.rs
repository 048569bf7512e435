//! Builds the component. Shared by `host/build.rs` and the developer's
//! commands, so that there is one recipe.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The target the component is built for.
pub(crate) const TARGET: &str = "wasm32-wasip2";

/// What the outer build or the user set for another compilation.
pub(crate) const FOREIGN: [&str; 8] = [
    "CARGO_ENCODED_RUSTFLAGS",
    "RUSTFLAGS",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_TARGET_WASM32_WASIP2_RUSTFLAGS",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "CARGO_PROFILE_RELEASE_DEBUG",
];

pub(crate) fn tool(variable: &str, default: &str) -> OsString {
    env::var_os(variable).unwrap_or_else(|| default.into())
}

pub(crate) fn printed(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Whether the compiler has the standard library of the target.
pub(crate) fn target_is_installed() -> Result<bool, String> {
    let libraries = printed(Command::new(tool("RUSTC", "rustc")).args(["--print", "target-libdir", "--target", TARGET]))?;
    Ok(Path::new(&libraries).is_dir())
}

/// What the component may use of its processor: every host that knows components
/// has it, and it makes saving some 10 % faster, restoring 5 %.
const FEATURES: &str = "-Ctarget-feature=+simd128";

/// Flags for the compiler: the features, and no path of this machine in the
/// component, so that the same source gives the same bytes in every folder.
fn flags(workspace: &Path) -> Result<OsString, String> {
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
    // The folder of a registry is named after where the registry is. Of the
    // rules that fit, the compiler takes the last.
    let registries = cargo_home.join("registry").join("src");
    if !registries.is_dir() {
        // Not there before the first package is unpacked; listing what the
        // guest needs does that.
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
        pairs.extend(registries.flatten().map(|registry| (registry.path(), OsStr::new("/registry").to_owned())));
    }
    let mut flags = OsString::from(FEATURES);
    for (from, to) in pairs {
        // How CARGO_ENCODED_RUSTFLAGS separates flags.
        flags.push("\u{1f}--remap-path-prefix=");
        flags.push(from);
        flags.push("=");
        flags.push(to);
    }
    Ok(flags)
}

/// Builds the component from the workspace, with `target_dir` for everything
/// that the compiler writes, and says where it is.
pub(crate) fn build(workspace: &Path, target_dir: &Path) -> Result<PathBuf, String> {
    build_package(workspace, "persist-guest", target_dir)
}

/// Builds a library of the workspace as a component.
pub(crate) fn build_package(workspace: &Path, package: &str, target_dir: &Path) -> Result<PathBuf, String> {
    build_part(workspace, package, "--lib", target_dir, &[]).map(|folder| folder.join(format!("{}.wasm", package.replace('-', "_"))))
}

/// Builds a program of the workspace as a component that is a command, which says
/// that it runs on the component with this SHA-256.
#[allow(dead_code, reason = "not every user of this file has a command")]
pub(crate) fn build_command(workspace: &Path, package: &str, target_dir: &Path, hash: &str) -> Result<PathBuf, String> {
    let built = build_part(workspace, package, "--bins", target_dir, &[("PERSIST_COMPONENT_HASH", hash)]);
    built.map(|folder| folder.join(format!("{package}.wasm")))
}

/// Builds a part of a package, and says in which folder it is.
fn build_part(workspace: &Path, package: &str, part: &str, target_dir: &Path, variables: &[(&str, &str)]) -> Result<PathBuf, String> {
    if !target_is_installed()? {
        return Err(format!("the component is built for {TARGET}, which is not installed; run\n\n    rustup target add {TARGET}\n"));
    }
    let mut cargo = Command::new(tool("CARGO", "cargo"));
    cargo
        .current_dir(workspace)
        .args(["build", "--package", package, part, "--profile", "guest", "--target", TARGET, "--target-dir"])
        .arg(target_dir);
    for variable in FOREIGN {
        cargo.env_remove(variable);
    }
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags(workspace)?).envs(variables.iter().copied());
    let status = cargo.status().map_err(|error| format!("{cargo:?}: {error}"))?;
    if !status.success() {
        return Err(format!("the component did not build: {cargo:?}: {status}"));
    }
    Ok(target_dir.join(TARGET).join("guest"))
}
