//! Compiles a component, and calls it within limits.

use std::mem::take;
use std::thread;
use std::time::Duration;

use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Cache, Config, Engine, EngineWeak, Result, Store, StoreLimits, StoreLimitsBuilder, bail};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::bindings::{Core, storage};
use crate::memory::{MemoryStorage, Objects};

/// How often the epoch advances. The deadline of a call is counted in these ticks.
const TICK: Duration = Duration::from_millis(100);

/// The most memory that an instance may have. A call that takes or returns a whole state
/// holds all of it.
const MEMORY_BYTES: usize = 128 << 20;

/// The interface with which a component waits, in the version that this wasmtime has. The
/// test with the key `sleep/x` fails if the version changes.
const WASI_POLL: &str = "wasi:io/poll@0.2.12";

/// What one call may use.
#[derive(Clone, Copy, Debug)]
pub struct CallLimits {
    /// How long the component may compute, in steps of 0.1 s.
    pub computing: Duration,
    /// How many bytes it may write, keys included.
    pub written_bytes: usize,
}

impl Default for CallLimits {
    /// 30 seconds and 256 MiB.
    fn default() -> Self {
        Self { computing: Duration::from_secs(30), written_bytes: 256 << 20 }
    }
}

/// Everything that an instance of a component can reach.
pub struct Host {
    storage: MemoryStorage,
    /// No files, network, environment or arguments.
    wasi: WasiCtx,
    limits: StoreLimits,
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.storage.handles }
    }
}

/// A compiled component, and what its instances are linked with.
pub struct Sandbox {
    component: Component,
    linker: Linker<Host>,
}

impl Sandbox {
    /// Compiles a component. wasmtime keeps the compiled code in the user's cache folder, if
    /// there is one.
    pub fn new(wasm: &[u8]) -> Result<Self> {
        let mut config = Config::new();
        config.epoch_interruption(true).cache(Cache::from_file(None).ok());
        let engine = Engine::new(&config)?;
        start_clock(engine.weak());

        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_sync(&mut linker)?;
        forbid_waiting(&mut linker)?;
        storage::add_to_linker::<_, HasSelf<_>>(&mut linker, |host: &mut Host| &mut host.storage)?;
        Ok(Self { component: Component::new(&engine, wasm)?, linker })
    }

    /// Makes calls into one instance, with these objects as the storage.
    ///
    /// The instance is fresh: after a trap an instance can't be entered again. What was
    /// committed before a trap is stored, and nothing else is.
    pub fn call<T, F>(&self, objects: &mut Objects, limits: CallLimits, call: F) -> Result<T>
    where
        F: FnOnce(&Core, &mut Store<Host>) -> Result<T>,
    {
        let ticks = u64::try_from(limits.computing.as_millis() / TICK.as_millis())?;
        let storage = MemoryStorage::new(take(objects), limits.written_bytes);
        let host = Host { storage, wasi: WasiCtx::default(), limits: store_limits() };
        let mut store = Store::new(self.component.engine(), host);
        store.limiter(|host| &mut host.limits);
        store.set_epoch_deadline(ticks);

        let called = Core::instantiate(&mut store, &self.component, &self.linker).and_then(|persist| call(&persist, &mut store));
        *objects = store.into_data().storage.objects;
        called
    }
}

/// Starts a thread that advances the engine's epoch, so that calls reach their deadlines.
/// It ends soon after the engine is dropped.
fn start_clock(engine: EngineWeak) {
    thread::spawn(move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            // Dropped before the sleep, so that this thread does not keep the engine alive.
            drop(engine);
            thread::sleep(TICK);
        }
    });
}

/// Makes every wait trap. The deadline only stops code that runs, so a component that
/// waits would never be stopped. Nothing here needs to wait: the storage answers at once.
fn forbid_waiting(linker: &mut Linker<Host>) -> Result<()> {
    linker.allow_shadowing(true);
    let mut poll = linker.instance(WASI_POLL)?;
    for wait in ["poll", "[method]pollable.block"] {
        poll.func_new(wait, |_, _, _, _| bail!("there is nothing to wait for here"))?;
    }
    linker.allow_shadowing(false);
    Ok(())
}

fn store_limits() -> StoreLimits {
    StoreLimitsBuilder::new()
        .memory_size(MEMORY_BYTES)
        .memories(1)
        .instances(32)
        .tables(32)
        .table_elements(100_000)
        // Otherwise the component is told that it got nothing, and may try again for ever.
        .trap_on_grow_failure(true)
        .build()
}
