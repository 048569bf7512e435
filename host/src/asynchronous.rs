//! The engine for asynchronous programs: what blocks runs on tokio's threads for blocking work.

use std::fmt;
use std::panic;
use std::sync::{Arc, Mutex, PoisonError};

use persist_model::{
    Checked, HistoryEntry, ListEntry, ListFilter, OnConflict, Policy, Precondition, PruneReport, Result, SnapshotMetadata, SnapshotOptions,
    Step, StepSelector,
};
use tokio::task::spawn_blocking;

use crate::cancel::{CancelToken, cancelled};
use crate::engine::{Copied, CopiedTimeline, CopyOptions, DiffSource, Engine, Timeline};

/// Runs work on a thread for blocking work.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    spawn_blocking(work).await.map_err(|error| match error.try_into_panic() {
        Ok(payload) => panic::resume_unwind(payload),
        // The runtime is being shut down.
        Err(_) => cancelled(),
    })
}

/// Cancels an operation when nobody waits for it any longer.
struct Operation(CancelToken);

impl Drop for Operation {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Operation {
    /// Returns an operation, and the engine that runs it.
    fn on(engine: &Engine) -> (Self, Engine) {
        let outer = engine.cancel_token().clone();
        let token = CancelToken::asking(move || outer.is_cancelled());
        let engine = engine.with_cancel(&token);
        (Self(token), engine)
    }
}

/// An [`Engine`] for asynchronous programs on tokio. Clones are cheap.
///
/// Dropping the future of an operation cancels it, as a [`CancelToken`] does: an earlier
/// snapshot is unchanged then.
///
/// ```
/// use persist_host::{AsyncEngine, Engine, MemoryStorage, SnapshotOptions};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let engine = AsyncEngine::new(Engine::builder().storage(MemoryStorage::new()).build()?);
/// engine.snapshot("0001.json.gz", r#"{"step": 1}"#, SnapshotOptions::default()).await?;
/// assert_eq!(engine.restore("0001.json.gz").await?, br#"{"step": 1}"#);
/// # Ok(())
/// # })
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct AsyncEngine {
    engine: Engine,
}

impl AsyncEngine {
    /// Returns an engine that runs its operations on the threads of the tokio runtime that it is
    /// used in.
    pub fn new(engine: Engine) -> Self {
        Self { engine }
    }

    /// Returns the engine itself, for what has no asynchronous form.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce(&Engine) -> Result<T> + Send + 'static) -> Result<T> {
        let (operation, engine) = Operation::on(&self.engine);
        let done = blocking(move || work(&engine)).await;
        drop(operation);
        done?
    }

    /// As [`Engine::snapshot`].
    ///
    /// # Errors
    /// As [`Engine::snapshot`].
    pub async fn snapshot(&self, key: impl Into<String>, state: impl Into<Vec<u8>>, options: SnapshotOptions) -> Result<SnapshotMetadata> {
        let (key, state) = (key.into(), state.into());
        self.run(move |engine| engine.snapshot(&key, &state, &options)).await
    }

    /// As [`Engine::restore`].
    ///
    /// # Errors
    /// As [`Engine::restore`].
    pub async fn restore(&self, key: impl Into<String>) -> Result<Vec<u8>> {
        let key = key.into();
        self.run(move |engine| engine.restore(&key)).await
    }

    /// As [`Engine::metadata`].
    ///
    /// # Errors
    /// As [`Engine::metadata`].
    pub async fn metadata(&self, key: impl Into<String>) -> Result<SnapshotMetadata> {
        let key = key.into();
        self.run(move |engine| engine.metadata(&key)).await
    }

    /// As [`Engine::verify`].
    ///
    /// # Errors
    /// As [`Engine::verify`].
    pub async fn verify(&self, key: impl Into<String>) -> Result<SnapshotMetadata> {
        let key = key.into();
        self.run(move |engine| engine.verify(&key)).await
    }

    /// As [`Engine::exists`].
    ///
    /// # Errors
    /// As [`Engine::exists`].
    pub async fn exists(&self, key: impl Into<String>) -> Result<bool> {
        let key = key.into();
        self.run(move |engine| engine.exists(&key)).await
    }

