//! Setting up an engine.

use std::env;
use std::sync::Arc;
use std::time::Duration;

use persist_model::units;

use crate::budget::Budget;
use crate::component::Code;
use crate::crew::Crew;
use crate::engine::Engine;
use crate::error::{ErrorCode, PersistError, Result};
use crate::guest::Shared;
use crate::parallel::Permits;
use crate::process::Process;
use crate::runtime::Runtime;
use crate::sandbox::Limits;
use crate::storage::{MemoryStorage, StorageAdapter};

/// Enough for some hundred operations at once.
const DEFAULT_TOTAL_MEMORY_LIMIT: u64 = 4 << 30;

/// More would wait for each other, and for the disk.
const MAX_WORKERS: usize = 64;

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
        Self { code: Code::BuiltIn, storage: None, memory_limit: None, total_memory_limit: None, deadline: None, workers: None }
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

    /// Another component of the world `persist` than the built-in one, compiled as
    /// the engine is built, which takes a second or more. It gets the same sandbox;
    /// what it returns is passed on.
    #[cfg(feature = "compiler")]
    #[must_use]
    pub fn component(self, wasm: impl Into<Arc<[u8]>>) -> Self {
        self.with_code(Code::Wasm(wasm.into()))
    }

    /// Another component of the world `persist` than the built-in one, compiled
    /// beforehand by `persist-precompile`, which is in `components/precompile`. It
    /// gets the same sandbox; what it returns is passed on.
    ///
    /// # Safety
    /// The bytes have to be what `persist-precompile` or wasmtime itself wrote. They
    /// are run as they are: whoever can change them can do all that this process
    /// can. That they are of this version of wasmtime, and for this kind of
    /// processor, is checked.
    #[must_use]
    pub unsafe fn precompiled_component(self, code: impl Into<Arc<[u8]>>) -> Self {
        self.with_code(Code::Compiled(code.into()))
    }

    pub(crate) fn with_code(self, code: Code) -> Self {
        Self { code, ..self }
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
    /// `total-memory-limit` (bytes, or as `128M`) or `deadline` (seconds, or as `5m`).
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
            "memory-limit" => match units::bytes(value).map(usize::try_from) {
                Some(Ok(bytes @ 1..)) => return Ok(self.memory_limit(bytes)),
                _ => "a size, as 128M".to_owned(),
            },
            "total-memory-limit" => match units::bytes(value) {
                Some(bytes @ 1..) => return Ok(self.total_memory_limit(bytes)),
                _ => "a size, as 4G".to_owned(),
            },
            "deadline" => match units::duration(value) {
                Some(deadline) if !deadline.is_zero() => return Ok(self.deadline(deadline)),
                _ => "a time, as 30s".to_owned(),
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

    /// Loads the component. The built-in one is loaded once: all engines of a
    /// process share it.
    ///
    /// # Errors
    /// `Other` where the machine can't run it.
    pub fn build(self) -> Result<Engine> {
        let runtime = match &self.code {
            Code::BuiltIn => Runtime::shared()?,
            other => Runtime::new(other)?,
        };
        let default = Limits::default();
        let limits = Limits { memory: self.memory_limit.unwrap_or(default.memory), deadline: self.deadline.unwrap_or(default.deadline) };
        let storage = self.storage.clone().unwrap_or_else(|| Arc::new(MemoryStorage::new()));
        let workers = self.workers.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)).clamp(1, MAX_WORKERS);
        let budget = Budget::new(self.total_memory_limit.unwrap_or(DEFAULT_TOTAL_MEMORY_LIMIT));
        let (permits, crew) = (Permits::new(workers), Crew::new(workers - 1));
        let shared = Shared { runtime, builder: self, permits, crew, budget, process: Process::this() };
        Ok(Engine::new(Arc::new(shared), storage, limits))
    }
}
