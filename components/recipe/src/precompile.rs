//! Builds `persist-precompile`, and compiles components with it ahead of time.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::component::{FOREIGN, printed, tool};

/// The profile for everything that contains the compiler. In the same build as the
/// rest, cargo would enable the compiler in the rest as well.
pub const PROFILE: &str = "compiler";

/// The variable that names a `persist-precompile` that is already built.
pub const PREBUILT: &str = "PERSIST_PRECOMPILE";

/// The oldest x86-64 processors that components are compiled for, from 2009. Older
/// ones lack SSSE3 and SSE4.1, and every SIMD instruction would become a call.
const X86_64_BASELINE: &str = "x86-64-v2";

/// Returns the oldest processor of a target that components run on.
pub fn baseline(target: &str) -> &'static str {
    if target.starts_with("x86_64-") { X86_64_BASELINE } else { "baseline" }
}

/// Compiles components for one target.
#[derive(Debug)]
pub struct Precompiler {
    program: PathBuf,
    target: String,
}

impl Precompiler {
    /// Makes a compiler for a target triple of Rust, or for this machine. Builds it in
    /// `target_dir`, unless [`PREBUILT`] names one.
    ///
    /// # Errors
    /// If it can't be built.
    pub fn new(workspace: &Path, target_dir: &Path, target: Option<&str>) -> Result<Self, String> {
        let here = printed(Command::new(tool("RUSTC", "rustc")).args(["--print", "host-tuple"]))?;
        let target = target.unwrap_or(&here).to_owned();
        if let Some(prebuilt) = env::var_os(PREBUILT) {
            return Ok(Self { program: prebuilt.into(), target });
        }
        // The build that runs this build script has locked the folder, and a nested
        // build would wait for it.
        if env::var_os("OUT_DIR").is_some_and(|out| Path::new(&out).ancestors().nth(3).is_some_and(|built| built.ends_with(PROFILE))) {
            return Err(format!("this build would wait for itself; set {PREBUILT} to a persist-precompile that is already built"));
        }
        let mut build = Command::new(tool("CARGO", "cargo"));
        build.current_dir(workspace).args([
            "build",
            "--locked",
            "--package",
            "persist-precompile",
            "--package",
            "workspace-hack",
            "--profile",
            PROFILE,
        ]);
        build.arg("--target-dir").arg(target_dir);
        for variable in FOREIGN {
            build.env_remove(variable);
        }
        let architecture = |target: &str| target.split('-').next().map(str::to_owned);
        if architecture(&target) != architecture(&here) {
            build.args(["--features", "persist-precompile/all-arch"]);
        }
        let status = build.status().map_err(|error| format!("{build:?}: {error}"))?;
        if !status.success() {
            return Err(format!("the component compiler failed to build: {build:?}: {status}"));
        }
        let program = target_dir.join(PROFILE).join("persist-precompile");
        if !program.is_file() {
            let missing = program.display();
            return Err(format!(
                "{missing} does not exist: cargo's configuration sets a target for every build; set it only for the outer build"
            ));
        }
        Ok(Self { program, target })
    }

    /// Returns the path of the compiler.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Returns the oldest processor of the target that components run on.
    pub fn baseline(&self) -> &'static str {
        baseline(&self.target)
    }

    /// Compiles a component for a processor: `baseline`, or a level that Cranelift knows.
    /// `addresses` is `many` or `few`, as in `persist-codegen`.
    ///
    /// # Errors
    /// The compiler's error.
    pub fn compile(&self, component: &Path, out: &Path, processor: &str, addresses: &str) -> Result<(), String> {
        let mut compile = Command::new(&self.program);
        compile.arg(component).arg(out).args([&self.target, processor, addresses]);
        printed(&mut compile).map(drop)
    }
}
