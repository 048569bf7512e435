//! Takes the component that the host embeds, and compiles it for the target's processors.
//!
//! The component is the one that `PERSIST_COMPONENT` names, or the one in this package if it was
//! published, or else it is built from the workspace. It is compiled by the program that
//! `PERSIST_PRECOMPILE` names, or with the feature `precompiled` by this script, or in the workspace
//! by a program that is built first. A published package without the feature leaves that to run time.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use persist_recipe::component;
use persist_recipe::precompile::{PREBUILT, Precompiler, baseline};
use sha2::{Digest, Sha256};

/// The component in a published package.
const SHIPPED: &str = "component/persist.wasm";

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|error| format!("{name}: {error}: run this build script with cargo"))
}

fn has(feature: &str) -> bool {
    env::var_os(format!("CARGO_FEATURE_{feature}")).is_some()
}

/// This build.
struct Build {
    package: PathBuf,
    out: PathBuf,
    target: String,
}

impl Build {
    fn new() -> Result<Self, String> {
        Ok(Self { package: variable("CARGO_MANIFEST_DIR")?.into(), out: variable("OUT_DIR")?.into(), target: variable("TARGET")? })
    }

    /// Returns the workspace, if the package is in it.
    fn workspace(&self) -> Option<&Path> {
        self.package.parent().filter(|workspace| workspace.join("components/precompile/Cargo.toml").is_file())
    }

    /// Returns the folder of nested builds, which all profiles share.
    fn nested(&self) -> Result<&Path, String> {
        // OUT_DIR is target/PROFILE/build/PACKAGE-HASH/out.
        self.out.ancestors().nth(4).ok_or_else(|| "OUT_DIR is not below a target folder".to_owned())
    }

    fn component(&self) -> Result<PathBuf, String> {
        println!("cargo::rerun-if-env-changed=PERSIST_COMPONENT");
        let shipped = self.package.join(SHIPPED);
        let given = env::var_os("PERSIST_COMPONENT").map(PathBuf::from).or_else(|| shipped.is_file().then_some(shipped));
        if let Some(given) = given {
            let missing = |error| format!("{}, given by PERSIST_COMPONENT or shipped with this package: {error}", given.display());
            let given = fs::canonicalize(&given).map_err(missing)?;
            println!("cargo::rerun-if-changed={}", given.display());
            return Ok(given);
        }
        // Relative paths: clones that share a target folder are one package to cargo, and
        // each must watch its own sources.
        for source in ["guest/src", "guest/Cargo.toml", "model/src", "paths/src", "wit"] {
            println!("cargo::rerun-if-changed=../{source}");
        }
        let workspace = self.workspace().ok_or_else(|| format!("{SHIPPED} is missing, and there are no sources to build it from"))?;
        component::build(workspace, &self.nested()?.join("component"))
    }

    /// Compiles the component for each kind of processor. `src/sandbox/image.rs` links the files
    /// by these names. Returns whether there is anything that compiles.
    fn compile(&self, component: &Path) -> Result<bool, String> {
        println!("cargo::rerun-if-env-changed={PREBUILT}");
        let Some(compile) = self.compiler(component)? else { return Ok(false) };
        let compile = |name: &str, processor: &str, addresses: &str| compile(&self.out.join(name), processor, addresses);
        let oldest = baseline(&self.target);
        compile("baseline.cwasm", oldest, "many")?;
        if has("FEW_ADDRESSES") {
            compile("few-addresses.cwasm", oldest, "few")?;
        }
        if self.target.starts_with("x86_64-") && has("X86_64_V3") {
            compile("x86-64-v3.cwasm", "x86-64-v3", "many")?;
        }
        Ok(true)
    }

    /// Returns what compiles the component into a file, for a processor and an amount of addresses.
    fn compiler<'a>(&'a self, component: &'a Path) -> Result<Option<Compile<'a>>, String> {
        println!("cargo::rerun-if-env-changed=DOCS_RS");
        if env::var_os("DOCS_RS").is_some() {
            // The documentation has none of it.
            return Ok(Some(Box::new(|out, _, _| fs::write(out, []).map_err(|error| format!("{}: {error}", out.display())))));
        }
        if env::var_os(PREBUILT).is_none() {
            #[cfg(feature = "precompiled")]
            return Ok(Some(Box::new(|out, processor, addresses| self.compile_here(component, out, processor, addresses))));
            #[cfg(not(feature = "precompiled"))]
            if self.workspace().is_none() {
                return Ok(None);
            }
        }
        let workspace = self.workspace().unwrap_or(&self.package);
        if self.workspace().is_some() {
            // The version of wasmtime is in the lock file.
            for source in ["components/codegen", "components/precompile", "Cargo.toml", "Cargo.lock"] {
                println!("cargo::rerun-if-changed=../{source}");
            }
        }
        let precompiler = Precompiler::new(workspace, self.nested()?, Some(&self.target))?;
        Ok(Some(Box::new(move |out, processor, addresses| precompiler.compile(component, out, processor, addresses))))
    }

    #[cfg(feature = "precompiled")]
    fn compile_here(&self, component: &Path, out: &Path, processor: &str, addresses: &str) -> Result<(), String> {
        use persist_precompile::{Addresses, compile};

        let failed = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
        let wasm = fs::read(component).map_err(|error| failed(component, error))?;
        let addresses = if addresses == "few" { Addresses::Few } else { Addresses::Many };
        let code = compile(&wasm, &self.target, processor, addresses).map_err(|error| {
            format!("{error}\nFor another architecture, set {PREBUILT} to a persist-precompile that was built with the feature all-arch")
        })?;
        fs::write(out, code).map_err(|error| failed(out, error))
    }

    fn run(&self) -> Result<(), String> {
        let built = self.component()?;
        let wasm = fs::read(&built).map_err(|error| format!("{}: {error}", built.display()))?;
        let write = |name: &str, bytes: &[u8]| {
            let path = self.out.join(name);
            fs::write(&path, bytes).map_err(|error| format!("{}: {error}", path.display()))
        };
        write("persist.wasm", &wasm)?;
        write("persist.wasm.sha256", &Sha256::digest(&wasm))?;
        println!("cargo::rustc-check-cfg=cfg(persist_image)");
        if self.compile(&built)? {
            println!("cargo::rustc-cfg=persist_image");
        } else if !has("COMPILER") {
            return Err("nothing compiles the component: enable the feature precompiled or compiler".to_owned());
        }
        Ok(())
    }
}

type Compile<'a> = Box<dyn Fn(&Path, &str, &str) -> Result<(), String> + 'a>;

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=build.rs");
    persist_recipe::exit_code(Build::new().and_then(|build| build.run()))
}
