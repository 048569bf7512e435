//! Builds `persist-precompile`, and compiles components with it. Shared by
//! `host/build.rs`, the developer's commands and tests, so that the compiler is
//! built once, whatever is built with its output.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::component::{FOREIGN, printed, tool};

/// The profile that everything with a compiler in it is built in. In one build with
/// the rest, all of that would have the compiler too.
pub(crate) const PROFILE: &str = "compiler";

/// Names a `persist-precompile` that is there already.
pub(crate) const PREBUILT: &str = "PERSIST_PRECOMPILE";

/// What x86-64 has at least where a component is compiled for it: processors from
/// 2009 on. Without SSSE3 and SSE4.1, SIMD of the component would be calls.
const X86_64_BASELINE: &str = "x86-64-v2";

/// Compiles components for one kind of machine.
pub(crate) struct Precompiler {
    program: PathBuf,
    target: String,
}

impl Precompiler {
    /// For a target of Rust; for this machine if none is named. What compiles is
    /// built in `target_dir`, unless the environment names one.
    pub(crate) fn new(workspace: &Path, target_dir: &Path, target: Option<&str>) -> Result<Self, String> {
        let here = printed(Command::new(tool("RUSTC", "rustc")).args(["--print", "host-tuple"]))?;
        let target = target.unwrap_or(&here).to_owned();
        if let Some(prebuilt) = env::var_os(PREBUILT) {
            return Ok(Self { program: prebuilt.into(), target });
        }
        // What runs in a build's folder has it locked.
        if env::var_os("OUT_DIR").is_some_and(|out| Path::new(&out).ancestors().nth(3).is_some_and(|built| built.ends_with(PROFILE))) {
            return Err(format!("this build waits for itself: {PREBUILT} has to name a persist-precompile built before it"));
        }
        let mut build = Command::new(tool("CARGO", "cargo"));
        build.current_dir(workspace).args(["build", "--locked", "--package", "persist-precompile", "--profile", PROFILE]);
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
            return Err(format!("the compiler of components did not build: {build:?}: {status}"));
        }
        let program = target_dir.join(PROFILE).join("persist-precompile");
        if !program.is_file() {
            let missing = program.display();
            return Err(format!(
                "{missing} is not there: cargo's settings name a target for every build; name it for the outer build alone"
            ));
        }
        Ok(Self { program, target })
    }

    /// What compiles.
    #[allow(dead_code, reason = "not every user of this file asks")]
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// What every processor of the target has that a component may run on.
    #[allow(dead_code, reason = "not every user of this file compiles")]
    pub(crate) fn baseline(&self) -> &'static str {
        if self.target.starts_with("x86_64-") { X86_64_BASELINE } else { "baseline" }
    }

    /// Compiles a component for a processor, `baseline` or a level of Cranelift's,
    /// whose instances have `many` or `few` addresses.
    #[allow(dead_code, reason = "not every user of this file compiles")]
    pub(crate) fn compile(&self, component: &Path, out: &Path, processor: &str, addresses: &str) -> Result<(), String> {
        let mut compile = Command::new(&self.program);
        compile.arg(component).arg(out).args([&self.target, processor, addresses]);
        printed(&mut compile).map(drop)
    }
}
