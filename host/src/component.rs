//! What an engine runs: the component that is built in, or another one.

use std::sync::Arc;

use wasmtime::Engine;
use wasmtime::component::Component;

use crate::error::{ErrorCode, PersistError, Result};
use crate::sandbox::ALLOWED_IMPORTS;

/// The component, as it was built: for other hosts of the WIT world `persist`.
pub const COMPONENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/persist.wasm"));

/// The SHA-256 of the component's bytes: which component this is.
pub fn component_hash() -> [u8; 32] {
    *include_bytes!(concat!(env!("OUT_DIR"), "/persist.wasm.sha256"))
}

/// What an engine runs.
#[derive(Clone)]
pub(crate) enum Code {
    BuiltIn,
    /// Compiled by wasmtime.
    Compiled(Arc<[u8]>),
    #[cfg(feature = "compiler")]
    Wasm(Arc<[u8]>),
}

/// Fails if it imports more than what the sandbox means to give, whoever built it.
pub(crate) fn check_imports(engine: &Engine, component: &Component) -> Result<()> {
    for (name, _) in component.component_type().imports(engine) {
        let interface = name.split('@').next().unwrap_or(name);
        if !ALLOWED_IMPORTS.contains(&interface) {
            return Err(PersistError::new(ErrorCode::Other, format!("the component imports {name}, which it is not given")));
        }
    }
    Ok(())
}
