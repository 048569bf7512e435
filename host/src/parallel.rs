//! The blocks of one snapshot on several instances at once. What comes out is
//! in the order in which it went in, and the same as if one instance had done
//! all of it. Who asks for a result works too while there is none, so that an
//! operation with one more thread has two instances, and not three that share
//! two processors.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::cancel::CancelToken;
use crate::error::{ErrorCode, PersistError, Result};
use crate::guest::{Guest, Shared};
use crate::sandbox::Limits;

/// How often who waits for a worker looks whether it was cancelled.
const INTERVAL: Duration = Duration::from_millis(20);

/// How long a worker waits for the next piece of work before it ends: who reads
/// or writes slowly leaves it to others, and its memory too.
const IDLE: Duration = Duration::from_secs(1);

/// The threads that an engine may have at once beside those of its operations:
/// many operations at once take little more memory than one.
#[derive(Debug)]
pub(crate) struct Permits(AtomicUsize);

impl Permits {
    pub(crate) fn new(workers: usize) -> Arc<Self> {
        // One worker is the operation itself.
        Arc::new(Self(AtomicUsize::new(workers.saturating_sub(1))))
    }

    /// One of them, if one is left at this moment.
    fn take(self: &Arc<Self>) -> Option<Permit> {
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, |free| free.checked_sub(1)).ok()?;
        Some(Permit(Arc::clone(self)))
    }
}

struct Permit(Arc<Permits>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Ordering::AcqRel);
    }
}

/// What a worker makes of a piece of work, in its instance.
type Work<I, O> = fn(&mut Guest, &I) -> Result<O>;

struct Task<I, O> {
    input: I,
    done: SyncSender<Result<O>>,
}

/// The tasks of one operation that nobody has begun, and its workers.
struct Queue<I, O> {
    state: Mutex<State<I, O>>,
    changed: Condvar,
}

struct State<I, O> {
    tasks: VecDeque<Task<I, O>>,
    workers: usize,
    /// How many workers there may be.
    most: usize,
    /// No worker goes on, or begins.
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

    /// Puts back what a worker could not do for want of memory, which then has
    /// no successor: another does it, or who waits for it.
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

