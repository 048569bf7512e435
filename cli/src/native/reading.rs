//! Reads the state that is saved on a thread of its own.

use std::io::{self, Read};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use persist_host::CancelToken;
use persist_model::{ErrorCode, PersistError, Result};

use crate::native::interrupt;

/// How many bytes of a state are read at a time.
const CHUNK: u64 = 2 << 20;

/// How often a thread that waits for the state checks for Ctrl-C.
const CANCEL_INTERVAL: Duration = Duration::from_millis(50);

/// The parts of a state, the last of which is empty.
pub(crate) type Parts = Box<dyn FnMut() -> Result<io::Result<Vec<u8>>>>;

fn read_part(state: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut part = Vec::new();
    state.take(CHUNK).read_to_end(&mut part).map(|_| part)
}

/// Reads the state on a separate thread, so that a silent pipe does not block Ctrl-C and
/// the next part is read ahead. If no thread can be started, reads on this one.
pub(crate) fn read_ahead(state: Box<dyn Read + Send>, token: CancelToken) -> Parts {
    let state = Arc::new(Mutex::new(state));
    let (sender, parts) = mpsc::sync_channel(1);
    let reading = Arc::clone(&state);
    let started = thread::Builder::new().name("persist-reader".to_owned()).spawn(move || {
        let mut state = reading.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let read = read_part(&mut **state);
            let is_last = !matches!(&read, Ok(part) if !part.is_empty());
            // Sending fails if nobody waits for the state any more.
            if sender.send(read).is_err() || is_last {
                return;
            }
        }
    });
    match started {
        Ok(_) => Box::new(move || next_part(&parts, &token)),
        Err(error) => {
            tracing::debug!(%error, "could not start a thread to read the state");
            Box::new(move || {
                token.check()?;
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(interrupt::while_waiting(|| read_part(&mut **state)))
            })
        }
    }
}

fn next_part(parts: &Receiver<io::Result<Vec<u8>>>, token: &CancelToken) -> Result<io::Result<Vec<u8>>> {
    loop {
        match parts.recv_timeout(CANCEL_INTERVAL) {
            Ok(part) => return Ok(part),
            Err(RecvTimeoutError::Timeout) => token.check()?,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(PersistError::new(ErrorCode::Io, "could not read the state: the reader thread has ended"));
            }
        }
    }
}
