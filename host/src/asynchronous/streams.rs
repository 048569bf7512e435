//! Writers and readers in asynchronous programs. Each call runs on a thread for blocking work.

use std::fmt;

use persist_model::{Result, SnapshotMetadata};
use tokio::runtime::Handle;

use super::{Operation, blocking};
use crate::cancel::cancelled;
use crate::engine::{Engine, SalvageReport, Salvager, SnapshotReader, SnapshotWriter};

/// A writer or reader while no call uses it.
struct Idle<T: Send + 'static> {
    /// None after a future was dropped before its call was done.
    inner: Option<T>,
    _operation: Operation,
}

impl<T: Send + 'static> Idle<T> {
    async fn open(engine: &Engine, open: impl FnOnce(&Engine) -> Result<T> + Send + 'static) -> Result<Self> {
        let (operation, engine) = Operation::on(engine);
        let inner = blocking(move || open(&engine)).await??;
        Ok(Self { inner: Some(inner), _operation: operation })
    }

    fn take(&mut self) -> Result<T> {
        self.inner.take().ok_or_else(cancelled)
    }

    async fn call<R: Send + 'static>(&mut self, work: impl FnOnce(&mut T) -> Result<R> + Send + 'static) -> Result<R> {
        let mut inner = self.take()?;
        let (inner, result) = blocking(move || {
            let result = work(&mut inner);
            (inner, result)
        })
        .await?;
        self.inner = Some(inner);
        result
    }
}

impl<T: Send + 'static> Drop for Idle<T> {
    fn drop(&mut self) {
        // Ending a write may remove files.
        if let (Some(inner), Ok(runtime)) = (self.inner.take(), Handle::try_current()) {
            runtime.spawn_blocking(move || drop(inner));
        }
    }
}

impl<T: fmt::Debug + Send + 'static> fmt::Debug for Idle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// A [`SnapshotWriter`] for asynchronous programs. If it is dropped without [`commit`](Self::commit),
/// nothing is stored. After the future of a call was dropped, the writer can only be dropped.
#[derive(Debug)]
pub struct AsyncSnapshotWriter(Idle<SnapshotWriter>);

impl AsyncSnapshotWriter {
    pub(super) async fn open(engine: &Engine, open: impl FnOnce(&Engine) -> Result<SnapshotWriter> + Send + 'static) -> Result<Self> {
        Idle::open(engine, open).await.map(Self)
    }

    /// As [`SnapshotWriter::write_state`].
    ///
    /// # Errors
    /// As [`SnapshotWriter::write_state`].
    pub async fn write_state(&mut self, state: impl Into<Vec<u8>>) -> Result<()> {
        let state = state.into();
        self.0.call(move |writer| writer.write_state(&state)).await
    }

    /// As [`SnapshotWriter::commit`].
    ///
    /// # Errors
    /// As [`SnapshotWriter::commit`].
    pub async fn commit(mut self) -> Result<SnapshotMetadata> {
        let writer = self.0.take()?;
        blocking(move || writer.commit()).await?
    }
}

/// A [`SnapshotReader`] for asynchronous programs. After the future of a call was dropped, the reader
/// can only be dropped.
#[derive(Debug)]
pub struct AsyncSnapshotReader {
    metadata: SnapshotMetadata,
    reader: Idle<SnapshotReader>,
}

impl AsyncSnapshotReader {
    pub(super) async fn open(engine: &Engine, open: impl FnOnce(&Engine) -> Result<SnapshotReader> + Send + 'static) -> Result<Self> {
        let mut reader = Idle::open(engine, open).await?;
        let metadata = reader.call(|reader| Ok(reader.metadata().clone())).await?;
        Ok(Self { metadata, reader })
    }

    /// As [`SnapshotReader::metadata`].
    pub fn metadata(&self) -> &SnapshotMetadata {
        &self.metadata
    }

    /// As [`SnapshotReader::next_chunk`].
    ///
    /// # Errors
    /// As [`SnapshotReader::next_chunk`].
    pub async fn next_chunk(&mut self) -> Result<Option<Vec<u8>>> {
        self.reader.call(SnapshotReader::next_chunk).await
    }

    /// As [`SnapshotReader::read_state`], without its progress.
    ///
    /// # Errors
    /// As [`SnapshotReader::read_state`].
    pub async fn read_state(&mut self) -> Result<Vec<u8>> {
        self.reader.call(|reader| reader.read_state(|_| Ok(()))).await
    }
}

/// A [`Salvager`] for asynchronous programs. After the future of a call was dropped, the salvager can
/// only be dropped.
#[derive(Debug)]
pub struct AsyncSalvager(Idle<Salvager>);

impl AsyncSalvager {
    pub(super) async fn open(engine: &Engine, open: impl FnOnce(&Engine) -> Result<Salvager> + Send + 'static) -> Result<Self> {
        Idle::open(engine, open).await.map(Self)
    }

    /// As [`Salvager::next_chunk`].
    ///
    /// # Errors
    /// As [`Salvager::next_chunk`].
    pub async fn next_chunk(&mut self) -> Result<Option<Vec<u8>>> {
        self.0.call(Salvager::next_chunk).await
    }

    /// As [`Salvager::report`].
    ///
    /// # Errors
    /// As [`Salvager::report`].
    pub async fn report(&mut self) -> Result<SalvageReport> {
        self.0.call(Salvager::report).await
    }
}
