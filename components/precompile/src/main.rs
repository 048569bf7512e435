//! `persist-precompile COMPONENT OUT TARGET PROCESSOR ADDRESSES` compiles a component with
//! the settings of the host. The host's build runs it, and so do tests that have a
//! component of their own.
//!
//! TARGET is a Rust target triple. PROCESSOR is `baseline`, or a Cranelift level such as
//! `x86-64-v3`. ADDRESSES is `many`, or `few` for code that also runs where an instance
//! can't reserve 4 GiB of address space.

use std::path::Path;
use std::process::ExitCode;

use wasmtime::Engine;

const USAGE: &str = "usage: persist-precompile COMPONENT OUT TARGET PROCESSOR many|few";

fn compile(wasm: &[u8], target: &str, processor: &str, addresses: &str) -> Result<Vec<u8>, String> {
    let failed = |error: wasmtime::Error| format!("the component could not be compiled: {error:#}");
    let mut config = match addresses {
        "many" => persist_codegen::config(),
        "few" => persist_codegen::config_for_few_addresses(),
        _ => return Err(USAGE.to_owned()),
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

fn run() -> Result<(), String> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [component, out, target, processor, addresses] = &arguments[..] else { return Err(USAGE.to_owned()) };
    let failed = |path: &str, error: std::io::Error| format!("{}: {error}", Path::new(path).display());
    let wasm = std::fs::read(component).map_err(|error| failed(component, error))?;
    std::fs::write(out, compile(&wasm, target, processor, addresses)?).map_err(|error| failed(out, error))
}

fn main() -> ExitCode {
    persist_recipe::exit_code(run())
}
