//! The component that an engine runs: the built-in one, or another.

use std::sync::Arc;

use persist_model::{ErrorCode, PersistError, Result};
use wasmtime::Engine;
use wasmtime::component::Component;

/// The built-in component, for other hosts of the WIT world `persist`.
pub const COMPONENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/persist.wasm"));

/// Returns the SHA-256 of [`COMPONENT`], which identifies its version.
pub fn component_hash() -> [u8; 32] {
    *include_bytes!(concat!(env!("OUT_DIR"), "/persist.wasm.sha256"))
}

/// The code that an engine runs.
#[derive(Clone)]
pub(crate) enum Code {
    BuiltIn,
    /// Compiled by wasmtime.
    Compiled(Arc<[u8]>),
    #[cfg(feature = "compiler")]
    Wasm(Arc<[u8]>),
}

/// The interfaces that the component may import, without their versions: its storage,
/// and what Rust's standard library links in any case.
const ALLOWED_IMPORTS: [&str; 19] = [
    "persist:snapshot/storage",
    "persist:snapshot/types",
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure-seed",
    "wasi:random/random",
];

/// Fails if the component imports anything that the sandbox does not offer, whoever
/// built it.
pub(crate) fn check_imports(engine: &Engine, component: &Component) -> Result<()> {
    for (name, _) in component.component_type().imports(engine) {
        let interface = name.split('@').next().unwrap_or(name);
        if !ALLOWED_IMPORTS.contains(&interface) {
            return Err(PersistError::new(ErrorCode::Other, format!("the component imports {name}, which this host does not provide")));
        }
    }
    Ok(())
}