    /// As [`Engine::delete`].
    ///
    /// # Errors
    /// As [`Engine::delete`].
    pub async fn delete(&self, key: impl Into<String>, precondition: Precondition) -> Result<()> {
        let key = key.into();
        self.run(move |engine| engine.delete(&key, precondition)).await
    }

    /// As [`Engine::copy`], without its progress.
    ///
    /// # Errors
    /// As [`Engine::copy`].
    pub async fn copy(
        &self,
        key: impl Into<String>,
        target: &Engine,
        target_key: impl Into<String>,
        options: CopyOptions,
    ) -> Result<Copied> {
        let (key, target, target_key) = (key.into(), target.clone(), target_key.into());
        self.run(move |engine| engine.copy(&key, &target, &target_key, options, |_| ())).await
    }

    /// As [`Engine::list_filtered`].
    pub fn list(&self, prefix: &str, filter: ListFilter) -> Items<ListEntry> {
        let (operation, engine) = Operation::on(&self.engine);
        let prefix = prefix.to_owned();
        Items::new(operation, move || Ok(Box::new(engine.list_filtered(&prefix, filter))))
    }

    /// As [`Engine::diff`], for differences of JSON.
    pub fn diff(&self, before: DiffSource, after: DiffSource) -> Items<persist_model::Change> {
        let (operation, engine) = Operation::on(&self.engine);
        Items::new(operation, move || Ok(Box::new(engine.diff(before, after)?)))
    }

    /// As [`Engine::timeline`].
    ///
    /// # Errors
    /// As [`Engine::timeline`].
    pub fn timeline(&self, folder: &str) -> Result<AsyncTimeline> {
        let timeline = self.engine.timeline(folder)?;
        Ok(AsyncTimeline { engine: self.clone(), folder: timeline.folder().to_owned(), appending: Arc::new(Mutex::new(timeline)) })
    }
}

/// A [`Timeline`] for asynchronous programs on tokio. Clones are the same timeline; their appends
/// follow one another.
///
/// Dropping the future of a call that reads cancels it. One that changes the timeline goes on, and
/// may be done or not when the program looks again.
#[derive(Clone, Debug)]
pub struct AsyncTimeline {
    engine: AsyncEngine,
    folder: String,
    appending: Arc<Mutex<Timeline>>,
}

