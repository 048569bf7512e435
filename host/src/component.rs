//! The component that is built in: as it was built, or as code for this kind of
//! processor.

#[cfg(feature = "compiler")]
use std::borrow::Cow;

use wasmtime::Engine;
use wasmtime::component::Component;

#[cfg(feature = "compiler")]
use crate::compile::{CompileCache, compiled};
use crate::error::{ErrorCode, PersistError, Result};
use crate::sandbox::ALLOWED_IMPORTS;

#[cfg(not(any(feature = "compiler", feature = "edge")))]
compile_error!("to run its component, persist-host needs the feature 'compiler', or 'edge' for one that was compiled when it was built");

/// The component, as it was built: for other hosts of the WIT world `persist`.
#[cfg(feature = "compiler")]
pub const COMPONENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/persist.wasm"));

/// The component, compiled when this library was built.
#[cfg(feature = "edge")]
const COMPILED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/persist.cwasm"));

/// The SHA-256 of the component's bytes: which component this is.
pub fn component_hash() -> [u8; 32] {
    *include_bytes!(concat!(env!("OUT_DIR"), "/persist.wasm.sha256"))
}

/// What an engine runs.
#[derive(Clone)]
pub(crate) enum Code {
    BuiltIn,
    #[cfg(feature = "compiler")]
    Wasm(Cow<'static, [u8]>),
}

pub(crate) fn failed(doing: &str, error: &wasmtime::Error) -> PersistError {
    PersistError::new(ErrorCode::Other, format!("the component could not be {doing}: {error:#}"))
}

impl Code {
    /// The component, ready to be instantiated.
    pub(crate) fn load(&self, engine: &Engine, #[cfg(feature = "compiler")] cache: &CompileCache) -> Result<Component> {
        let component = match self {
            #[cfg(feature = "edge")]
            Self::BuiltIn => precompiled(engine),
            #[cfg(not(feature = "edge"))]
            Self::BuiltIn => compiled(engine, COMPONENT, cache),
            #[cfg(feature = "compiler")]
            Self::Wasm(wasm) => compiled(engine, wasm, cache),
        }?;
        // Never more than what the sandbox means to give, whoever built it.
        for (name, _) in component.component_type().imports(engine) {
            let interface = name.split('@').next().unwrap_or(name);
            if !ALLOWED_IMPORTS.contains(&interface) {
                return Err(PersistError::new(ErrorCode::Other, format!("the component imports {name}, which it is not given")));
            }
        }
        Ok(component)
    }
}

#[cfg(feature = "edge")]
fn precompiled(engine: &Engine) -> Result<Component> {
    // SAFETY: the bytes are what `Engine::precompile_component` gave when this
    // library was built, and a part of it. That wasmtime, settings and this
    // machine's processor fit is checked by wasmtime itself.
    unsafe { Component::deserialize(engine, COMPILED) }.map_err(|error| {
        failed("loaded", &error).hint("build it for the features of this machine's processor, as with RUSTFLAGS=-Ctarget-cpu=…")
    })
}
