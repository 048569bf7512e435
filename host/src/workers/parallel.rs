//! Processes the blocks of one snapshot in several instances at once. Results come in
//! the order of the input, and are the same as from a single instance. The caller that
//! waits for a result works too, so an operation with one more thread has two
//! instances, and not three that share two processors.

use std::collections::VecDeque;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use persist_model::{ErrorCode, PersistError, Result};

use crate::cancel::CancelToken;
use crate::sandbox::{Guest, Limits, Share};
use crate::storage::{MemoryStorage, StorageAdapter};
use crate::workers::pool::WorkerPool;

/// How often a waiting caller checks for cancellation.
const INTERVAL: Duration = Duration::from_millis(20);

/// How long a worker waits for its next task before it ends. A slow reader or writer
/// then leaves the worker and its memory to others.
const IDLE: Duration = Duration::from_secs(1);

/// What a worker does with a task in its instance.
type Work<I, O> = fn(&mut Guest, &I) -> Result<O>;

struct Task<I, O> {
    input: I,
    done: SyncSender<Result<O>>,
}

/// The tasks of one operation that are not begun yet, and its workers.
struct Queue<I, O> {
    state: Mutex<State<I, O>>,
    changed: Condvar,
}

struct State<I, O> {
    tasks: VecDeque<Task<I, O>>,
    workers: usize,
    /// The maximum number of workers.
    most: usize,
    /// No worker may continue or begin.
    closed: bool,
}

impl<I, O> Queue<I, O> {
    fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { tasks: VecDeque::new(), workers: 0, most, closed: false }), changed: Condvar::new() })
    }

    fn lock(&self) -> MutexGuard<'_, State<I, O>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, task: Task<I, O>) {
        self.lock().tasks.push_back(task);
        self.changed.notify_one();
    }

    /// Puts back a task that a worker had no memory for. The worker is not replaced:
    /// another one does the task, or the caller that waits for it.
    fn give_up(&self, task: Task<I, O>) {
        let mut state = self.lock();
        state.tasks.push_front(task);
        state.most = state.most.saturating_sub(1);
        drop(state);
        self.changed.notify_one();
    }

    fn next_if_any(&self) -> Option<Task<I, O>> {
        self.lock().tasks.pop_front()
    }

    /// Waits for a task. Returns none once the queue is closed, or was empty for too
    /// long.
    fn next(&self) -> Option<Task<I, O>> {
        let is_idle = |state: &mut State<I, O>| state.tasks.is_empty() && !state.closed;
        let waited = self.changed.wait_timeout_while(self.lock(), IDLE, is_idle);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        if state.closed { None } else { state.tasks.pop_front() }
    }

    fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }
}

/// A worker's entry in its queue.
struct Entry<I, O>(Arc<Queue<I, O>>);

impl<I, O> Entry<I, O> {
    /// Makes an entry for one more worker, if the queue wants one.
    fn new(queue: &Arc<Queue<I, O>>) -> Option<Self> {
        let mut state = queue.lock();
        let is_wanted = !state.closed && state.workers < state.most;
        is_wanted.then(|| {
            state.workers += 1;
            Self(Arc::clone(queue))
        })
    }
}

impl<I, O> Drop for Entry<I, O> {
    fn drop(&mut self) {
        self.0.lock().workers -= 1;
    }
}

impl WorkerPool {
    /// Returns workers for this instance's operation, at most `most`, or none if the
    /// engine has none left.
    pub(crate) fn workers<I: Send + 'static, O: Send + 'static>(
        self: &Arc<Self>,
        guest: &Guest,
        most: usize,
        work: Work<I, O>,
    ) -> Option<Workers<I, O>> {
        Workers::start(self, guest.limits(), guest.cancel(), most, work)
    }
}

/// Workers of one operation. While it has nothing for them to do, other operations may
/// use them. When this is dropped, they end before the drop returns.
pub(crate) struct Workers<I, O> {
    pool: Arc<WorkerPool>,
    limits: Limits,
    tasks: Arc<Queue<I, O>>,
    work: Work<I, O>,
    /// Results of the tasks in progress, in the order of their input.
    results: VecDeque<Receiver<Result<O>>>,
    /// Each worker has a clone; nothing is ever sent. None while this is being dropped.
    ending: Option<Sender<()>>,
    ended: Receiver<()>,
    /// The operation's token, checked only on the thread that waits.
    cancel: CancelToken,
    /// The workers' own token, since the operation's may call code that is tied to one
    /// thread.
    stop: CancelToken,
}

impl<I: Send + 'static, O: Send + 'static> Workers<I, O> {
    /// Starts workers, at most `most` and as many as the engine has left. Returns none
    /// if it has none left.
    fn start(pool: &Arc<WorkerPool>, limits: Limits, cancel: &CancelToken, most: usize, work: Work<I, O>) -> Option<Self> {
        let (ending, ended) = mpsc::channel();
        let workers = Self {
            pool: Arc::clone(pool),
            limits,
            tasks: Queue::new(most),
            work,
            results: VecDeque::new(),
            ending: Some(ending),
            ended,
            cancel: cancel.clone(),
            stop: CancelToken::new(),
        };
        workers.recruit();
        (workers.count() > 0).then_some(workers)
    }

