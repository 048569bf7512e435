//! Snapshots in asynchronous programs.

use persist_model::{Change, ListEntry, ListFilter, Precondition, Result, SnapshotMetadata, SnapshotOptions};

use super::items::Items;
use super::streams::{AsyncSalvager, AsyncSnapshotReader, AsyncSnapshotWriter};
use super::timeline::AsyncTimeline;
use super::{Operation, run};
use crate::engine::{Copied, CopyOptions, DiffSource, Engine};

/// An [`Engine`] for asynchronous programs on tokio. Clones are cheap.
///
/// Dropping the future of an operation cancels it, as a [`CancelToken`](crate::CancelToken) does: an earlier
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

    /// As [`Engine::snapshot`].
    ///
    /// # Errors
    /// As [`Engine::snapshot`].
    pub async fn snapshot(&self, key: impl Into<String>, state: impl Into<Vec<u8>>, options: SnapshotOptions) -> Result<SnapshotMetadata> {
        let (key, state) = (key.into(), state.into());
        run(&self.engine, move |engine| engine.snapshot(&key, &state, &options)).await
    }

    /// As [`Engine::writer`].
    ///
    /// # Errors
    /// As [`Engine::writer`].
    pub async fn writer(&self, key: impl Into<String>, options: SnapshotOptions) -> Result<AsyncSnapshotWriter> {
        let key = key.into();
        AsyncSnapshotWriter::open(&self.engine, move |engine| engine.writer(&key, options)).await
    }

    /// As [`Engine::reader`].
    ///
    /// # Errors
    /// As [`Engine::reader`].
    pub async fn reader(&self, key: impl Into<String>) -> Result<AsyncSnapshotReader> {
        let key = key.into();
        AsyncSnapshotReader::open(&self.engine, move |engine| engine.reader(&key)).await
    }

    /// As [`Engine::salvage`].
    ///
    /// # Errors
    /// As [`Engine::salvage`].
    pub async fn salvage(&self, key: impl Into<String>) -> Result<AsyncSalvager> {
        let key = key.into();
        AsyncSalvager::open(&self.engine, move |engine| engine.salvage(&key)).await
    }

    /// As [`Engine::restore`].
    ///
    /// # Errors
    /// As [`Engine::restore`].
    pub async fn restore(&self, key: impl Into<String>) -> Result<Vec<u8>> {
        let key = key.into();
        run(&self.engine, move |engine| engine.restore(&key)).await
    }

    /// As [`Engine::metadata`].
    ///
    /// # Errors
    /// As [`Engine::metadata`].
    pub async fn metadata(&self, key: impl Into<String>) -> Result<SnapshotMetadata> {
        let key = key.into();
        run(&self.engine, move |engine| engine.metadata(&key)).await
    }

    /// As [`Engine::verify`].
    ///
    /// # Errors
    /// As [`Engine::verify`].
    pub async fn verify(&self, key: impl Into<String>) -> Result<SnapshotMetadata> {
        let key = key.into();
        run(&self.engine, move |engine| engine.verify(&key)).await
    }

    /// As [`Engine::exists`].
    ///
    /// # Errors
    /// As [`Engine::exists`].
    pub async fn exists(&self, key: impl Into<String>) -> Result<bool> {
        let key = key.into();
        run(&self.engine, move |engine| engine.exists(&key)).await
    }

    /// As [`Engine::delete`].
    ///
    /// # Errors
    /// As [`Engine::delete`].
    pub async fn delete(&self, key: impl Into<String>, precondition: Precondition) -> Result<()> {
        let key = key.into();
        run(&self.engine, move |engine| engine.delete(&key, precondition)).await
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
        run(&self.engine, move |engine| engine.copy(&key, &target, &target_key, options, |_| ())).await
    }

    /// As [`Engine::list_filtered`].
    pub fn list(&self, prefix: &str, filter: ListFilter) -> Items<ListEntry> {
        let (operation, engine) = Operation::on(&self.engine);
        let prefix = prefix.to_owned();
        Items::new(operation, move || Ok(Box::new(engine.list_filtered(&prefix, filter))))
    }

    /// As [`Engine::diff`], for differences of JSON.
    pub fn diff(&self, before: DiffSource, after: DiffSource) -> Items<Change> {
        let (operation, engine) = Operation::on(&self.engine);
        Items::new(operation, move || Ok(Box::new(engine.diff(before, after)?)))
    }

    /// As [`Engine::diff_with`], for differences of JSON.
    pub fn diff_with(&self, before: DiffSource, other: &Engine, after: DiffSource) -> Items<Change> {
        let (operation, engine) = Operation::on(&self.engine);
        let other = other.clone();
        Items::new(operation, move || Ok(Box::new(engine.diff_with(before, &other, after)?)))
    }

    /// As [`Engine::timeline`].
    ///
    /// # Errors
    /// As [`Engine::timeline`].
    pub fn timeline(&self, folder: &str) -> Result<AsyncTimeline> {
        Ok(AsyncTimeline::new(self.engine.clone(), self.engine.timeline(folder)?))
    }
}
