//! Builds the component that the host embeds, or takes the one that `PERSIST_COMPONENT`
//! names, and compiles it for the target's processors.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use persist_recipe::component;
use persist_recipe::precompile::{PREBUILT, Precompiler};
use sha2::{Digest, Sha256};

fn folder(variable: &str) -> Result<PathBuf, String> {
    env::var_os(variable).map(PathBuf::from).ok_or_else(|| format!("{variable} is not set: run this build script with cargo"))
}

fn component(workspace: &Path, target_dir: &Path) -> Result<PathBuf, String> {
    if let Some(prebuilt) = env::var_os("PERSIST_COMPONENT") {
        let prebuilt = fs::canonicalize(&prebuilt).map_err(|error| format!("PERSIST_COMPONENT={}: {error}", prebuilt.display()))?;
        println!("cargo::rerun-if-changed={}", prebuilt.display());
        return Ok(prebuilt);
    }
    // Relative paths: clones that share a target folder are one package to cargo, and
    // each must watch its own sources.
    for source in ["guest/src", "guest/Cargo.toml", "model/src", "paths/src", "wit"] {
        println!("cargo::rerun-if-changed=../{source}");
    }
    component::build(workspace, &target_dir.join("component"))
}

/// Compiles the component for each kind of processor. `src/sandbox/image.rs` links the
/// files by these names.
fn compile(workspace: &Path, target_dir: &Path, component: &Path, out: &Path) -> Result<(), String> {
    let variable = |name: &str| env::var(name).map_err(|error| format!("{name}: {error}"));
    println!("cargo::rerun-if-env-changed={}", PREBUILT);
    // The version of wasmtime is in the lock file.
    for source in ["components/codegen", "components/precompile", "Cargo.toml", "Cargo.lock"] {
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
    let out = folder("OUT_DIR")?;
    let manifest = folder("CARGO_MANIFEST_DIR")?;
    let workspace = manifest.parent().ok_or("the package is not in a workspace")?;
    // OUT_DIR is target/PROFILE/build/PACKAGE-HASH/out. Nested builds are shared by all
    // profiles.
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
    persist_recipe::exit_code(run())
}
