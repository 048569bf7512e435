//! Compiles components ahead of time, with the settings of the host.

use wasmtime::Engine;

/// How many addresses an instance of the component can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// 4 GiB.
    Many,
    /// A few MiB, and more when it grows. The code is slower, and also runs where 4 GiB can't
    /// be reserved.
    Few,
}

/// Compiles a component for a Rust target triple. `processor` is `baseline`, or a level that
/// Cranelift knows, such as `x86-64-v3`.
///
/// # Errors
/// The compiler's error. One for another architecture than this machine's needs the feature
/// `all-arch`.
pub fn compile(wasm: &[u8], target: &str, processor: &str, addresses: Addresses) -> Result<Vec<u8>, String> {
    let failed = |error: wasmtime::Error| format!("the component could not be compiled: {error:#}");
    let mut config = match addresses {
        Addresses::Many => persist_codegen::config(),
        Addresses::Few => persist_codegen::config_for_few_addresses(),
    };
    config.target(target).map_err(failed)?;
    // Nobody asks where in the component an instruction comes from.
    config.generate_address_map(false);
    if processor != "baseline" {
        // SAFETY: the flag lets the compiled code use more instructions. wasmtime checks
        // that the machine has them before it runs the code.
        unsafe { config.cranelift_flag_enable(processor) };
    }
    Engine::new(&config).and_then(|engine| engine.precompile_component(wasm)).map_err(failed)
}
