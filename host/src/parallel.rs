//! The blocks of one snapshot on several instances at once. What comes out is
//! in the order in which it went in, and the same as if one instance had done
//! all of it. Who asks for a result works too while there is none, so that an
//! operation with one more thread has two instances, and not three that share
//! two processors.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::MemoryStorage;
use crate::cancel::CancelToken;
use crate::error::{ErrorCode, PersistError, Result};
use crate::guest::{Guest, Shared};
use crate::sandbox::Limits;

/// How often who waits for a worker looks whether it was cancelled.
const INTERVAL: Duration = Duration::from_millis(20);

/// The threads that an engine may have at once beside those of its operations:
/// many operations at once take little more memory than one.
#[derive(Debug)]
pub(crate) struct Permits(AtomicUsize);

impl Permits {
    pub(crate) fn new(workers: usize) -> Arc<Self> {
        // One worker is the operation itself.
        Arc::new(Self(AtomicUsize::new(workers.saturating_sub(1))))
    }

    /// All that are to be had at this moment, up to so many; perhaps none.
    fn take(self: &Arc<Self>, most: usize) -> Taken {
        let free = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, |free| Some(free.saturating_sub(most))).unwrap_or(0);
        Taken { count: free.min(most), permits: Arc::clone(self) }
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

/// The tasks of one operation that nobody has begun.
struct Queue<I, O> {
    state: Mutex<(VecDeque<Task<I, O>>, IsClosed)>,
    changed: Condvar,
}

type IsClosed = bool;

impl<I, O> Queue<I, O> {
    fn lock(&self) -> MutexGuard<'_, (VecDeque<Task<I, O>>, IsClosed)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, task: Task<I, O>) {
        self.lock().0.push_back(task);
        self.changed.notify_one();
    }

    fn next_if_any(&self) -> Option<Task<I, O>> {
        self.lock().0.pop_front()
    }

    /// Waits for a task; none once the queue is closed.
    fn next(&self) -> Option<Task<I, O>> {
        let waiting = self.changed.wait_while(self.lock(), |(tasks, is_closed)| tasks.is_empty() && !*is_closed);
        let mut state = waiting.unwrap_or_else(PoisonError::into_inner);
        if state.1 { None } else { state.0.pop_front() }
    }

    fn close(&self) {
        self.lock().1 = true;
        self.changed.notify_all();
    }
}

/// Workers of one operation. Dropped, they end before the drop returns.
pub(crate) struct Workers<I, O> {
    tasks: Arc<Queue<I, O>>,
    work: Work<I, O>,
    /// Of the tasks that are under way, in the order of their input.
    results: VecDeque<Receiver<Result<O>>>,
    /// Ends when the last of them has.
    ended: Receiver<()>,
    /// The operation's; asked on the thread that waits.
    cancel: CancelToken,
    /// The workers' own: the operation's may run code that is for one thread.
    stop: CancelToken,
    most: usize,
    _taken: Taken,
}

impl<I: Send + 'static, O: Send + 'static> Workers<I, O> {
    /// Starts workers, at most so many and as many as the engine has left; none
    /// if it has none.
    pub(crate) fn start(shared: &Arc<Shared>, limits: Limits, cancel: &CancelToken, most: usize, work: Work<I, O>) -> Option<Self> {
        let taken = shared.permits.take(most);
        let tasks = Arc::new(Queue { state: Mutex::default(), changed: Condvar::new() });
        let stop = CancelToken::new();
        let (ending, ended) = mpsc::channel();
        let mut started = 0;
        for _ in 0..taken.count {
            let (own, tasks, stop, ending) = (Arc::clone(shared), Arc::clone(&tasks), stop.clone(), ending.clone());
            let job = move || {
                run(&own, limits, &stop, &tasks, work);
                drop(own);
                drop(ending);
            };
            match shared.crew.run(job) {
                Ok(()) => started += 1,
                Err(error) => tracing::debug!(%error, "no thread for a worker"),
            }
        }
        if started == 0 {
            return None;
        }
        // For each instance, this thread's too: what it has, and what comes next.
        let most = 2 * (started + 1);
        Some(Self { tasks, work, results: VecDeque::new(), ended, cancel: cancel.clone(), stop, most, _taken: taken })
    }

    /// The pieces of work that may be under way: more would only take memory.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// Whether there is work enough for now.
    pub(crate) fn is_full(&self) -> bool {
        self.results.len() >= self.most
    }

    /// Hands over the next piece of work.
    pub(crate) fn submit(&mut self, input: I) {
        let (done, result) = mpsc::sync_channel(1);
        self.tasks.push(Task { input, done });
        self.results.push_back(result);
    }

    /// The next result, in the order of the input. Until it is there, does what
    /// nobody has begun, in the operation's own instance; then waits. None once
    /// all that was handed over was given back.
    pub(crate) fn next(&mut self, guest: &mut Guest) -> Option<Result<O>> {
        let result = self.results.front()?;
        let received = loop {
            // First: who takes results slowly finds one ready each time.
            if let Err(cancelled) = self.cancel.check() {
                break Err(cancelled);
            }
            match result.try_recv() {
                Ok(done) => break done,
                Err(mpsc::TryRecvError::Disconnected) => break Err(ended_early()),
                Err(mpsc::TryRecvError::Empty) => {}
            }
            if let Some(Task { input, done }) = self.tasks.next_if_any() {
                // Its receiver is among the results.
                let _ = done.send((self.work)(guest, input));
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

    /// The next result, if it is there already.
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
        self.tasks.close();
        self.stop.cancel();
        // Nothing is sent: this waits until nobody is left who could.
        let _ = self.ended.recv();
    }
}

fn run<I, O>(shared: &Arc<Shared>, limits: Limits, stop: &CancelToken, tasks: &Queue<I, O>, work: Work<I, O>) {
    // It works on bytes that it is handed, and reaches no storage.
    let nowhere: Arc<dyn crate::StorageAdapter> = Arc::new(MemoryStorage::new());
    let mut guest = None;
    while let Some(Task { input, done }) = tasks.next() {
        let started = match &mut guest {
            Some(guest) => Ok(guest),
            None => Guest::start(shared, &nowhere, limits, stop).map(|started| guest.insert(started)),
        };
        // Nobody may be waiting any more.
        let _ = done.send(started.and_then(|guest| work(guest, input)));
    }
}
