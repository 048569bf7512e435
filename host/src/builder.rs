//! Setting up an engine.

#[cfg(feature = "compiler")]
use std::borrow::Cow;
use std::env;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::Config;
use wasmtime::component::{Component, Linker};

use crate::bindings::PersistPre;
use crate::budget::Budget;
use crate::clock::Clock;
#[cfg(feature = "compiler")]
use crate::compile::CompileCache;
use crate::component::Code;
use crate::crew::Crew;
use crate::engine::Engine;
use crate::error::{ErrorCode, PersistError, Result};
use crate::guest::Shared;
use crate::parallel::Permits;
use crate::pool;
use crate::process::Process;
use crate::sandbox::{Limits, Sandbox};
use crate::storage::{MemoryStorage, StorageAdapter};

/// Enough for every snapshot within the format's limits: blocks of 8 MiB and
/// the largest table, a few times over.
const DEFAULT_MEMORY_LIMIT: usize = 128 << 20;

/// Enough for some hundred operations at once.
const DEFAULT_TOTAL_MEMORY_LIMIT: u64 = 4 << 30;

/// More would wait for each other, and for the disk.
const MAX_WORKERS: usize = 64;

/// Instances that there have to be addresses for at once.
const INSTANCES: usize = 8;

/// For one call into the component, which works on a few megabytes: under a
/// second everywhere but on the smallest machines.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(30);

/// The options that text can set.
const OPTION_NAMES: [&str; 4] = ["workers", "memory-limit", "total-memory-limit", "deadline"];

/// Sets up an [`Engine`].
#[derive(Clone)]
pub struct EngineBuilder {
    code: Code,
    storage: Option<Arc<dyn StorageAdapter>>,
    memory_limit: Option<usize>,
    total_memory_limit: Option<u64>,
    deadline: Option<Duration>,
    #[cfg(feature = "compiler")]
    cache: CompileCache,
    workers: Option<usize>,
}

impl std::fmt::Debug for EngineBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EngineBuilder")
            .field("storage", &self.storage)
            .field("memory_limit", &self.memory_limit)
            .field("total_memory_limit", &self.total_memory_limit)
            .field("deadline", &self.deadline)
            .field("workers", &self.workers)
            .finish_non_exhaustive()
    }
}

impl Default for EngineBuilder {
    fn default() -> Self {
        Self {
            code: Code::BuiltIn,
            storage: None,
            memory_limit: None,
            total_memory_limit: None,
            deadline: None,
            #[cfg(feature = "compiler")]
            cache: CompileCache::default(),
            workers: None,
        }
    }
}

impl EngineBuilder {
    /// Where snapshots are; an empty memory of its own unless set.
    #[must_use]
    pub fn storage(self, storage: impl StorageAdapter + 'static) -> Self {
        self.shared_storage(Arc::new(storage))
    }

    /// Where snapshots are, shared with others.
    #[must_use]
    pub fn shared_storage(mut self, storage: Arc<dyn StorageAdapter>) -> Self {
        self.storage = Some(storage);
        self
    }

    /// Another component of the world `persist` than the built-in one. It gets
    /// the same sandbox; what it returns is passed on.
    #[cfg(feature = "compiler")]
    #[must_use]
    pub fn component(mut self, wasm: impl Into<Cow<'static, [u8]>>) -> Self {
        self.code = Code::Wasm(wasm.into());
        self
    }

    /// The most memory that one instance of the component may have, in bytes;
    /// 128 MiB unless set. What this version has written takes 2 to 8 MiB.
    #[must_use]
    pub fn memory_limit(mut self, bytes: usize) -> Self {
        self.memory_limit = Some(bytes);
        self
    }

    /// The most memory that all instances together may have, in bytes; 4 GiB
    /// unless set. An operation that would need more fails, and the others go on.
    /// The workers leave as much of it as one instance may have.
    #[must_use]
    pub fn total_memory_limit(mut self, bytes: u64) -> Self {
        self.total_memory_limit = Some(bytes);
        self
    }

