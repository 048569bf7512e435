//! How many small requests are under way at once: more as long as the service
//! likes it, fewer as soon as it does not.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::Failure;
use crate::error::ErrorCode;

/// At first, at least, and at most. A bucket's prefix at AWS takes 5,500 reads a
/// second; at 20 ms each that are 110 at once.
const FIRST: usize = 16;
const LEAST: usize = 4;
const MOST: usize = 128;

/// Failures that come together are one sign, not many.
const PAUSE: Duration = Duration::from_millis(500);

/// Requests that may be under way at once.
#[derive(Debug)]
pub(super) struct Window {
    places: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    size: usize,
    /// Requests that went well since the window grew.
    done: usize,
    /// Places that are to be taken away when they are given back.
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
    /// Waits for a place. None only if the window were closed, which it never is.
    pub(super) async fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).acquire_owned().await.ok()
    }

    /// Gives a place back. Each window of requests that went well makes it larger by
    /// an eighth; a service that asks to slow down, or does not answer in time,
    /// makes it half as large.
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
    use crate::error::PersistError;

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
        // All of a window fail together: that is one sign.
        let mut places = Vec::new();
        for _ in 0..MOST {
            places.push(window.place().await);
        }
        for place in places {
            window.give_back(place, &slow_down());
        }
        assert_eq!(at_once(&window), MOST / 2);
        // An object that is not there says nothing of the service.
        let place = window.place().await;
        window.give_back(place, &Err::<(), _>(Failure::from(PersistError::new(ErrorCode::NotFound, "gone"))));
        assert_eq!(at_once(&window), MOST / 2);
        for _ in 0..10 {
            window.state.lock().unwrap().shrunk = None;
            let place = window.place().await;
            window.give_back(place, &slow_down());
            // What is owed is paid by whoever gives back next.
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