    /// Waits for a task; none once the queue is closed, or had none for long.
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
    /// For one more worker, if there may be one.
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

/// Workers of one operation. While it has nothing for them, they are there for
/// others. Dropped, they end before the drop returns.
pub(crate) struct Workers<I, O> {
    shared: Arc<Shared>,
    limits: Limits,
    tasks: Arc<Queue<I, O>>,
    work: Work<I, O>,
    /// Of the tasks that are under way, in the order of their input.
    results: VecDeque<Receiver<Result<O>>>,
    /// Each worker has a clone; nothing is sent. None while this is dropped.
    ending: Option<Sender<()>>,
    ended: Receiver<()>,
    /// The operation's; asked on the thread that waits.
    cancel: CancelToken,
    /// The workers' own: the operation's may run code that is for one thread.
    stop: CancelToken,
}

impl<I: Send + 'static, O: Send + 'static> Workers<I, O> {
    /// Starts workers, at most so many and as many as the engine has left; none
    /// if it has none.
    pub(crate) fn start(shared: &Arc<Shared>, limits: Limits, cancel: &CancelToken, most: usize, work: Work<I, O>) -> Option<Self> {
        let (ending, ended) = mpsc::channel();
        let workers = Self {
            shared: Arc::clone(shared),
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

    /// Starts what is missing of the workers, as far as the engine has some left.
    fn recruit(&self) {
        while let Some(entry) = Entry::new(&self.tasks)
            && let Some(permit) = self.shared.permits.take()
        {
            let (shared, stop, ending) = (Arc::clone(&self.shared), self.stop.clone(), self.ending.clone());
            let (limits, work) = (self.limits, self.work);
            let job = move || {
                run(&shared, limits, &stop, &entry.0, work);
                // The last that goes is what is waited for.
                drop((entry, permit, shared));
                drop(ending);
            };
            if let Err(error) = self.shared.crew.run(job) {
                tracing::debug!(%error, "no thread for a worker");
                return;
            }
        }
    }

    fn count(&self) -> usize {
        self.tasks.lock().workers
    }

    /// The pieces of work that may be under way: for each instance, this thread's
    /// too, what it has and what comes next. More would only take memory.
    pub(crate) fn most(&self) -> usize {
        2 * (self.count() + 1)
    }

    /// Whether there is work enough for now.
    pub(crate) fn is_full(&self) -> bool {
        self.results.len() >= self.most()
    }

    /// Hands over the next piece of work.
    pub(crate) fn submit(&mut self, input: I) {
        let (done, result) = mpsc::sync_channel(1);
        self.tasks.push(Task { input, done });
        self.results.push_back(result);
        self.recruit();
    }

    /// The next result, in the order of the input. Until it is there, does what
    /// nobody has begun, in the operation's own instance; then waits. None once
    /// all that was handed over was given back.
    pub(crate) fn next(&mut self, guest: &mut Guest) -> Option<Result<O>> {
        let result = self.results.front()?;
        let received = loop {
            // First: who takes results slowly finds one ready each time. And in a
            // process that was forked off meanwhile nobody works.
            if let Err(ended) = self.shared.process.check().and_then(|()| self.cancel.check()) {
                break Err(ended);
            }
            match result.try_recv() {
                Ok(done) => break done,
                Err(mpsc::TryRecvError::Disconnected) => break Err(ended_early()),
                Err(mpsc::TryRecvError::Empty) => {}
            }
            // A dead instance does nothing any more; what it can't do fails others.
            let helps = !guest.is_dead() || self.count() == 0;
            if helps && let Some(Task { input, done }) = self.tasks.next_if_any() {
                // Its receiver is among the results.
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
        if !self.shared.process.is_this() {
            // What others hold there is never given up.
            std::mem::forget(std::mem::take(&mut self.results));
            return;
        }
        self.tasks.close();
        self.stop.cancel();
        self.ending = None;
        // Until nobody is left who could send something.
        let _ = self.ended.recv();
    }
}

fn run<I, O>(shared: &Arc<Shared>, limits: Limits, stop: &CancelToken, tasks: &Queue<I, O>, work: Work<I, O>) {
    let mut guest = None;
    while let Some(task) = tasks.next() {
        let started = match &mut guest {
            Some(guest) => Ok(guest),
            None => Guest::for_worker(shared, limits, stop).map(|started| guest.insert(started)),
        };
        let done = match started {
            Ok(guest) => work(guest, &task.input),
            Err(error) => {
                tracing::debug!(%error, "no instance for a worker");
                return tasks.give_up(task);
            }
        };
        match done {
            // One instance less would have done, and does.
            Err(error) if error.code() == ErrorCode::LimitExceeded => {
                tracing::debug!(%error, "no memory for a worker");
                return tasks.give_up(task);
            }
            // Nobody may be waiting any more.
            done => drop(task.done.send(done)),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::thread;
    use std::time::Instant;

    use super::*;
    use crate::{Engine, SnapshotOptions};

    fn twice(_: &mut Guest, number: &u32) -> Result<u32> {
        Ok(2 * number)
    }

    #[test]
    fn workers_with_nothing_to_do_are_there_for_others() {
        let engine = Engine::builder().workers(2).build().unwrap();
        let mut guest = engine.guest().unwrap();
        let began = Instant::now();
        let mut workers = guest.workers(1, twice).unwrap();
        workers.submit(1);
        assert_eq!(workers.next(&mut guest), Some(Ok(2)));
        if began.elapsed() < IDLE / 2 {
            assert!(guest.workers(1, twice).is_none(), "the only one is taken");
        }
        let mut others = loop {
            if let Some(others) = guest.workers(1, twice) {
                break others;
            }
            assert!(began.elapsed() < 20 * IDLE, "it is not given back");
            thread::sleep(IDLE / 20);
        };
        assert!(began.elapsed() > IDLE / 2);
        // Who lent it goes on without.
        workers.submit(2);
        others.submit(3);
        assert_eq!((workers.next(&mut guest), others.next(&mut guest)), (Some(Ok(4)), Some(Ok(6))));
        assert_eq!((workers.count(), others.count()), (0, 1));
        // And with, once it is given back.
        drop(others);
        workers.submit(4);
        assert_eq!((workers.count(), workers.next(&mut guest)), (1, Some(Ok(8))));
        assert_eq!(workers.next(&mut guest), None);
    }

    #[test]
    fn many_operations_share_the_threads_of_an_engine() {
        let engine = Engine::builder().workers(3).build().unwrap();
        let crew = Arc::clone(engine.crew());
        let mut random = 1_u32;
        let state: Vec<u8> = std::iter::repeat_with(|| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *b"state of an agent, in words and numbers".get(random as usize >> 16 & 31).unwrap()
        })
        .take(12_000_000)
        .collect();
        let done = AtomicBool::new(false);
        let most = thread::scope(|scope| {
            let watching = scope.spawn(|| {
                let mut most = 0;
                while !done.load(Ordering::Relaxed) {
                    most = most.max(crew.threads());
                    thread::sleep(Duration::from_millis(1));
                }
                most
            });
            thread::scope(|scope| {
                for thread in 0..6 {
                    let (engine, state) = (&engine, &state);
                    scope.spawn(move || {
                        for _ in 0..2 {
                            let key = format!("{thread}.zst");
                            engine.snapshot(&key, state, &SnapshotOptions::default()).unwrap();
                            assert!(engine.restore(&key).unwrap() == *state);
                        }
                    });
                }
            });
            done.store(true, Ordering::Relaxed);
            watching.join().unwrap()
        });
        // Beside those of the operations.
        assert_eq!(most, 2);
        // They wait for more, until the engine is dropped.
        assert_eq!(crew.threads(), 2);
        drop(engine);
        let began = Instant::now();
        while crew.threads() > 0 {
            assert!(began.elapsed() < Duration::from_secs(10), "{} threads are left", crew.threads());
            thread::sleep(Duration::from_millis(1));
        }
    }
}