impl AsyncTimeline {
    async fn read<T: Send + 'static>(&self, work: impl FnOnce(&Timeline) -> Result<T> + Send + 'static) -> Result<T> {
        let folder = self.folder.clone();
        self.engine.run(move |engine| work(&engine.timeline(&folder)?)).await
    }

    async fn change<T: Send + 'static>(&self, work: impl FnOnce(&mut Timeline) -> Result<T> + Send + 'static) -> Result<T> {
        let timeline = Arc::clone(&self.appending);
        // After a panic, the timeline reads what is stored again.
        blocking(move || work(&mut timeline.lock().unwrap_or_else(PoisonError::into_inner))).await?
    }

    fn items<T: Send + 'static>(&self, open: impl FnOnce(&Timeline) -> Opened<T> + Send + 'static) -> Items<T> {
        let (operation, engine) = Operation::on(&self.engine.engine);
        let folder = self.folder.clone();
        Items::new(operation, move || open(&engine.timeline(&folder)?))
    }

    /// As [`Timeline::append`].
    ///
    /// # Errors
    /// As [`Timeline::append`].
    pub async fn append(&self, state: impl Into<Vec<u8>>, options: SnapshotOptions, on_conflict: OnConflict) -> Result<Step> {
        let state = state.into();
        self.change(move |timeline| timeline.append(&state, &options, on_conflict)).await
    }

    /// As [`Timeline::finish`].
    ///
    /// # Errors
    /// As [`Timeline::finish`].
    pub async fn finish(&self) -> Result<()> {
        self.change(Timeline::finish).await
    }

    /// As [`Timeline::find`].
    ///
    /// # Errors
    /// As [`Timeline::find`].
    pub async fn find(&self, wanted: StepSelector) -> Result<Step> {
        self.read(move |timeline| timeline.find(&wanted)).await
    }

    /// As [`Timeline::load`].
    ///
    /// # Errors
    /// As [`Timeline::load`].
    pub async fn load(&self, wanted: StepSelector) -> Result<Vec<u8>> {
        self.read(move |timeline| timeline.load(&wanted)).await
    }

    /// As [`Timeline::history`].
    pub fn history(&self, filter: ListFilter, limit: Option<u32>) -> Items<HistoryEntry> {
        self.items(move |timeline| Ok(Box::new(timeline.history(filter, limit)?)))
    }

    /// As [`Timeline::check`].
    pub fn check(&self, read_data: bool) -> Items<Checked> {
        self.items(move |timeline| Ok(Box::new(timeline.check(read_data)?)))
    }

    /// As [`Timeline::set_label`].
    ///
    /// # Errors
    /// As [`Timeline::set_label`].
    pub async fn set_label(&self, number: u64, name: impl Into<String>, value: Option<String>) -> Result<()> {
        let name = name.into();
        self.change(move |timeline| timeline.set_label(number, &name, value.as_deref())).await
    }

    /// As [`Timeline::prune`].
    ///
    /// # Errors
    /// As [`Timeline::prune`].
    pub async fn prune(&self, keep: Policy, dry_run: bool) -> Result<PruneReport> {
        self.change(move |timeline| timeline.prune(&keep, dry_run)).await
    }

    /// As [`Timeline::repair`].
    ///
    /// # Errors
    /// As [`Timeline::repair`].
    pub async fn repair(&self, forget_damaged: bool) -> Result<u64> {
        self.change(move |timeline| timeline.repair(forget_damaged)).await
    }

    /// As [`Timeline::copy`], without its progress.
    ///
    /// # Errors
    /// As [`Timeline::copy`].
    pub async fn copy(&self, target: &Engine, folder: impl Into<String>) -> Result<CopiedTimeline> {
        let (target, folder) = (target.clone(), folder.into());
        self.change(move |timeline| timeline.copy(&target, &folder, |_| ())).await
    }

    /// As [`Timeline::delete`].
    ///
    /// # Errors
    /// As [`Timeline::delete`].
    pub async fn delete(&self) -> Result<u64> {
        self.change(Timeline::delete).await
    }
}

type Iter<T> = Box<dyn Iterator<Item = Result<T>> + Send>;
type Opened<T> = Result<Iter<T>>;

/// Where [`Items`] are.
enum State<T> {
    Closed(Box<dyn FnOnce() -> Opened<T> + Send>),
    Open(Iter<T>),
    /// The last one was asked for, and nobody waited for the answer.
    Dropped,
    Ended,
}

/// What an operation finds, one after the other. It is read while it is asked for.
pub struct Items<T> {
    state: State<T>,
    _operation: Operation,
}

impl<T> fmt::Debug for Items<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Items").finish_non_exhaustive()
    }
}

impl<T: Send + 'static> Items<T> {
    fn new(operation: Operation, open: impl FnOnce() -> Opened<T> + Send + 'static) -> Self {
        Self { state: State::Closed(Box::new(open)), _operation: operation }
    }

    /// Returns the next one, or nothing at the end. An error is the last one, unless the blocking
    /// form goes on after it. After a future was dropped before it was done, there is one more
    /// error, and no more.
    pub async fn next(&mut self) -> Option<Result<T>> {
        let state = std::mem::replace(&mut self.state, State::Dropped);
        let work = move || {
            let mut items = match state {
                State::Closed(open) => match open() {
                    Ok(items) => items,
                    Err(error) => return (State::Ended, Some(Err(error))),
                },
                State::Open(items) => items,
                State::Dropped => return (State::Ended, Some(Err(cancelled()))),
                State::Ended => return (State::Ended, None),
            };
            match items.next() {
                None => (State::Ended, None),
                item => (State::Open(items), item),
            }
        };
        match blocking(work).await {
            Ok((state, item)) => {
                self.state = state;
                item
            }
            Err(error) => Some(Err(error)),
        }
    }

    /// Returns all that are left.
    ///
    /// # Errors
    /// The first error.
    pub async fn collect(mut self) -> Result<Vec<T>> {
        let mut all = Vec::new();
        while let Some(item) = self.next().await {
            all.push(item?);
        }
        Ok(all)
    }
}
