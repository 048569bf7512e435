//! Converts errors between the host and the component, and says why an instance was
//! stopped.

use std::fmt;
use std::time::Duration;

use persist_model::error::{ErrorDetail, HINT};
use persist_model::{ErrorCode, PersistError};
use persist_paths::timeline::{STEP_ADVICE, is_step};

use crate::cancel::cancelled;
use crate::sandbox::allocator::MAX_INSTANCES;
use crate::sandbox::bindings::storage as wit;
use crate::storage::StorageAdapter;

/// Why the host stopped a guest.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stopped {
    Memory { wanted: usize, limit: usize },
    TotalMemory { limit: u64 },
    Deadline(Duration),
    Cancelled,
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory { wanted, limit } => write!(f, "the component asked for {wanted} bytes of memory; the limit is {limit}"),
            Self::TotalMemory { limit } => write!(f, "the snapshots being written or read at once need more than {limit} bytes of memory"),
            Self::Cancelled => f.write_str("cancelled"),
            Self::Deadline(limit) => write!(f, "the component computed for more than {} s in one call", limit.as_secs_f64()),
        }
    }
}

impl std::error::Error for Stopped {}

/// Returns whether the system had no memory, or no addresses, for an instance.
fn is_out_of_memory(error: &wasmtime::Error) -> bool {
    error.chain().any(|cause| {
        let of_system = cause.downcast_ref::<std::io::Error>().and_then(rustix::io::Errno::from_io_error);
        of_system.or_else(|| cause.downcast_ref::<rustix::io::Errno>().copied()) == Some(rustix::io::Errno::NOMEM)
    })
}

/// Explains the error of a call into the guest.
pub(crate) fn trapped(error: wasmtime::Error) -> PersistError {
    // An error of the storage that the guest must not handle.
    if let Some(told) = error.downcast_ref::<PersistError>() {
        return told.clone();
    }
    let explained = match error.downcast_ref::<Stopped>() {
        Some(stopped @ Stopped::Memory { .. }) => PersistError::new(ErrorCode::MemoryLimit, stopped.to_string())
            .hint("raise the engine's memory limit, for example with PERSIST_MEMORY_LIMIT"),
        Some(stopped @ Stopped::TotalMemory { .. }) => PersistError::new(ErrorCode::LimitExceeded, stopped.to_string())
            .hint("finish or close some of them, or raise the engine's total memory limit, for example with PERSIST_TOTAL_MEMORY_LIMIT"),
        Some(stopped @ Stopped::Deadline(_)) => PersistError::new(ErrorCode::Deadline, stopped.to_string())
            .hint("raise the engine's deadline, for example with PERSIST_DEADLINE, or use a faster codec or level"),
        Some(Stopped::Cancelled) => cancelled(),
        None if error.is::<wasmtime::PoolConcurrencyLimitError>() => {
            let message = format!("{} snapshots are being written or read at once, which is the maximum", MAX_INSTANCES);
            PersistError::new(ErrorCode::LimitExceeded, message).hint("finish or close some of them")
        }
        None if is_out_of_memory(&error) => PersistError::new(
            ErrorCode::MemoryLimit,
            format!("the system could not provide memory for the component: {}", error.root_cause()),
        )
        .hint("free some memory, or raise this process's limit, for example with 'ulimit -v'"),
        None => {
            let cause = error.downcast_ref::<wasmtime::Trap>().map_or_else(|| error.root_cause().to_string(), ToString::to_string);
            PersistError::new(ErrorCode::Other, format!("the component failed: {cause}"))
        }
    };
    explained.caused_by(error)
}

/// The name under which a location passes through the guest. A hint passes through as
/// [`HINT`].
const LOCATION: &str = "location";

pub(crate) fn to_guest(error: &PersistError) -> wit::Error {
    let detail = error.detail();
    let mut details = detail.facts.clone();
    details.extend(detail.location.clone().map(|location| (LOCATION.to_owned(), location)));
    details.extend(detail.hint.clone().map(|hint| (HINT.to_owned(), hint)));
    wit::Error { code: detail.code.into(), retryable: detail.retryable, key: None, message: detail.message.clone(), details }
}

/// Converts an error of the guest, and takes the location and hint out of its details
/// again.
pub(crate) fn from_guest(error: wit::Error, storage: &dyn StorageAdapter) -> PersistError {
    let code = ErrorCode::from(error.code);
    let mut facts = error.details;
    let mut take = |name: &str| facts.iter().position(|(found, _)| found == name).map(|index| facts.remove(index).1);
    let (location, hint) = (take(LOCATION), take(HINT));
    let location = location.or_else(|| error.key.map(|key| storage.locate(&key)));
    let is_damaged_step = || matches!(code, ErrorCode::Integrity | ErrorCode::InvalidFormat) && location.as_deref().is_some_and(is_step);
    let advice = || if is_damaged_step() { Some(STEP_ADVICE) } else { code.advice() };
    let hint = hint.or_else(|| advice().map(str::to_owned));
    let mut detail = ErrorDetail::new(code, error.message);
    (detail.location, detail.retryable, detail.hint, detail.facts) = (location, error.retryable, hint, facts);
    PersistError::from_detail(detail)
}
