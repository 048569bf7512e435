//! Compiled code, ready to be instantiated, and the engine of wasmtime that runs
//! it. That of the built-in component is made once for a process: all engines share
//! it, and with it the addresses that are reserved for instances.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use wasmtime::Config;
use wasmtime::component::{Component, Linker};

use crate::bindings::PersistPre;
use crate::budget::{Budget, Share};
use crate::cancel::CancelToken;
use crate::clock::Clock;
use crate::code;
use crate::component::{Code, check_imports};
use crate::error::{ErrorCode, PersistError, Result};
use crate::fork;
use crate::image::{Image, InPlace};
use crate::pool;
use crate::process::{PerProcess, Process};
use crate::sandbox::{self, Limits, Sandbox};
use crate::storage::MemoryStorage;

/// What runs instances of one component.
pub(crate) struct Runtime {
    pub(crate) component: PersistPre<Sandbox>,
    pub(crate) engine: wasmtime::Engine,
    pub(crate) clock: Arc<Clock>,
    /// What it was loaded from, with nothing left to compile.
    pub(crate) code: Code,
    process: Process,
    /// Others may run the image in place once all of the above is gone.
    in_place: Option<InPlace>,
}

/// How much memory instances find addresses for.
#[derive(Clone, Copy, Debug)]
enum Addresses {
    /// Reserved once for many instances.
    Pool,
    /// 4 GiB for each instance, when it is made.
    Each,
    /// A few mebibytes for each.
    Few,
}

impl Addresses {
    fn config(self) -> Config {
        match self {
            Self::Pool => pool::config(),
            Self::Each => code::config(),
            Self::Few => code::config_for_few_addresses(),
        }
    }

    /// # Errors
    /// `MemoryLimit` where this build has none for few addresses.
    fn image(self) -> Result<&'static Image> {
        match self {
            Self::Pool | Self::Each => Ok(Image::with_many_addresses()),
            Self::Few => Image::with_few_addresses().ok_or_else(no_addresses),
        }
    }
}

fn no_addresses() -> PersistError {
    PersistError::new(ErrorCode::MemoryLimit, "the system has no addresses for the component")
        .hint("allow this user more of them, as with 'ulimit -v', or use code for few: the built-in one with the feature few-addresses")
}

/// Compiled code for instances of so many addresses; none for the built-in component.
fn bring(code: &Code, addresses: Addresses) -> Result<Option<Arc<[u8]>>> {
    #[cfg(not(feature = "compiler"))]
    let _ = addresses;
    Ok(match code {
        Code::BuiltIn => None,
        Code::Compiled(bytes) => Some(Arc::clone(bytes)),
        #[cfg(feature = "compiler")]
        Code::Wasm(wasm) => Some(crate::compile::compile(&addresses.config(), wasm)?.into()),
    })
}

/// Instances that there have to be addresses for at once: a copy has two, a listing
/// several.
const INSTANCES: usize = 8;

impl Runtime {
    /// That of the built-in component in this process.
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

    /// One for this code alone.
    pub(crate) fn new(code: &Code) -> Result<Arc<Self>> {
        let began = Instant::now();
        let many = bring(code, Addresses::Each)?;
        let runtime = match Self::with(many.clone(), Addresses::Pool) {
            Ok(runtime) => runtime,
            Err(error) if error.code() == ErrorCode::LimitExceeded => return Err(error),
            Err(error) => {
                tracing::debug!(%error, "memory can't be reserved for many instances: each gets its own");
                let with_few = || Self::with(bring(code, Addresses::Few)?, Addresses::Few);
                match Self::with(many, Addresses::Each) {
                    Ok(runtime) if runtime.has_addresses() => runtime,
                    // Code that is for many addresses is no use then.
                    Ok(_) => with_few().map_err(|error| if matches!(code, Code::Compiled(_)) { no_addresses() } else { error })?,
                    // It may be code for few addresses.
                    Err(error) => with_few().map_err(|_| error)?,
                }
            }
        };
        tracing::debug!(ms = began.elapsed().as_millis(), "the component is loaded");
        Ok(Arc::new(runtime))
    }

    /// `brought` is compiled code; none for the built-in component.
    fn with(brought: Option<Arc<[u8]>>, addresses: Addresses) -> Result<Self> {
        let no_fork = fork::hold_off();
        let loaded = match &brought {
            None => addresses.image()?.load(addresses.config()),
            Some(bytes) => wasmtime::Engine::new(&addresses.config()).and_then(|engine| {
                // SAFETY: whoever gave the bytes has promised that wasmtime made
                // them. That its version and settings fit is checked by wasmtime.
                let component = unsafe { Component::deserialize(&engine, bytes) }?;
                Ok((engine, component, None))
            }),
        };
        let (engine, component, in_place) = loaded.map_err(|error| cannot_run(&error))?;
        check_imports(&engine, &component)?;
        let component = link(&engine, &component).map_err(|error| cannot_run(&error))?;
        let clock = Clock::start(engine.weak()).map_err(|error| {
            PersistError::new(ErrorCode::LimitExceeded, format!("no thread could be started: {error}"))
                .hint("allow this user more processes and threads, as with 'ulimit -u'")
        })?;
        drop(no_fork);
        let code = brought.map_or(Code::BuiltIn, Code::Compiled);
        Ok(Self { component, engine, clock, code, process: Process::this(), in_place })
    }

    /// Whether instances find the addresses that they ask for. Only instances show
    /// it; what else is wrong with them, the first that is used says.
    fn has_addresses(&self) -> bool {
        let mut instances = Vec::new();
        for _ in 0..INSTANCES {
            let nowhere = Arc::new(MemoryStorage::new());
            let memory = Share::new(&Budget::new(u64::MAX), 0);
            let mut store = Sandbox::store(&self.engine, nowhere, Limits::default(), memory, CancelToken::new());
            Sandbox::begin_call(&mut store);
            let _running = self.clock.run();
            match self.component.instantiate(&mut store).map_err(|error| sandbox::trapped(&error)) {
                Err(error) if error.code() == ErrorCode::MemoryLimit => {
                    tracing::debug!(%error, "an instance gets few addresses");
                    return false;
                }
                instance => instances.push((store, instance)),
            }
        }
        true
    }
}

/// The component with what it imports.
fn link(engine: &wasmtime::Engine, component: &Component) -> wasmtime::Result<PersistPre<Sandbox>> {
    let mut linker = Linker::new(engine);
    crate::bindings::storage::add_to_linker::<_, wasmtime::component::HasSelf<_>>(&mut linker, |sandbox: &mut Sandbox| sandbox)?;
    crate::wasi::link(&mut linker, component)?;
    PersistPre::new(linker.instantiate_pre(component)?)
}

fn cannot_run(error: &wasmtime::Error) -> PersistError {
    PersistError::new(ErrorCode::Other, format!("the component can't run here: {error:#}"))
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if self.process.is_this() {
            self.clock.close();
        } else {
            // Dropped, they would take locks that threads may hold which are not
            // here. One more owner, and they stay; and so they use the image.
            std::mem::forget((self.engine.clone(), self.component.clone(), self.in_place.take()));
        }
    }
}
