//! Compiled code that is ready to be instantiated, and the wasmtime engine that runs
//! it. The runtime of the built-in component is made once per process. All engines
//! share it, and with it the addresses reserved for instances.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use persist_model::{ErrorCode, PersistError, Result};
use wasmtime::Config;
use wasmtime::component::{Component, Linker};

use crate::cancel::CancelToken;
use crate::sandbox::allocator;
use crate::sandbox::bindings::PersistPre;
use crate::sandbox::budget::{Budget, Share};
use crate::sandbox::clock::Clock;
use crate::sandbox::code::{Code, check_imports};
use crate::sandbox::errors::trapped;
use crate::sandbox::image::{Image, InPlace};
use crate::sandbox::limits::Limits;
use crate::sandbox::state::Sandbox;
use crate::storage::MemoryStorage;
use crate::system::fork;
use crate::system::process::{PerProcess, Process};

/// Runs instances of one component.
pub(crate) struct Runtime {
    pub(crate) component: PersistPre<Sandbox>,
    pub(crate) engine: wasmtime::Engine,
    pub(crate) clock: Arc<Clock>,
    /// The code it was loaded from, already compiled.
    pub(crate) code: Code,
    pub(crate) process: Process,
    /// Dropped last: then others may run the image in place.
    in_place: Option<InPlace>,
}

/// How many addresses instances get.
#[derive(Clone, Copy, Debug)]
enum Addresses {
    /// Reserved once for many instances.
    Pool,
    /// 4 GiB for each instance, reserved when it is made.
    Each,
    /// A few MiB for each instance.
    Few,
}

impl Addresses {
    fn config(self) -> Config {
        match self {
            Self::Pool => allocator::config(),
            Self::Each => persist_codegen::config(),
            Self::Few => persist_codegen::config_for_few_addresses(),
        }
    }

    /// Returns the built-in component for these addresses, if it was compiled with this build.
    fn image(self) -> Option<&'static Image> {
        match self {
            Self::Pool | Self::Each => Image::with_many_addresses(),
            Self::Few => Image::with_few_addresses(),
        }
    }
}

fn no_addresses() -> PersistError {
    PersistError::new(ErrorCode::MemoryLimit, "there is not enough address space for the component")
        .hint("raise the limit, for example with 'ulimit -v', or use the built-in component with the feature few-addresses")
}

/// Returns compiled code for instances with these addresses, or none if this build has an
/// image of it.
fn bring(code: &Code, addresses: Addresses) -> Result<Option<Arc<[u8]>>> {
    Ok(match code {
        Code::BuiltIn if addresses.image().is_some() => None,
        #[cfg(feature = "compiler")]
        Code::BuiltIn => Some(crate::sandbox::compile::built_in(matches!(addresses, Addresses::Few), &addresses.config())?),
        #[cfg(not(feature = "compiler"))]
        Code::BuiltIn => return Err(no_addresses()),
        Code::Compiled(bytes) => Some(Arc::clone(bytes)),
        #[cfg(feature = "compiler")]
        Code::Wasm(wasm) => Some(crate::sandbox::compile::compile(&addresses.config(), wasm)?.into()),
    })
}

/// How many instances must fit into the address space at once: a copy needs two, a
/// listing several.
const INSTANCES: usize = 8;

impl Runtime {
    /// Returns this process's runtime of the built-in component.
    pub(crate) fn shared() -> Result<Arc<Self>> {
        static SHARED: PerProcess<Mutex<Weak<Runtime>>> = PerProcess::new(Mutex::default);
        let mut shared = SHARED.get().lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = shared.upgrade() {
            return Ok(runtime);
        }
        let runtime = Self::new(&Code::BuiltIn)?;
        *shared = Arc::downgrade(&runtime);
        Ok(runtime)
    }

