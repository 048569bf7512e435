//! The clock behind deadlines. It advances the engine's epoch, and only while a guest
//! runs, so an idle engine costs nothing.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

use wasmtime::EngineWeak;

use crate::sandbox::limits::TICK;

#[derive(Debug, Default)]
struct State {
    /// Calls into guests that are in progress.
    running: usize,
    closed: bool,
}

/// Ticks while at least one [`Running`] is alive.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    state: Mutex<State>,
    changed: Condvar,
}

/// A call into a guest that is in progress.
pub(crate) struct Running(Arc<Clock>);

impl Clock {
    /// Starts the clock of an engine. It stops with [`close`](Self::close) or with the
    /// engine.
    pub(crate) fn start(engine: EngineWeak) -> std::io::Result<Arc<Self>> {
        let clock = Arc::new(Self::default());
        let ticking = Arc::clone(&clock);
        std::thread::Builder::new().name("persist-clock".to_owned()).spawn(move || {
            while ticking.wait_for_work() {
                std::thread::sleep(TICK);
                let Some(engine) = engine.upgrade() else { break };
                engine.increment_epoch();
            }
        })?;
        Ok(clock)
    }

    fn wait_for_work(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = self.changed.wait_while(state, |state| state.running == 0 && !state.closed);
        !state.unwrap_or_else(PoisonError::into_inner).closed
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_one();
    }

    /// Counts a running guest until the result is dropped.
    pub(crate) fn run(self: &Arc<Self>) -> Running {
        self.update(|state| state.running += 1);
        Running(Arc::clone(self))
    }

    /// Stops the clock.
    pub(crate) fn close(&self) {
        self.update(|state| state.closed = true);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Needs no wake-up: the thread notices at its next tick.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).running -= 1;
    }
}
