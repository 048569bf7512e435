//! Appending to a timeline, with the newest state kept from one append to the next.

use std::env;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use persist_host::timeline::{OnConflict, Step};
use persist_host::{ErrorCode, GrowingState, PersistError, SnapshotOptions};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::error::exception;
use crate::operation::{CancelToken, Operation};
use crate::options;
use crate::saving::CHUNK;
use crate::timeline::{StepParts, Timeline, parts};

/// How often a waiting append checks whether it is its turn, or was cancelled.
const TURN: Duration = Duration::from_millis(2);

/// How often a state is sent again after other writers appended.
const MAX_RESENDS: u32 = 20;

/// The largest state that is kept to be changed at its end, in bytes.
const MAX_GROWING: usize = 64 << 20;

/// Appends to one timeline. It keeps the newest state, so that the next append reads
/// nothing.
#[pyclass(frozen, module = "persist._persist")]
pub(crate) struct Appender {
    kept: ArcSwapOption<Kept>,
}

/// What one process keeps. A forked child has its own, since its parent's lock may be held
/// by a thread that does not exist in it.
struct Kept {
    process: u32,
    open: Mutex<Option<Open>>,
}

/// A timeline that is open, and the token of the operation that is running on it.
struct Open {
    /// The current folder that a relative path began at.
    began_at: Option<PathBuf>,
    timeline: persist_host::Timeline,
    /// The state of the last step that was appended here, and its number, if more is to be added to it.
    growing: Option<(u64, GrowingState)>,
    token: persist_host::CancelToken,
    current: Arc<Mutex<Option<persist_host::CancelToken>>>,
}

impl Open {
    fn new(place: &Timeline) -> Result<Self, PersistError> {
        let current = Arc::new(Mutex::new(None::<persist_host::CancelToken>));
        let asked = Arc::clone(&current);
        let token = persist_host::CancelToken::asking(move || {
            let current = asked.lock().unwrap_or_else(PoisonError::into_inner).clone();
            current.is_some_and(|token| token.is_cancelled())
        });
        let timeline = place.open(&token)?;
        let location = timeline.location();
        let is_relative = !location.starts_with('/') && !location.contains("://");
        Ok(Self { began_at: if is_relative { env::current_dir().ok() } else { None }, timeline, growing: None, token, current })
    }

    /// Returns whether its relative path means another folder by now.
    fn is_elsewhere(&self) -> bool {
        self.began_at.is_some() && env::current_dir().ok() != self.began_at
    }

    /// Appends a state, and keeps it.
    fn grow(&mut self, mut state: GrowingState, options: &SnapshotOptions, on_conflict: OnConflict) -> Result<Step, PersistError> {
        let step = self.timeline.append_growing(&mut state, options, on_conflict)?;
        self.growing = Some((step.number, state));
        Ok(step)
    }

    fn set(&self, token: Option<persist_host::CancelToken>) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = token;
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        // Otherwise, what it writes down about its steps would get into the other folder.
        if self.is_elsewhere() {
            self.token.cancel();
        }
    }
}

impl Kept {
    /// Waits until no other thread uses the timeline. Call it without the GIL.
    fn lock(&self, token: &persist_host::CancelToken) -> Result<MutexGuard<'_, Option<Open>>, PersistError> {
        loop {
            match self.open.try_lock() {
                Ok(open) => return Ok(open),
                Err(TryLockError::Poisoned(open)) => return Ok(open.into_inner()),
                Err(TryLockError::WouldBlock) => token.check()?,
            }
            thread::sleep(TURN);
        }
    }
}

impl Appender {
    /// Returns what this process keeps.
    fn kept(&self) -> Arc<Kept> {
        loop {
            let known = self.kept.load_full();
            if let Some(kept) = &known
                && kept.process == std::process::id()
            {
                return Arc::clone(kept);
            }
            let new = Arc::new(Kept { process: std::process::id(), open: Mutex::new(None) });
            let replaced = self.kept.compare_and_swap(&known, Some(new));
            if replaced.as_ref().map(Arc::as_ptr) == known.as_ref().map(Arc::as_ptr) {
                // Never dropped here, since it belongs to the parent.
                std::mem::forget(known);
            }
        }
    }

    /// Runs an operation on the open timeline, which is opened if need be.
    fn run<T>(
        &self,
        place: &Timeline,
        token: &persist_host::CancelToken,
        work: impl FnOnce(&mut Open) -> Result<T, PersistError>,
    ) -> Result<T, PersistError> {
        let kept = self.kept();
        let mut slot = kept.lock(token)?;
        token.check()?;
        let mut open = match slot.take().filter(|open| !open.is_elsewhere()) {
            Some(open) => open,
            None => Open::new(place)?,
        };
        open.set(Some(token.clone()));
        let done = work(&mut open);
        // Once cancelled, its token stays so.
        let is_usable = !open.token.is_cancelled();
        open.set(None);
        if is_usable {
            *slot = Some(open);
        }
        done
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        let Some(kept) = self.kept.swap(None) else { return };
        if kept.process == std::process::id() {
            // Dropping may wait for a storage that logs, which takes the GIL.
            Python::attach(|py| py.detach(|| drop(kept)));
        } else {
            std::mem::forget(kept);
        }
    }
}

