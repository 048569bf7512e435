//! Compiling components that are not built in.

use std::sync::LazyLock;

use wasmtime::{Config, Engine};

use crate::error::{ErrorCode, PersistError, Result};
use crate::fork;

/// What wasmtime makes of a component under these settings, on as many threads as
/// it wants, or on this one where they are not to be had.
pub(crate) fn compile(config: &Config, wasm: &[u8]) -> Result<Vec<u8>> {
    let mut config = config.clone();
    // Nothing is instantiated here.
    config.allocation_strategy(wasmtime::InstanceAllocationStrategy::OnDemand);
    config.parallel_compilation(!fork::is_child() && has_threads());
    let began = std::time::Instant::now();
    let code = Engine::new(&config)
        .and_then(|engine| engine.precompile_component(wasm))
        .map_err(|error| PersistError::new(ErrorCode::Other, format!("the component could not be compiled: {error:#}")))?;
    tracing::debug!(ms = began.elapsed().as_millis(), "compiled the component");
    Ok(code)
}

/// Starts the compiler's threads. It would panic where it can't have them.
fn has_threads() -> bool {
    static STARTED: LazyLock<bool> = LazyLock::new(|| match rayon_core::ThreadPoolBuilder::new().build_global() {
        Ok(()) => true,
        // Without a cause: they were started before.
        Err(error) if std::error::Error::source(&error).is_none() => true,
        Err(error) => {
            tracing::debug!(%error, "no threads to compile on");
            false
        }
    });
    *STARTED
}
