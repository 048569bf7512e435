//! Builds the component that the host embeds, or takes the one that
//! `PERSIST_COMPONENT` names; with the feature `edge`, also compiles it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use sha2::{Digest, Sha256};

#[path = "../xtask/src/component.rs"]
mod component;

#[cfg(feature = "edge")]
#[path = "src/code.rs"]
mod code;

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

/// Features of processors that compiled code may use, as rustc and Cranelift
/// call them. Code uses those that the rest of the program is compiled for.
#[cfg(feature = "edge")]
const FEATURES: [(&str, &str); 14] = [
    ("sse3", "has_sse3"),
    ("ssse3", "has_ssse3"),
    ("sse4.1", "has_sse41"),
    ("sse4.2", "has_sse42"),
    ("popcnt", "has_popcnt"),
    ("avx", "has_avx"),
    ("avx2", "has_avx2"),
    ("fma", "has_fma"),
    ("bmi1", "has_bmi1"),
    ("bmi2", "has_bmi2"),
    ("lzcnt", "has_lzcnt"),
    ("lse", "has_lse"),
    ("fp16", "has_fp16"),
    ("dotprod", "has_dotprod"),
];

/// Compiles the component for the target that the host is built for.
#[cfg(feature = "edge")]
fn compile(wasm: &[u8]) -> Result<Vec<u8>, String> {
    let variable = |name: &str| env::var(name).map_err(|error| format!("{name}: {error}"));
    let failed = |error: wasmtime::Error| format!("the component could not be compiled: {error:#}");
    let mut config = code::config();
    config.target(&variable("TARGET")?).map_err(failed)?;
    let target_features = variable("CARGO_CFG_TARGET_FEATURE").unwrap_or_default();
    for (name, flag) in FEATURES {
        if target_features.split(',').any(|feature| feature == name) {
            // SAFETY: the flag lets compiled code use instructions that the
            // rest of the program is free to use too; and before wasmtime runs
            // code, it checks that this machine has all that its flags name.
            unsafe { config.cranelift_flag_enable(flag) };
        }
    }
    let engine = wasmtime::Engine::new(&config).map_err(failed)?;
    engine.precompile_component(wasm).map_err(failed)
}

fn run() -> Result<(), String> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=PERSIST_COMPONENT");
    let out = folder("OUT_DIR")?;
    let built = component(&out)?;
    let wasm = fs::read(&built).map_err(|error| format!("{}: {error}", built.display()))?;
    let write = |name: &str, bytes: &[u8]| {
        let path = out.join(name);
        fs::write(&path, bytes).map_err(|error| format!("{}: {error}", path.display()))
    };
    write("persist.wasm", &wasm)?;
    write("persist.wasm.sha256", &Sha256::digest(&wasm))?;
    #[cfg(feature = "edge")]
    write("persist.cwasm", &compile(&wasm)?)?;
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