#[pymethods]
impl Appender {
    #[new]
    fn new() -> Self {
        Self { kept: ArcSwapOption::const_empty() }
    }

    /// Appends a state as the next step. If it `grows`, it is kept for `grow`.
    #[pyo3(signature = (timeline, state, arguments, on_conflict, progress=None, token=None, grows=false))]
    #[allow(clippy::too_many_arguments, reason = "the arguments of append")]
    fn append(
        &self,
        py: Python<'_>,
        timeline: &Timeline,
        state: &[u8],
        arguments: &Bound<'_, PyDict>,
        on_conflict: &Bound<'_, PyAny>,
        progress: Option<Py<PyAny>>,
        token: Option<&Bound<'_, CancelToken>>,
        grows: bool,
    ) -> PyResult<StepParts> {
        let options = options::snapshot_options(arguments)?;
        let on_conflict = match options::text("on_conflict", on_conflict)?.as_str() {
            "fail" => OnConflict::Fail,
            "rebase" => OnConflict::Rebase,
            other => {
                let message = format!("'{}' is not a valid value for on_conflict", other.escape_debug());
                return Err(exception(py, &PersistError::new(ErrorCode::InvalidArgument, message).hint("use fail or rebase")));
            }
        };
        let is_telling = progress.is_some();
        let mut operation = Operation::new(token, progress);
        let token = operation.token.clone();
        let step = operation.run_telling(py, |operation| {
            let step = self.run(timeline, &token, |open| {
                open.growing = None;
                if is_telling {
                    append_telling(&mut open.timeline, state, &options, on_conflict, operation)
                } else if grows && state.len() <= MAX_GROWING {
                    open.grow(GrowingState::new(state.to_vec()), &options, on_conflict)
                } else {
                    open.timeline.append(state, &options, on_conflict)
                }
            })?;
            operation.note_change("the step was stored all the same");
            Ok(step)
        })?;
        parts(py, &step)
    }

    /// Appends the state of the step with the number `after`, with `tail` in place of what is after its
    /// first `size` bytes. Returns nothing if that state is not kept.
    #[allow(clippy::too_many_arguments, reason = "the arguments of append")]
    #[pyo3(signature = (timeline, after, size, tail, arguments, token=None))]
    fn grow(
        &self,
        py: Python<'_>,
        timeline: &Timeline,
        after: u64,
        size: usize,
        tail: &[u8],
        arguments: &Bound<'_, PyDict>,
        token: Option<&Bound<'_, CancelToken>>,
    ) -> PyResult<Option<StepParts>> {
        let options = options::snapshot_options(arguments)?;
        let mut operation = Operation::new(token, None);
        let token = operation.token.clone();
        let step = operation.run_telling(py, |operation| {
            let step = self.run(timeline, &token, |open| {
                let Some((_, mut state)) = open.growing.take().filter(|(number, state)| {
                    *number == after && size.saturating_add(tail.len()) <= MAX_GROWING && size <= state.bytes().len()
                }) else {
                    return Ok(None);
                };
                state.replace_from(size, tail);
                open.grow(state, &options, OnConflict::Fail).map(Some)
            })?;
            if step.is_some() {
                operation.note_change("the step was stored all the same");
            }
            Ok(step)
        })?;
        step.as_ref().map(|step| parts(py, step)).transpose()
    }

    /// Records which step is the newest, and closes the timeline.
    #[pyo3(signature = (token=None))]
    fn close(&self, py: Python<'_>, token: Option<&Bound<'_, CancelToken>>) -> PyResult<()> {
        let operation = Operation::new(token, None);
        operation.run(py, || {
            let kept = self.kept();
            let Some(mut open) = kept.lock(&operation.token)?.take().filter(|open| !open.is_elsewhere()) else { return Ok(()) };
            open.set(Some(operation.token.clone()));
            open.timeline.finish()
        })
    }
}

/// Appends a state piece by piece, and reports progress.
fn append_telling(
    timeline: &mut persist_host::Timeline,
    state: &[u8],
    options: &SnapshotOptions,
    on_conflict: OnConflict,
    operation: &mut Operation,
) -> Result<Step, PersistError> {
    let total = state.len() as u64;
    let options = options.clone().size_hint(Some(total));
    let mut resends = 0;
    loop {
        let mut writer = timeline.writer(&options, on_conflict)?;
        let mut written = 0;
        for chunk in state.chunks(CHUNK) {
            writer.write_state(chunk)?;
            written += chunk.len() as u64;
            operation.tell(written, Some(total))?;
        }
        match writer.commit() {
            // A large state is sent again.
            Err(error) if error.code() == ErrorCode::Conflict && on_conflict == OnConflict::Rebase && resends < MAX_RESENDS => resends += 1,
            appended => return appended,
        }
    }
}
