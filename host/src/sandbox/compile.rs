//! Compiles components at run time.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use persist_model::{ErrorCode, PersistError, Result};
use wasmtime::{Config, Engine};

use crate::sandbox::code::COMPONENT;
use crate::system::fork;
use crate::system::process::PerProcess;

/// Compiles a component with these settings, on as many threads as wasmtime wants, or
/// on this one if the system allows no more.
pub(crate) fn compile(config: &Config, wasm: &[u8]) -> Result<Vec<u8>> {
    let mut config = config.clone();
    // Nothing is instantiated here.
    config.allocation_strategy(wasmtime::InstanceAllocationStrategy::OnDemand);
    config.parallel_compilation(!fork::is_child() && has_threads());
    let began = std::time::Instant::now();
    let code = Engine::new(&config)
        .and_then(|engine| engine.precompile_component(wasm))
        .map_err(|error| PersistError::new(ErrorCode::Other, format!("the component could not be compiled: {error:#}")).caused_by(error))?;
    tracing::debug!(ms = began.elapsed().as_millis(), "compiled the component");
    Ok(code)
}

/// Compiles the built-in component with these settings, once in this process.
pub(crate) fn built_in(has_few_addresses: bool, config: &Config) -> Result<Arc<[u8]>> {
    /// For many addresses, and for few.
    type Compiled = [Option<Arc<[u8]>>; 2];
    static COMPILED: PerProcess<Mutex<Compiled>> = PerProcess::new(Mutex::default);
    let mut compiled = COMPILED.get().lock().unwrap_or_else(PoisonError::into_inner);
    let [many, few] = &mut *compiled;
    let code = if has_few_addresses { few } else { many };
    match code {
        Some(code) => Ok(Arc::clone(code)),
        None => Ok(Arc::clone(code.insert(compile(config, COMPONENT)?.into()))),
    }
}

/// Starts the compiler's threads, which would panic if the system allows none.
fn has_threads() -> bool {
    static STARTED: LazyLock<bool> = LazyLock::new(|| match rayon_core::ThreadPoolBuilder::new().build_global() {
        Ok(()) => true,
        // An error without a cause means that they were started before.
        Err(error) if std::error::Error::source(&error).is_none() => true,
        Err(error) => {
            tracing::debug!(%error, "no threads could be started to compile on");
            false
        }
    });
    *STARTED
}
