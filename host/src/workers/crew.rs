//! Threads that are kept for later work. A waiting thread is woken on a free processor.
//! A new one often gets no processor until the thread that started it waits. For a
//! snapshot of a few blocks, that costs as much as a second processor gains.

use std::collections::VecDeque;
use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

type Job = Box<dyn FnOnce() + Send>;

/// The threads of an engine, started on demand. They end with [`close`](Self::close).
pub(crate) struct Crew {
    state: Mutex<State>,
    changed: Condvar,
    most: usize,
}

#[derive(Default)]
struct State {
    /// Jobs that no thread has begun.
    jobs: VecDeque<Job>,
    threads: usize,
    waiting: usize,
    closed: bool,
}

impl Crew {
    /// Makes a crew of at most `most` threads, and starts none yet.
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), changed: Condvar::new(), most })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a job as soon as a thread is free.
    ///
    /// # Errors
    /// If another thread is needed and can't be started.
    pub(crate) fn run(self: &Arc<Self>, job: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let mut state = self.lock();
        if state.waiting <= state.jobs.len() && state.threads < self.most {
            let crew = Arc::clone(self);
            std::thread::Builder::new().name("persist-worker".to_owned()).spawn(move || crew.work())?;
            state.threads += 1;
        }
        state.jobs.push_back(Box::new(job));
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Runs jobs until the crew is closed.
    fn work(&self) {
        loop {
            let mut state = self.lock();
            state.waiting += 1;
            state = self.changed.wait_while(state, |state| state.jobs.is_empty() && !state.closed).unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
            let Some(job) = state.jobs.pop_front() else {
                state.threads -= 1;
                return;
            };
            drop(state);
            // The caller notices that no result arrives. The thread stays available for
            // the next job.
            if panic::catch_unwind(AssertUnwindSafe(job)).is_err() {
                tracing::error!("a worker panicked");
            }
        }
    }

    /// Returns how many threads exist at this moment.
    #[cfg(test)]
    pub(crate) fn threads(&self) -> usize {
        self.lock().threads
    }

    /// Lets the threads end once all jobs are done.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_job_that_panics_leaves_its_thread_to_the_next() {
        let crew = Crew::new(1);
        let (done, doing) = mpsc::channel();
        for number in 0..3 {
            let done = done.clone();
            crew.run(|| panic!("as it should")).unwrap();
            crew.run(move || done.send(number).unwrap()).unwrap();
        }
        let next = || doing.recv_timeout(Duration::from_secs(30));
        assert_eq!([next(), next(), next()], [Ok(0), Ok(1), Ok(2)]);
        crew.close();
    }
}