    /// Starts the missing workers, as far as the engine has some left.
    fn recruit(&self) {
        while let Some(entry) = Entry::new(&self.tasks)
            && let Some(permit) = self.pool.permits.take()
        {
            let (pool, stop, ending) = (Arc::clone(&self.pool), self.stop.clone(), self.ending.clone());
            let (limits, work) = (self.limits, self.work);
            let job = move || {
                run(&pool, limits, &stop, &entry.0, work);
                // Dropped last, since the drop of `Workers` waits for it.
                drop((entry, permit, pool));
                drop(ending);
            };
            if let Err(error) = self.pool.crew.run(job) {
                tracing::debug!(%error, "no thread could be started for a worker");
                return;
            }
        }
    }

    fn count(&self) -> usize {
        self.tasks.lock().workers
    }

    /// Returns how many tasks may be in progress: for each instance, including this
    /// thread's, one that it works on and one that comes next. More would only take
    /// memory.
    pub(crate) fn most(&self) -> usize {
        2 * (self.count() + 1)
    }

    /// Returns whether enough tasks are in progress.
    pub(crate) fn is_full(&self) -> bool {
        self.results.len() >= self.most()
    }

    /// Submits the next task.
    pub(crate) fn submit(&mut self, input: I) {
        let (done, result) = mpsc::sync_channel(1);
        self.tasks.push(Task { input, done });
        self.results.push_back(result);
        self.recruit();
    }

    /// Returns the next result, in the order of the input. Until it arrives, works on
    /// tasks that no worker has begun, in the operation's own instance, and then waits.
    /// Returns none once all results were returned.
    pub(crate) fn next(&mut self, guest: &mut Guest) -> Option<Result<O>> {
        let result = self.results.front()?;
        let received = loop {
            // Checked first, because a slow caller always finds a result ready. A
            // process that was forked in the meantime has no workers.
            if let Err(ended) = self.pool.runtime.process.check().and_then(|()| self.cancel.check()) {
                break Err(ended);
            }
            match result.try_recv() {
                Ok(done) => break done,
                Err(mpsc::TryRecvError::Disconnected) => break Err(ended_early()),
                Err(mpsc::TryRecvError::Empty) => {}
            }
            // A dead instance would fail the tasks that it takes, so it leaves them to
            // the workers. If there are none, the tasks have to fail.
            let helps = !guest.is_dead() || self.count() == 0;
            if helps && let Some(Task { input, done }) = self.tasks.next_if_any() {
                // The receiver is among the results.
                let _ = done.send((self.work)(guest, &input));
                continue;
            }
            match result.recv_timeout(INTERVAL) {
                Ok(done) => break done,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break Err(ended_early()),
            }
        };
        self.results.pop_front();
        Some(received)
    }

    /// Returns the next result if it is ready.
    pub(crate) fn next_if_ready(&mut self) -> Option<Result<O>> {
        let received = self.results.front()?.try_recv().ok()?;
        self.results.pop_front();
        Some(received)
    }
}

fn ended_early() -> PersistError {
    PersistError::new(ErrorCode::Other, "a worker ended early")
}

impl<I, O> Drop for Workers<I, O> {
    fn drop(&mut self) {
        if !self.pool.runtime.process.is_this() {
            // Threads that do not exist in this process never release what they hold.
            std::mem::forget(std::mem::take(&mut self.results));
            return;
        }
        self.tasks.close();
        self.stop.cancel();
        self.ending = None;
        // Waits until no worker is left.
        let _ = self.ended.recv();
    }
}

/// Starts an instance for a worker. It works only on the bytes that it is given, has no
/// access to storage, and leaves memory for one operation.
fn start(pool: &WorkerPool, limits: Limits, stop: &CancelToken) -> Result<Guest> {
    let nowhere: Arc<dyn StorageAdapter> = Arc::new(MemoryStorage::new());
    Guest::start(&pool.runtime, &nowhere, limits, Share::new(&pool.budget, limits.memory as u64), stop)
}

fn run<I, O>(pool: &Arc<WorkerPool>, limits: Limits, stop: &CancelToken, tasks: &Queue<I, O>, work: Work<I, O>) {
    let mut guest = None;
    while let Some(task) = tasks.next() {
        let started = match &mut guest {
            Some(guest) => Ok(guest),
            None => start(pool, limits, stop).map(|started| guest.insert(started)),
        };
        let done = match started {
            Ok(guest) => work(guest, &task.input),
            Err(error) => {
                tracing::debug!(%error, "no instance could be started for a worker");
                return tasks.give_up(task);
            }
        };
        match done {
            // The memory may be enough without this instance, which now ends.
            Err(error) if error.code() == ErrorCode::LimitExceeded => {
                tracing::debug!(%error, "a worker ran out of memory");
                return tasks.give_up(task);
            }
            // The receiver may be gone.
            done => drop(task.done.send(done)),
        }
    }
}

#[cfg(test)]
mod tests;
