//! The blocks of one snapshot on several instances at once. What comes out is
//! in the order in which it went in, and the same as if one instance had done
//! all of it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::MemoryStorage;
use crate::cancel::CancelToken;
use crate::error::{ErrorCode, PersistError, Result};
use crate::guest::{Guest, Shared};
use crate::sandbox::Limits;

/// How often who waits for a worker looks whether it was cancelled.
const INTERVAL: Duration = Duration::from_millis(20);

/// The workers that an engine may have at once, over all its operations: so
/// many operations at once take no more memory than one.
#[derive(Debug)]
pub(crate) struct Permits(AtomicUsize);

impl Permits {
    pub(crate) fn new(workers: usize) -> Self {
        // One worker is the operation itself.
        Self(AtomicUsize::new(if workers > 1 { workers } else { 0 }))
    }

    /// All that are to be had at this moment, perhaps none.
    fn take(self: &Arc<Self>) -> Taken {
        Taken { count: self.0.swap(0, Ordering::AcqRel), permits: Arc::clone(self) }
    }
}

struct Taken {
    count: usize,
    permits: Arc<Permits>,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.permits.0.fetch_add(self.count, Ordering::AcqRel);
    }
}

/// What a worker makes of a piece of work, in its instance.
type Work<I, O> = fn(&mut Guest, I) -> Result<O>;

struct Task<I, O> {
    input: I,
    done: SyncSender<Result<O>>,
}

/// Workers of one operation. Dropped, they end before the drop returns.
pub(crate) struct Workers<I, O> {
    /// None once they are to end.
    tasks: Option<Sender<Task<I, O>>>,
    /// Of the tasks that are under way, in the order of their input.
    results: VecDeque<Receiver<Result<O>>>,
    threads: Vec<JoinHandle<()>>,
    /// The operation's; asked on the thread that waits.
    cancel: CancelToken,
    /// The workers' own: the operation's may run code that is for one thread.
    stop: CancelToken,
    most: usize,
    _taken: Taken,
}

impl<I: Send + 'static, O: Send + 'static> Workers<I, O> {
    /// Starts workers, as many as the engine has left; none if it has none.
    pub(crate) fn start(shared: &Arc<Shared>, limits: Limits, cancel: &CancelToken, work: Work<I, O>) -> Option<Self> {
        let taken = shared.permits.take();
        if taken.count == 0 {
            return None;
        }
        let (sender, receiver) = mpsc::channel::<Task<I, O>>();
        let receiver = Arc::new(Mutex::new(receiver));
        let stop = CancelToken::new();
        let mut threads = Vec::new();
        for _ in 0..taken.count {
            let (shared, receiver, stop) = (Arc::clone(shared), Arc::clone(&receiver), stop.clone());
            let started = std::thread::Builder::new()
                .name("persist-worker".to_owned())
                .spawn(move || run(&shared, limits, &stop, &receiver, work))
                .inspect_err(|error| tracing::debug!(%error, "no thread for a worker"));
            threads.extend(started.ok());
        }
        if threads.is_empty() {
            return None;
        }
        let most = 2 * threads.len();
        Some(Self { tasks: Some(sender), results: VecDeque::new(), threads, cancel: cancel.clone(), stop, most, _taken: taken })
    }

    /// Whether there is work enough for now: more would only take memory.
    pub(crate) fn is_full(&self) -> bool {
        self.results.len() >= self.most
    }

    /// Hands over the next piece of work.
    pub(crate) fn submit(&mut self, input: I) {
        let (done, result) = mpsc::sync_channel(1);
        if let Some(tasks) = &self.tasks {
            // If no worker is left, waiting for the result says so.
            let _ = tasks.send(Task { input, done });
        }
        self.results.push_back(result);
    }

    /// The next result, in the order of the input; waits for it. None once all
    /// that was handed over was given back.
    pub(crate) fn next(&mut self) -> Option<Result<O>> {
        let result = self.results.front()?;
        let received = loop {
            match result.recv_timeout(INTERVAL) {
                Err(RecvTimeoutError::Timeout) => {
                    if let Err(cancelled) = self.cancel.check() {
                        break Err(cancelled);
                    }
                }
                Ok(done) => break done,
                Err(RecvTimeoutError::Disconnected) => break Err(PersistError::new(ErrorCode::Other, "a worker ended early")),
            }
        };
        self.results.pop_front();
        Some(received)
    }

    /// The next result, if it is there already.
    pub(crate) fn next_if_ready(&mut self) -> Option<Result<O>> {
        let received = self.results.front()?.try_recv().ok()?;
        self.results.pop_front();
        Some(received)
    }
}

impl<I, O> Drop for Workers<I, O> {
    fn drop(&mut self) {
        self.tasks = None;
        self.stop.cancel();
        for thread in self.threads.drain(..) {
            // What it had to say is with its last result.
            let _ = thread.join();
        }
    }
}

fn run<I, O>(shared: &Arc<Shared>, limits: Limits, stop: &CancelToken, tasks: &Mutex<Receiver<Task<I, O>>>, work: Work<I, O>) {
    // It works on bytes that it is handed, and reaches no storage.
    let nowhere: Arc<dyn crate::StorageAdapter> = Arc::new(MemoryStorage::new());
    let mut guest = None;
    loop {
        let task = tasks.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Task { input, done }) = task else { return };
        if stop.is_cancelled() {
            return;
        }
        let started = match &mut guest {
            Some(guest) => Ok(guest),
            None => Guest::start(shared, &nowhere, limits, stop).map(|started| guest.insert(started)),
        };
        // Nobody may be waiting any more.
        let _ = done.send(started.and_then(|guest| work(guest, input)));
    }
}
