//! Limits how many small requests are in progress at once: more as long as the service
//! keeps up, fewer as soon as it does not.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use persist_model::error::ErrorCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::Failure;

/// The initial, smallest and largest number of requests. AWS serves 5,500 reads per
/// second for a prefix, which at 20 ms each are 110 at once.
const FIRST: usize = 64;
const LEAST: usize = 4;
const MOST: usize = 128;

/// Failures within this time count as one.
const PAUSE: Duration = Duration::from_millis(500);

/// The requests that may be in progress at once.
#[derive(Debug)]
pub(super) struct Window {
    places: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    size: usize,
    /// Requests that succeeded since the window grew.
    done: usize,
    /// Places to remove when they are given back.
    owed: usize,
    shrunk: Option<Instant>,
}

impl Default for Window {
    fn default() -> Self {
        let state = State { size: FIRST, done: 0, owed: 0, shrunk: None };
        Self { places: Arc::new(Semaphore::new(FIRST)), state: Mutex::new(state) }
    }
}

impl Window {
    /// Waits for a place. Returns none only if the window were closed, which never
    /// happens.
    pub(super) async fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).acquire_owned().await.ok()
    }

    /// Gives a place back. After a full window of successful requests, the window grows
    /// by an eighth. When a service asks the client to slow down or does not respond in time, the
    /// window shrinks by half.
    pub(super) fn give_back<T>(&self, place: Option<OwnedSemaphorePermit>, outcome: &Result<T, Failure>) {
        let Some(place) = place else { return };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_too_much = |failure: &Failure| matches!(failure.error.code(), ErrorCode::Unavailable | ErrorCode::Timeout);
        if outcome.as_ref().is_err_and(is_too_much) {
            if state.shrunk.is_none_or(|shrunk| shrunk.elapsed() > PAUSE) {
                let smaller = (state.size / 2).max(LEAST);
                state.owed += state.size - smaller;
                (state.size, state.done, state.shrunk) = (smaller, 0, Some(Instant::now()));
            }
        } else {
            state.done += 1;
            if state.done >= state.size && state.size < MOST {
                let larger = (state.size + (state.size / 8).max(1)).min(MOST);
                let added = larger - state.size;
                let kept = added.min(state.owed);
                state.owed -= kept;
                self.places.add_permits(added - kept);
                (state.size, state.done) = (larger, 0);
            }
        }
        if state.owed > 0 {
            state.owed -= 1;
            place.forget();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use persist_model::error::PersistError;

    fn at_once(window: &Window) -> usize {
        window.places.available_permits()
    }

    #[tokio::test]
    async fn it_grows_while_all_goes_well_and_halves_when_it_does_not() {
        let window = Window::default();
        assert_eq!(at_once(&window), FIRST);
        for _ in 0..2000 {
            let place = window.place().await;
            window.give_back(place, &Ok(()));
        }
        assert_eq!(at_once(&window), MOST);
        let slow_down = || Err::<(), _>(Failure::from(PersistError::new(ErrorCode::Unavailable, "slow down")));
        // All requests of a window fail together, which counts as one failure.
        let mut places = Vec::new();
        for _ in 0..MOST {
            places.push(window.place().await);
        }
        for place in places {
            window.give_back(place, &slow_down());
        }
        assert_eq!(at_once(&window), MOST / 2);
        // A missing object says nothing about the service.
        let place = window.place().await;
        window.give_back(place, &Err::<(), _>(Failure::from(PersistError::new(ErrorCode::NotFound, "gone"))));
        assert_eq!(at_once(&window), MOST / 2);
        for _ in 0..10 {
            window.state.lock().unwrap().shrunk = None;
            let place = window.place().await;
            window.give_back(place, &slow_down());
            // Owed places are removed as requests give theirs back.
            for _ in 0..MOST {
                let place = window.place().await;
                window.give_back(place, &Err::<(), _>(Failure::from(PersistError::new(ErrorCode::NotFound, "gone"))));
                if window.state.lock().unwrap().owed == 0 {
                    break;
                }
            }
        }
        assert!(at_once(&window) >= LEAST && at_once(&window) <= LEAST + 2, "{}", at_once(&window));
    }
}
