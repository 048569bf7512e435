//! Threads that are kept for work. One that has waited is woken on a processor
//! that is free; a new one often gets none before its maker waits, which takes
//! from a snapshot of a few blocks what a second processor gives it.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

type Job = Box<dyn FnOnce() + Send>;

/// The threads of an engine, started when they are needed. They end with
/// [`close`](Self::close).
pub(crate) struct Crew {
    state: Mutex<State>,
    changed: Condvar,
    most: usize,
}

#[derive(Default)]
struct State {
    /// That no thread has begun.
    jobs: VecDeque<Job>,
    threads: usize,
    waiting: usize,
    closed: bool,
}

impl Crew {
    /// At most so many threads, and none yet.
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), changed: Condvar::new(), most })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a job done, as soon as there is a thread for it.
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

    /// What a thread does.
    fn work(&self) {
        // However it ends: a job may panic.
        struct Leaving<'a>(&'a Crew);
        impl Drop for Leaving<'_> {
            fn drop(&mut self) {
                self.0.lock().threads -= 1;
            }
        }
        let _leaving = Leaving(self);
        loop {
            let mut state = self.lock();
            state.waiting += 1;
            state = self.changed.wait_while(state, |state| state.jobs.is_empty() && !state.closed).unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
            let Some(job) = state.jobs.pop_front() else { return };
            drop(state);
            job();
        }
    }

    /// Lets the threads end, once there is nothing more to do.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }
}
