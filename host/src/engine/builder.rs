//! Builds engines.

use std::env;
use std::sync::Arc;
use std::time::Duration;

use persist_model::{ErrorCode, PersistError, Result, units};

use crate::engine::engine::Engine;
use crate::engine::settings::Settings;
use crate::sandbox::{Budget, Code, Limits, Runtime};
use crate::storage::StorageAdapter;
use crate::workers::{Crew, Permits, WorkerPool};

/// Enough for a few hundred operations at once.
const DEFAULT_TOTAL_MEMORY_LIMIT: u64 = 4 << 30;

/// More workers would only wait for each other and for the disk.
const MAX_WORKERS: usize = 64;

/// The options that can be set from text.
const OPTION_NAMES: [&str; 4] = ["workers", "memory-limit", "total-memory-limit", "deadline"];

/// Builds an [`Engine`].
#[derive(Clone, Default)]
pub struct EngineBuilder {
    settings: Settings,
    storage: Option<Arc<dyn StorageAdapter>>,
}

impl std::fmt::Debug for EngineBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EngineBuilder")
            .field("storage", &self.storage)
            .field("memory_limit", &self.settings.memory_limit)
            .field("total_memory_limit", &self.settings.total_memory_limit)
            .field("deadline", &self.settings.deadline)
            .field("workers", &self.settings.workers)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Returns a builder with the default settings.
    pub fn builder() -> EngineBuilder {
        EngineBuilder::default()
    }

    /// Returns an engine like this one for a forked child process. The threads of the
    /// parent do not exist there, so their locks are never released. The compiled code
    /// is reused. A storage that has its own threads, such as S3, must be opened again.
    ///
    /// In the child, the parent's engine, its writers and its readers fail with
    /// `Configuration`. Dropping them there leaves everything to the parent, which
    /// continues to use it. A fork waits up to half a second for other threads that
    /// load code. If one is still loading then, or drops the last engine at that
    /// moment, the child may find a lock of wasmtime held forever.
    ///
    /// # Errors
    /// As [`EngineBuilder::build`].
    pub fn after_fork(&self) -> Result<Self> {
        let fresh = EngineBuilder { settings: self.settings.clone(), storage: Some(Arc::clone(&self.storage)) }
            .with_code(self.pool.runtime.code.clone())
            .build()?;
        Ok(Self { pool: fresh.pool, ..self.clone() })
    }
}

impl EngineBuilder {
    /// Sets the storage. There is no default: what should not be kept goes to a
    /// [`MemoryStorage`](crate::MemoryStorage).
    #[must_use]
    pub fn storage(self, storage: impl StorageAdapter + 'static) -> Self {
        self.shared_storage(Arc::new(storage))
    }

    /// Sets a storage that is shared with others.
    #[must_use]
    pub fn shared_storage(mut self, storage: Arc<dyn StorageAdapter>) -> Self {
        self.storage = Some(storage);
        self
    }

    /// Runs another component of the world `persist` instead of the built-in one. It is
    /// compiled when the engine is built, which takes a second or more. It runs in the
    /// same sandbox, and its results are passed on unchanged.
    #[cfg(feature = "compiler")]
    #[must_use]
    pub fn component(self, wasm: impl Into<Arc<[u8]>>) -> Self {
        self.with_code(Code::Wasm(wasm.into()))
    }

    /// Runs another component of the world `persist` instead of the built-in one,
    /// compiled ahead of time by `persist-precompile` (in `components/precompile`). It
    /// runs in the same sandbox, and its results are passed on unchanged.
    ///
    /// # Safety
    /// The bytes must be what `persist-precompile` or wasmtime itself wrote. They are
    /// run without further checks, so anyone who can change them can do whatever this
    /// process can. Only the version of wasmtime and the kind of processor are checked.
    #[must_use]
    pub unsafe fn precompiled_component(self, code: impl Into<Arc<[u8]>>) -> Self {
        self.with_code(Code::Compiled(code.into()))
    }

    fn with_code(self, code: Code) -> Self {
        Self { settings: Settings { code, ..self.settings }, ..self }
    }

    /// Sets the maximum memory of one instance of the component, in bytes. The default
    /// is 128 MiB. Snapshots written by this version need 2 to 8 MiB.
    #[must_use]
    pub fn memory_limit(mut self, bytes: usize) -> Self {
        self.settings.memory_limit = Some(bytes);
        self
    }

    /// Sets the maximum memory of all instances together, in bytes. The default is 4
    /// GiB. An operation that would exceed it fails; the others continue. Workers
    /// always leave enough for one more instance.
    #[must_use]
    pub fn total_memory_limit(mut self, bytes: u64) -> Self {
        self.settings.total_memory_limit = Some(bytes);
        self
    }

