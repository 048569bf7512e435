//! The engine for asynchronous programs: what blocks runs on tokio's threads for blocking work.

mod engine;
mod items;
mod streams;
mod timeline;

use std::panic;

use persist_model::Result;
use tokio::task::{JoinError, spawn_blocking};

pub use self::engine::AsyncEngine;
pub use self::items::Items;
pub use self::streams::{AsyncSalvager, AsyncSnapshotReader, AsyncSnapshotWriter};
pub use self::timeline::{AsyncStepWriter, AsyncTimeline};
use crate::cancel::{CancelToken, cancelled};
use crate::engine::Engine;

/// Runs work on a thread for blocking work.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    finished(spawn_blocking(work).await)
}

/// Returns what work on another thread came to.
fn finished<T>(done: std::result::Result<T, JoinError>) -> Result<T> {
    done.map_err(|error| match error.try_into_panic() {
        Ok(payload) => panic::resume_unwind(payload),
        // The runtime is being shut down.
        Err(_) => cancelled(),
    })
}

/// Cancels an operation when nobody waits for it any longer.
struct Operation(CancelToken);

impl Drop for Operation {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Operation {
    /// Returns an operation, and the engine that runs it.
    fn on(engine: &Engine) -> (Self, Engine) {
        let outer = engine.cancel_token().clone();
        let token = CancelToken::asking(move || outer.is_cancelled());
        let engine = engine.with_cancel(&token);
        (Self(token), engine)
    }
}

/// Runs an operation of an engine, which is cancelled when nobody waits for it.
async fn run<T: Send + 'static>(engine: &Engine, work: impl FnOnce(&Engine) -> Result<T> + Send + 'static) -> Result<T> {
    let (operation, engine) = Operation::on(engine);
    let done = blocking(move || work(&engine)).await;
    drop(operation);
    done?
}
