//! `persist-precompile COMPONENT OUT TARGET PROCESSOR ADDRESSES` compiles a component with
//! the settings of the host. The host's build runs it, and so do tests that have a
//! component of their own.
//!
//! TARGET is a Rust target triple. PROCESSOR is `baseline`, or a Cranelift level such as
//! `x86-64-v3`. ADDRESSES is `many`, or `few` for code that also runs where an instance
//! can't reserve 4 GiB of address space.

use std::path::Path;
use std::process::ExitCode;

use persist_precompile::{Addresses, compile};

const USAGE: &str = "usage: persist-precompile COMPONENT OUT TARGET PROCESSOR many|few";

fn run() -> Result<(), String> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [component, out, target, processor, addresses] = &arguments[..] else { return Err(USAGE.to_owned()) };
    let addresses = match addresses.as_str() {
        "many" => Addresses::Many,
        "few" => Addresses::Few,
        _ => return Err(USAGE.to_owned()),
    };
    let failed = |path: &str, error: std::io::Error| format!("{}: {error}", Path::new(path).display());
    let wasm = std::fs::read(component).map_err(|error| failed(component, error))?;
    std::fs::write(out, compile(&wasm, target, processor, addresses)?).map_err(|error| failed(out, error))
}

fn main() -> ExitCode {
    persist_recipe::exit_code(run())
}
