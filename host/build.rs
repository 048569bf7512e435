//! Builds the component that the host embeds, or takes the one that
//! `PERSIST_COMPONENT` names, and compiles it for the processors that the host is
//! built for.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use sha2::{Digest, Sha256};

#[path = "../xtask/src/component.rs"]
mod component;

#[path = "../xtask/src/exit.rs"]
mod exit;

#[path = "../xtask/src/precompile.rs"]
mod precompile;

use precompile::Precompiler;

fn folder(variable: &str) -> Result<PathBuf, String> {
    env::var_os(variable).map(PathBuf::from).ok_or_else(|| format!("{variable} is not set: cargo runs build scripts"))
}

fn component(workspace: &Path, target_dir: &Path) -> Result<PathBuf, String> {
    if let Some(prebuilt) = env::var_os("PERSIST_COMPONENT") {
        let prebuilt = fs::canonicalize(&prebuilt).map_err(|error| format!("PERSIST_COMPONENT={}: {error}", prebuilt.display()))?;
        println!("cargo::rerun-if-changed={}", prebuilt.display());
        return Ok(prebuilt);
    }
    // Not in full: clones that share a target folder are one package to cargo,
    // and each has to look at its own sources.
    for source in ["guest/src", "guest/Cargo.toml", "wit", "xtask/src/component.rs"] {
        println!("cargo::rerun-if-changed=../{source}");
    }
    component::build(workspace, &target_dir.join("component"))
}

/// Compiles the component for each kind of processor. `src/image.rs` knows the names.
fn compile(workspace: &Path, target_dir: &Path, component: &Path, out: &Path) -> Result<(), String> {
    let variable = |name: &str| env::var(name).map_err(|error| format!("{name}: {error}"));
    println!("cargo::rerun-if-env-changed={}", precompile::PREBUILT);
    // The version of wasmtime is in the lock file.
    for source in ["components/precompile", "host/src/code.rs", "xtask/src/precompile.rs", "xtask/src/exit.rs", "Cargo.toml", "Cargo.lock"]
    {
        println!("cargo::rerun-if-changed=../{source}");
    }
    let precompiler = Precompiler::new(workspace, target_dir, Some(&variable("TARGET")?))?;
    let is_x86_64 = variable("CARGO_CFG_TARGET_ARCH")? == "x86_64";
    let baseline = precompiler.baseline();
    let compile = |name: &str, processor: &str, addresses: &str| precompiler.compile(component, &out.join(name), processor, addresses);
    compile("baseline.cwasm", baseline, "many")?;
    let has = |feature: &str| env::var_os(format!("CARGO_FEATURE_{feature}")).is_some();
    if has("FEW_ADDRESSES") {
        compile("few-addresses.cwasm", baseline, "few")?;
    }
    if is_x86_64 && has("X86_64_V3") {
        compile("x86-64-v3.cwasm", "x86-64-v3", "many")?;
    }
    Ok(())
}

fn run() -> Result<(), String> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=PERSIST_COMPONENT");
    // Of a package with an optimisation level of its own cargo strips less than the
    // profile says.
    if env::var("PROFILE").is_ok_and(|profile| profile == "release") && env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        println!("cargo::rustc-link-arg-bins=-Wl,--strip-all");
    }
    let out = folder("OUT_DIR")?;
    let manifest = folder("CARGO_MANIFEST_DIR")?;
    let workspace = manifest.parent().ok_or("the package is not in a workspace")?;
    // OUT_DIR is target/PROFILE/build/PACKAGE-HASH/out. What nested builds compile
    // is kept for every profile.
    let target_dir = out.ancestors().nth(4).ok_or("OUT_DIR is not below a target folder")?;
    let built = component(workspace, target_dir)?;
    let wasm = fs::read(&built).map_err(|error| format!("{}: {error}", built.display()))?;
    let write = |name: &str, bytes: &[u8]| {
        let path = out.join(name);
        fs::write(&path, bytes).map_err(|error| format!("{}: {error}", path.display()))
    };
    write("persist.wasm", &wasm)?;
    write("persist.wasm.sha256", &Sha256::digest(&wasm))?;
    compile(workspace, target_dir, &built, &out)
}

fn main() -> ExitCode {
    exit::code(run())
}