    /// The longest that the component may compute in one call; 30 s unless
    /// set. A call works on a few megabytes, and time in storage does not count, so
    /// that this bounds a component that hangs, not a large transfer.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// How many instances work on the blocks of a snapshot at once: one for each
    /// processor unless set, at most 64. One is the operation's own, on the
    /// caller's thread; the others are shared by all operations of the engine.
    /// What is stored does not depend on it. A reader or writer that has nothing
    /// for them leaves them to others after a second.
    ///
    /// Each takes up to 8 MiB, and two blocks on their way to it and from it.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// Sets an option by its name: `workers` (1 to 64), `memory-limit`,
    /// `total-memory-limit` (bytes) or `deadline` (seconds).
    ///
    /// # Errors
    /// `Configuration` for another name, or a value that it can't have.
    pub fn option(self, name: &str, value: &str) -> Result<Self> {
        let wrong = |problem: String, hint: String| Err(PersistError::new(ErrorCode::InvalidArgument, problem).hint(hint));
        let expected = match name {
            "workers" => match value.parse() {
                Ok(workers @ 1..=MAX_WORKERS) => return Ok(self.workers(workers)),
                _ => format!("a number from 1 to {MAX_WORKERS}"),
            },
            "memory-limit" => match value.parse() {
                Ok(bytes @ 1..) => return Ok(self.memory_limit(bytes)),
                _ => "a number of bytes".to_owned(),
            },
            "total-memory-limit" => match value.parse() {
                Ok(bytes @ 1..) => return Ok(self.total_memory_limit(bytes)),
                _ => "a number of bytes".to_owned(),
            },
            "deadline" => match value.parse().map(Duration::try_from_secs_f64) {
                Ok(Ok(deadline)) if !deadline.is_zero() => return Ok(self.deadline(deadline)),
                _ => "a number of seconds".to_owned(),
            },
            _ => return wrong(format!("the engine's option '{name}' is not known"), format!("it is one of {}", OPTION_NAMES.join(", "))),
        };
        wrong(format!("'{}' is no value for the engine's option {name}", value.escape_debug()), format!("it is {expected}"))
    }

    /// Sets what the environment gives: `PERSIST_WORKERS`,
    /// `PERSIST_MEMORY_LIMIT`, `PERSIST_TOTAL_MEMORY_LIMIT` and
    /// `PERSIST_DEADLINE`, as [`option`](Self::option) does. Empty is unset, and
    /// what was set before says more.
    ///
    /// # Errors
    /// `Configuration` that names the variable.
    pub fn environment(mut self) -> Result<Self> {
        let known = [self.workers.is_some(), self.memory_limit.is_some(), self.total_memory_limit.is_some(), self.deadline.is_some()];
        for (name, _) in OPTION_NAMES.into_iter().zip(known).filter(|(_, is_known)| !is_known) {
            let variable = format!("PERSIST_{}", name.to_ascii_uppercase().replace('-', "_"));
            if let Some(value) = env::var_os(&variable).filter(|value| !value.is_empty()) {
                self = self.option(name, &value.to_string_lossy()).map_err(|error| error.at(&variable))?;
            }
        }
        Ok(self)
    }

    /// Where compiled code is kept between runs; the user's cache folder
    /// unless set.
    #[cfg(feature = "compiler")]
    #[must_use]
    pub fn compile_cache(mut self, cache: CompileCache) -> Self {
        self.cache = cache;
        self
    }

    /// Loads the component, compiling it if no compiled code is kept.
    ///
    /// # Errors
    /// `Other` where the machine can't run it.
    pub fn build(self) -> Result<Engine> {
        self.build_from(None)
    }

