//! Builds the component that the host embeds, or takes the one that
//! `PERSIST_COMPONENT` names.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[path = "../xtask/src/component.rs"]
mod component;

fn folder(variable: &str) -> Result<PathBuf, String> {
    env::var_os(variable).map(PathBuf::from).ok_or_else(|| format!("{variable} is not set: cargo runs build scripts"))
}

fn component(out: &Path) -> Result<PathBuf, String> {
    if let Some(prebuilt) = env::var_os("PERSIST_COMPONENT") {
        let prebuilt = fs::canonicalize(&prebuilt).map_err(|error| format!("PERSIST_COMPONENT={}: {error}", prebuilt.display()))?;
        println!("cargo::rerun-if-changed={}", prebuilt.display());
        return Ok(prebuilt);
    }
    let manifest = folder("CARGO_MANIFEST_DIR")?;
    let workspace = manifest.parent().ok_or("the package is not in a workspace")?;
    // Not in full: clones that share a target folder are one package to cargo,
    // and each has to look at its own sources.
    for source in ["guest/src", "guest/Cargo.toml", "wit", "Cargo.toml", "Cargo.lock", "xtask/src/component.rs"] {
        println!("cargo::rerun-if-changed=../{source}");
    }
    // OUT_DIR is target/PROFILE/build/PACKAGE-HASH/out; what the nested build
    // compiles is kept beside, for every later build of the profile.
    let profile = out.ancestors().nth(3).ok_or("OUT_DIR is not below a target folder")?;
    component::build(workspace, &profile.join("component"))
}

fn run() -> Result<(), String> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=PERSIST_COMPONENT");
    let out = folder("OUT_DIR")?;
    let built = component(&out)?;
    fs::copy(&built, out.join("persist.wasm")).map_err(|error| format!("{}: {error}", built.display()))?;
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
