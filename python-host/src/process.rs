//! The state of the process: the engine, and the connections to buckets.

use std::collections::VecDeque;
use std::env;
use std::ffi::OsString;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::ArcSwapOption;
use persist_host::{Engine, MemoryStorage, Result, StorageAdapter, StorageConfig, StorageLocation};

/// How many combinations of bucket, settings and credentials stay connected.
const MAX_BUCKETS: usize = 32;

#[derive(Default)]
struct Process {
    id: u32,
    engine: OnceLock<Engine>,
    /// Held while the engine is built, so that it is built once.
    starting: Mutex<()>,
    buckets: Mutex<VecDeque<Bucket>>,
}

struct Bucket {
    name: String,
    config: StorageConfig,
    environment: Vec<(OsString, OsString)>,
    storage: Arc<dyn StorageAdapter>,
}

static CURRENT: ArcSwapOption<Process> = ArcSwapOption::const_empty();

/// Returns the state of this process. A forked child has its own, since none of its
/// parent's threads run in it.
fn current() -> Result<Arc<Process>> {
    let id = std::process::id();
    let known = CURRENT.load_full();
    if let Some(process) = &known
        && process.id == id
    {
        return Ok(Arc::clone(process));
    }
    let process = Process { id, ..Process::default() };
    if let Some(engine) = known.as_ref().and_then(|parents| parents.engine.get()) {
        let _ = process.engine.set(engine.after_fork()?);
    }
    let process = Arc::new(process);
    let replaced = CURRENT.compare_and_swap(&known, Some(Arc::clone(&process)));
    if !same(replaced.as_ref(), known.as_ref()) {
        // Another thread was faster.
        return current();
    }
    // Never dropped, since that would wait for threads that do not exist in this process.
    std::mem::forget(known);
    Ok(process)
}

fn same(one: Option<&Arc<Process>>, other: Option<&Arc<Process>>) -> bool {
    one.map(Arc::as_ptr) == other.map(Arc::as_ptr)
}

/// Returns the engine on this storage. Call it without the GIL, since the first call
/// takes a while.
pub(crate) fn engine(storage: Arc<dyn StorageAdapter>) -> Result<Engine> {
    let process = current()?;
    if let Some(engine) = process.engine.get() {
        return Ok(engine.with_storage(storage));
    }
    let _starting = process.starting.lock().unwrap_or_else(PoisonError::into_inner);
    let engine = match process.engine.get() {
        Some(engine) => engine.clone(),
        None => {
            let engine = Engine::builder().storage(MemoryStorage::new()).environment()?.build()?;
            process.engine.get_or_init(|| engine).clone()
        }
    };
    Ok(engine.with_storage(storage))
}

/// Returns the storage of a location. Buckets stay connected as long as the settings and
/// the environment variables that AWS reads do not change.
pub(crate) fn storage(config: &StorageConfig, location: &StorageLocation) -> Result<Arc<dyn StorageAdapter>> {
    let StorageLocation::S3 { bucket: name, .. } = location else { return config.open(location) };
    let process = current()?;
    let environment = aws_environment();
    let buckets = || process.buckets.lock().unwrap_or_else(PoisonError::into_inner);
    let is_wanted = |bucket: &&Bucket| bucket.name == *name && bucket.environment == environment && bucket.config == *config;
    if let Some(bucket) = buckets().iter().find(is_wanted) {
        return Ok(Arc::clone(&bucket.storage));
    }
    // Opened without the lock, since logging may run Python code.
    let storage = config.open(location)?;
    let mut buckets = buckets();
    if buckets.len() >= MAX_BUCKETS {
        buckets.pop_front();
    }
    buckets.push_back(Bucket { name: name.clone(), config: config.clone(), environment, storage: Arc::clone(&storage) });
    Ok(storage)
}

/// Returns the environment variables that affect how AWS is accessed. Call it with the
/// GIL held, as `os.environ` holds it when it changes them.
fn aws_environment() -> Vec<(OsString, OsString)> {
    let counts = |name: &str| {
        name.starts_with("AWS_")
            || matches!(
                name.to_ascii_uppercase().as_str(),
                "HOME" | "HTTP_PROXY" | "HTTPS_PROXY" | "ALL_PROXY" | "NO_PROXY" | "SSL_CERT_FILE" | "SSL_CERT_DIR"
            )
    };
    let mut environment: Vec<_> = env::vars_os().filter(|(name, _)| name.to_str().is_some_and(counts)).collect();
    environment.sort();
    environment
}