    /// Sets how long the component may compute in one call. The default is 30 s. A call
    /// works on a few megabytes, and time spent in storage does not count, so this
    /// stops a component that hangs, not a large transfer.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.settings.deadline = Some(deadline);
        self
    }

    /// Sets how many instances work on the blocks of a snapshot at once, at most 64.
    /// The default is the number of processors. One instance belongs to the operation
    /// and runs on the caller's thread; the others are shared by all operations of the
    /// engine. The number does not affect what is stored. A reader or writer that has
    /// nothing for its workers to do releases them after a second.
    ///
    /// Each worker takes up to 8 MiB, and two blocks in transit.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.settings.workers = Some(workers);
        self
    }

    /// Sets an option by its name: `workers` (1 to 64), `memory-limit`,
    /// `total-memory-limit` (bytes, or for example `128M`) or `deadline` (seconds, or
    /// for example `5m`).
    ///
    /// # Errors
    /// `Configuration` for an unknown name or an invalid value.
    pub fn option(self, name: &str, value: &str) -> Result<Self> {
        let wrong = |problem: String, hint: String| Err(PersistError::new(ErrorCode::InvalidArgument, problem).hint(hint));
        let expected = match name {
            "workers" => match value.parse() {
                Ok(workers @ 1..=MAX_WORKERS) => return Ok(self.workers(workers)),
                _ => format!("a number from 1 to {MAX_WORKERS}"),
            },
            "memory-limit" => match units::bytes(value).map(usize::try_from) {
                Some(Ok(bytes @ 1..)) => return Ok(self.memory_limit(bytes)),
                _ => "a size, such as 128M".to_owned(),
            },
            "total-memory-limit" => match units::bytes(value) {
                Some(bytes @ 1..) => return Ok(self.total_memory_limit(bytes)),
                _ => "a size, such as 4G".to_owned(),
            },
            "deadline" => match units::duration(value) {
                Some(deadline) if !deadline.is_zero() => return Ok(self.deadline(deadline)),
                _ => "a time, such as 30s".to_owned(),
            },
            _ => return wrong(format!("the engine option '{name}' is not known"), format!("use one of {}", OPTION_NAMES.join(", "))),
        };
        wrong(format!("'{}' is not a valid value for the engine option {name}", value.escape_debug()), format!("use {expected}"))
    }

    /// Sets the options from the environment: `PERSIST_WORKERS`,
    /// `PERSIST_MEMORY_LIMIT`, `PERSIST_TOTAL_MEMORY_LIMIT` and `PERSIST_DEADLINE`,
    /// with values as in [`option`](Self::option). An empty variable counts as unset.
    /// Options that were set before take precedence.
    ///
    /// # Errors
    /// `Configuration` that names the variable.
    pub fn environment(mut self) -> Result<Self> {
        let Settings { workers, memory_limit, total_memory_limit, deadline, .. } = &self.settings;
        let known = [workers.is_some(), memory_limit.is_some(), total_memory_limit.is_some(), deadline.is_some()];
        for (name, _) in OPTION_NAMES.into_iter().zip(known).filter(|(_, is_known)| !is_known) {
            let variable = format!("PERSIST_{}", name.to_ascii_uppercase().replace('-', "_"));
            if let Some(value) = env::var_os(&variable).filter(|value| !value.is_empty()) {
                self = self.option(name, &value.to_string_lossy()).map_err(|error| error.at(&variable))?;
            }
        }
        Ok(self)
    }

    /// Builds the engine and loads the component. The built-in component is loaded once
    /// per process and shared by all engines.
    ///
    /// # Errors
    /// `Configuration` without a storage; `Other` if the machine can't run the component.
    pub fn build(self) -> Result<Engine> {
        let Self { settings, storage } = self;
        let storage = storage.ok_or_else(|| {
            PersistError::new(ErrorCode::InvalidArgument, "the engine has no storage")
                .hint("call storage() with a LocalFileStorage, or with a MemoryStorage if nothing is to be kept")
        })?;
        let runtime = match &settings.code {
            Code::BuiltIn => Runtime::shared()?,
            other => Runtime::new(other)?,
        };
        let default = Limits::default();
        let limits =
            Limits { memory: settings.memory_limit.unwrap_or(default.memory), deadline: settings.deadline.unwrap_or(default.deadline) };
        let processors = || std::thread::available_parallelism().map_or(1, usize::from);
        let workers = settings.workers.unwrap_or_else(processors).clamp(1, MAX_WORKERS);
        let budget = Budget::new(settings.total_memory_limit.unwrap_or(DEFAULT_TOTAL_MEMORY_LIMIT));
        let pool = WorkerPool { runtime, permits: Permits::new(workers), crew: Crew::new(workers - 1), budget };
        Ok(Engine::new(Arc::new(pool), storage, limits, settings))
    }
}