    /// Builds it with the component of another engine, which may be that of the
    /// process that this one was forked off.
    pub(crate) fn build_from(self, other: Option<&Component>) -> Result<Engine> {
        let began = Instant::now();
        let limits =
            Limits { memory: self.memory_limit.unwrap_or(DEFAULT_MEMORY_LIMIT), deadline: self.deadline.unwrap_or(DEFAULT_DEADLINE) };
        let engine = match self.assemble(limits, pool::config(limits.memory), other) {
            Ok(engine) => engine,
            Err(error) if error.code() == ErrorCode::LimitExceeded => return Err(error),
            Err(error) => {
                tracing::debug!(%error, "memory can't be reserved for many instances: each gets its own");
                let engine = self.assemble(limits, pool::config_without(), other)?;
                // Only instances show whether there are addresses for them: a copy
                // has two at once, a listing several.
                let mut instances = Vec::new();
                let failed = loop {
                    match engine.guest() {
                        Ok(_) if instances.len() + 1 == INSTANCES => break None,
                        Ok(instance) => instances.push(instance),
                        Err(error) => break Some(error),
                    }
                };
                let is_first = instances.is_empty();
                drop(instances);
                match failed {
                    #[cfg(feature = "compiler")]
                    Some(error) if error.code() == ErrorCode::MemoryLimit => {
                        tracing::debug!(%error, "an instance gets few addresses");
                        // Code of other settings does not fit.
                        self.assemble(limits, pool::config_for_few_addresses(), None)?
                    }
                    Some(error) if is_first => return Err(error),
                    _ => engine,
                }
            }
        };
        tracing::debug!(ms = began.elapsed().as_millis(), "the engine is ready");
        Ok(engine)
    }

    /// An engine of these settings.
    fn assemble(&self, limits: Limits, config: wasmtime::Result<Config>, other: Option<&Component>) -> Result<Engine> {
        let engine = config.and_then(|config| wasmtime::Engine::new(&config)).map_err(|error| cannot_run(&error))?;
        // Before the compiler takes what threads there are.
        let clock = Clock::start(engine.weak()).map_err(|error| {
            PersistError::new(ErrorCode::LimitExceeded, format!("no thread could be started: {error}"))
                .hint("allow this user more processes and threads, as with 'ulimit -u'")
        })?;
        let component = self.load(&engine, other).inspect_err(|_| clock.close())?;
        let storage = self.storage.clone().unwrap_or_else(|| Arc::new(MemoryStorage::new()));
        let workers = self.workers.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).clamp(1, MAX_WORKERS);
        let budget = Budget::new(self.total_memory_limit.unwrap_or(DEFAULT_TOTAL_MEMORY_LIMIT));
        let (permits, crew) = (Permits::new(workers), Crew::new(workers - 1));
        let shared = Shared { engine, component, clock, builder: self.clone(), permits, crew, budget, process: Process::this() };
        Ok(Engine::new(Arc::new(shared), storage, limits))
    }

    /// The component, ready to be instantiated.
    fn load(&self, engine: &wasmtime::Engine, other: Option<&Component>) -> Result<PersistPre<Sandbox>> {
        let component = match other {
            #[cfg(feature = "compiler")]
            Some(other) => crate::compile::compiled_before(engine, other)?,
            _ => self.code.load(
                engine,
                #[cfg(feature = "compiler")]
                &self.cache,
            )?,
        };
        let mut linker = Linker::new(engine);
        crate::bindings::storage::add_to_linker::<_, wasmtime::component::HasSelf<_>>(&mut linker, |sandbox: &mut Sandbox| sandbox)
            .and_then(|()| crate::wasi::link(&mut linker, &component))
            .and_then(|()| linker.instantiate_pre(&component))
            .and_then(PersistPre::new)
            .map_err(|error| cannot_run(&error))
    }
}

fn cannot_run(error: &wasmtime::Error) -> PersistError {
    PersistError::new(ErrorCode::Other, format!("the component can't run here: {error:#}"))
}
