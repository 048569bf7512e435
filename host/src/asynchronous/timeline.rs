//! Timelines in asynchronous programs.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use persist_model::{
    Checked, ErrorCode, HistoryEntry, ListFilter, OnConflict, PersistError, Policy, PruneReport, Result, SnapshotOptions, Step,
    StepSelector,
};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinHandle, spawn_blocking};

use super::items::{Items, Opened};
use super::streams::AsyncSnapshotReader;
use super::{Operation, blocking, finished, run};
use crate::cancel::cancelled;
use crate::engine::{CopiedTimeline, Engine, Timeline};

/// A [`Timeline`] for asynchronous programs on tokio. Clones are the same timeline; their appends
/// follow one another.
///
/// Dropping the future of a call that reads cancels it. One that changes the timeline goes on, and
/// may be done or not when the program looks again.
#[derive(Clone, Debug)]
pub struct AsyncTimeline {
    engine: Engine,
    folder: String,
    appending: Arc<Mutex<Timeline>>,
}

impl AsyncTimeline {
    pub(super) fn new(engine: Engine, timeline: Timeline) -> Self {
        Self { engine, folder: timeline.folder().to_owned(), appending: Arc::new(Mutex::new(timeline)) }
    }

    async fn read<T: Send + 'static>(&self, work: impl FnOnce(&Timeline) -> Result<T> + Send + 'static) -> Result<T> {
        let folder = self.folder.clone();
        run(&self.engine, move |engine| work(&engine.timeline(&folder)?)).await
    }

    async fn change<T: Send + 'static>(&self, work: impl FnOnce(&mut Timeline) -> Result<T> + Send + 'static) -> Result<T> {
        let timeline = Arc::clone(&self.appending);
        blocking(move || work(&mut lock(&timeline))).await?
    }

    fn items<T: Send + 'static>(&self, open: impl FnOnce(&Timeline) -> Opened<T> + Send + 'static) -> Items<T> {
        let (operation, engine) = Operation::on(&self.engine);
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

    /// As [`Timeline::writer`]. Other appends to this timeline wait until the writer is committed or
    /// dropped.
    ///
    /// # Errors
    /// As [`Timeline::writer`].
    pub async fn writer(&self, options: SnapshotOptions, on_conflict: OnConflict) -> Result<AsyncStepWriter> {
        AsyncStepWriter::open(Arc::clone(&self.appending), options, on_conflict).await
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

    /// As [`Timeline::reader`].
    ///
    /// # Errors
    /// As [`Timeline::reader`].
    pub async fn reader(&self, wanted: StepSelector) -> Result<AsyncSnapshotReader> {
        let folder = self.folder.clone();
        AsyncSnapshotReader::open(&self.engine, move |engine| engine.timeline(&folder)?.reader(&wanted)).await
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

    /// As [`Timeline::remove`].
    ///
    /// # Errors
    /// As [`Timeline::remove`].
    pub async fn remove(&self, numbers: impl Into<Vec<u64>>) -> Result<u64> {
        let numbers = numbers.into();
        self.change(move |timeline| timeline.remove(&numbers)).await
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

    /// As [`Timeline::fork`], without its progress.
    ///
    /// # Errors
    /// As [`Timeline::fork`].
    pub async fn fork(&self, at: StepSelector, target: &Engine, folder: impl Into<String>) -> Result<CopiedTimeline> {
        let (target, folder) = (target.clone(), folder.into());
        self.change(move |timeline| timeline.fork(&at, &target, &folder, |_| ())).await
    }

    /// As [`Timeline::delete_after`].
    ///
    /// # Errors
    /// As [`Timeline::delete_after`].
    pub async fn delete_after(&self, newest: u64) -> Result<u64> {
        self.change(move |timeline| timeline.delete_after(newest)).await
    }

    /// As [`Timeline::delete`].
    ///
    /// # Errors
    /// As [`Timeline::delete`].
    pub async fn delete(&self) -> Result<u64> {
        self.change(Timeline::delete).await
    }
}

/// After a panic, the timeline reads what is stored again.
fn lock(timeline: &Mutex<Timeline>) -> MutexGuard<'_, Timeline> {
    timeline.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Appends a state piece by piece, as [`StepWriter`](crate::StepWriter) does. If it is dropped without
/// [`commit`](Self::commit), nothing is stored.
#[derive(Debug)]
pub struct AsyncStepWriter {
    pieces: mpsc::Sender<Piece>,
    /// The thread that appends. It has the timeline for itself.
    appending: JoinHandle<Result<Step>>,
}

/// What the thread that appends is told.
#[derive(Debug)]
enum Piece {
    State(Vec<u8>),
    Commit,
}

impl AsyncStepWriter {
    async fn open(timeline: Arc<Mutex<Timeline>>, options: SnapshotOptions, on_conflict: OnConflict) -> Result<Self> {
        let (pieces, mut given) = mpsc::channel(1);
        let (opened, opening) = oneshot::channel();
        let appending = spawn_blocking(move || {
            let mut timeline = lock(&timeline);
            let mut writer = timeline.writer(&options, on_conflict)?;
            // If nobody waits, the channel ends, too.
            let _ = opened.send(());
            loop {
                match given.blocking_recv() {
                    Some(Piece::State(state)) => writer.write_state(&state)?,
                    Some(Piece::Commit) => return writer.commit(),
                    None => return Err(PersistError::new(ErrorCode::Cancelled, "the writer was dropped before its commit")),
                }
            }
        });
        match opening.await {
            Ok(()) => Ok(Self { pieces, appending }),
            Err(_) => Err(failure(appending).await),
        }
    }

    /// Appends to the state. After an error, the writer can only be dropped.
    ///
    /// # Errors
    /// As [`StepWriter::write_state`](crate::StepWriter::write_state). The error of a piece may come
    /// with the next one, or with the commit.
    pub async fn write_state(&mut self, state: impl Into<Vec<u8>>) -> Result<()> {
        match self.pieces.send(Piece::State(state.into())).await {
            Ok(()) => Ok(()),
            Err(_) => Err(failure(&mut self.appending).await),
        }
    }

    /// Completes the step and makes it visible, as a whole.
    ///
    /// # Errors
    /// As [`StepWriter::commit`](crate::StepWriter::commit).
    pub async fn commit(self) -> Result<Step> {
        // If nobody takes it, the thread has an error.
        let _ = self.pieces.send(Piece::Commit).await;
        finished(self.appending.await)?
    }
}

/// Returns the error that ended the thread that appends.
async fn failure(appending: impl Future<Output = std::result::Result<Result<Step>, JoinError>>) -> PersistError {
    match finished(appending.await) {
        Ok(Err(error)) | Err(error) => error,
        Ok(Ok(_)) => cancelled(),
    }
}