    /// Makes a runtime for this code alone.
    pub(crate) fn new(code: &Code) -> Result<Arc<Self>> {
        let began = Instant::now();
        let many = bring(code, Addresses::Each)?;
        let runtime = match Self::with(many.clone(), Addresses::Pool) {
            Ok(runtime) => runtime,
            Err(error) if error.code() == ErrorCode::LimitExceeded => return Err(error),
            Err(error) => {
                tracing::debug!(%error, "memory can't be reserved for many instances, so each gets its own");
                let with_few = || Self::with(bring(code, Addresses::Few)?, Addresses::Few);
                match Self::with(many, Addresses::Each) {
                    Ok(runtime) if runtime.has_addresses() => runtime,
                    // Code compiled for many addresses is of no use then.
                    Ok(_) => with_few().map_err(|error| if matches!(code, Code::Compiled(_)) { no_addresses() } else { error })?,
                    // The code may be for few addresses.
                    Err(error) => with_few().map_err(|_| error)?,
                }
            }
        };
        tracing::debug!(ms = began.elapsed().as_millis(), "the component is loaded");
        Ok(Arc::new(runtime))
    }

    /// `brought` is compiled code, or none for the built-in component.
    fn with(brought: Option<Arc<[u8]>>, addresses: Addresses) -> Result<Self> {
        let no_fork = fork::hold_off();
        let loaded = match &brought {
            None => addresses.image().ok_or_else(no_addresses)?.load(addresses.config()),
            Some(bytes) => wasmtime::Engine::new(&addresses.config()).and_then(|engine| {
                // SAFETY: the caller of `precompiled_component` promised that wasmtime
                // made the bytes. wasmtime itself checks that its version and settings
                // match.
                let component = unsafe { Component::deserialize(&engine, bytes) }?;
                Ok((engine, component, None))
            }),
        };
        let (engine, component, in_place) = loaded.map_err(cannot_run)?;
        check_imports(&engine, &component)?;
        let component = link(&engine, &component).map_err(cannot_run)?;
        let clock = Clock::start(engine.weak()).map_err(|error| {
            PersistError::new(ErrorCode::LimitExceeded, format!("no thread could be started: {error}"))
                .hint("raise this user's limit on processes and threads, for example with 'ulimit -u'")
                .caused_by(error)
        })?;
        drop(no_fork);
        let code = brought.map_or(Code::BuiltIn, Code::Compiled);
        Ok(Self { component, engine, clock, code, process: Process::this(), in_place })
    }

    /// Returns whether instances get the addresses that they ask for, by making some.
    /// Any other error is left to the first instance that is used.
    fn has_addresses(&self) -> bool {
        let mut instances = Vec::new();
        for _ in 0..INSTANCES {
            let nowhere = Arc::new(MemoryStorage::new());
            let memory = Share::new(&Budget::new(u64::MAX), 0);
            let store = Sandbox::store(&self.engine, nowhere, Limits::default(), memory, CancelToken::new());
            let Ok(mut store) = store else { return true };
            Sandbox::begin_call(&mut store);
            let _running = self.clock.run();
            match self.component.instantiate(&mut store).map_err(trapped) {
                Err(error) if error.code() == ErrorCode::MemoryLimit => {
                    tracing::debug!(%error, "not enough address space for the instances");
                    return false;
                }
                instance => instances.push((store, instance)),
            }
        }
        true
    }
}

/// Links the component with its imports.
fn link(engine: &wasmtime::Engine, component: &Component) -> wasmtime::Result<PersistPre<Sandbox>> {
    let mut linker = Linker::new(engine);
    crate::sandbox::bindings::storage::add_to_linker::<_, wasmtime::component::HasSelf<_>>(&mut linker, |sandbox: &mut Sandbox| sandbox)?;
    crate::sandbox::wasi::link(&mut linker, component)?;
    PersistPre::new(linker.instantiate_pre(component)?)
}

fn cannot_run(error: wasmtime::Error) -> PersistError {
    PersistError::new(ErrorCode::Other, format!("the component can't run here: {error:#}")).caused_by(error)
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if self.process.is_this() {
            self.clock.close();
        } else {
            // Dropping them could wait for locks held by threads that do not exist in
            // this process. An additional owner keeps them alive, and with them their
            // use of the image.
            std::mem::forget((self.engine.clone(), self.component.clone(), self.in_place.take()));
        }
    }
}
