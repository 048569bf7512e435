//! Ctrl-C: what is under way is undone before the command ends.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::output::INTERRUPTED;
use crate::{CancelToken, threads};

/// The threads that have to be left where one waits for signals from the start: this
/// one, the engine's clock, and the two without which a bucket can't be reached.
const THREADS: usize = 4;

static TOKEN: OnceLock<CancelToken> = OnceLock::new();

/// Whether a thread waits for signals.
static LISTENS: Mutex<bool> = Mutex::new(false);

/// Whether work is under way that is undone where the token is cancelled.
static UNDOES: AtomicBool = AtomicBool::new(false);

/// Whether the first signal is to end the command at once, whatever is under way.
static ENDS_AT_ONCE: AtomicBool = AtomicBool::new(false);

/// From now on, the first signal ends the command at once, with the exit code that
/// it has for that: until [`token`] is called, nothing is under way. Where threads
/// are few, they are left to those who can't do without; signals then do what they
/// do by default.
pub(crate) fn start() {
    UNDOES.store(false, Ordering::Release);
    ENDS_AT_ONCE.store(false, Ordering::Release);
    match threads::are_allowed(THREADS) {
        Ok(()) => listen_once(),
        Err(error) => tracing::debug!(%error, "threads are few: none waits for Ctrl-C yet"),
    }
}

/// From now on, the first signal ends the command at once, whatever is under way:
/// for what leaves nothing behind, and may be held up for ever.
pub(crate) fn end_at_once() {
    ENDS_AT_ONCE.store(true, Ordering::Release);
    listen_once();
}

/// Waits for something that can't be told of a signal, which therefore ends the
/// command at once: what is unfinished then is left to the next sweep.
pub(crate) fn while_waiting<T>(wait: impl FnOnce() -> T) -> T {
    ENDS_AT_ONCE.store(true, Ordering::Release);
    let done = wait();
    ENDS_AT_ONCE.store(false, Ordering::Release);
    done
}

/// A token that the first Ctrl-C (or SIGTERM, or SIGHUP) from now on cancels; the
/// second ends the command at once.
pub(crate) fn token() -> CancelToken {
    UNDOES.store(true, Ordering::Release);
    listen_once();
    cancelled_by_signals()
}

fn cancelled_by_signals() -> CancelToken {
    TOKEN.get_or_init(CancelToken::new).clone()
}

/// Listens, unless a thread does so already.
fn listen_once() {
    let mut listens = LISTENS.lock().unwrap_or_else(PoisonError::into_inner);
    if *listens {
        return;
    }
    match listen(cancelled_by_signals()) {
        Ok(()) => *listens = true,
        Err(error) => tracing::warn!(%error, "Ctrl-C will leave an unfinished write"),
    }
}

/// Does what signals ask for. Whoever started us with one of them ignored, as shells
/// do with SIGINT for background jobs and nohup with SIGHUP, wants it so. They are
/// taken over by the thread that waits for them: where there is none, they would be
/// swallowed.
fn listen(token: CancelToken) -> io::Result<()> {
    let (sender, taken_over) = mpsc::channel();
    thread::Builder::new().name("persist-signals".to_owned()).spawn(move || {
        let ignored = ignored_signals();
        let wanted = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| ignored & (1 << (signal - 1)) == 0);
        let mut signals = match Signals::new(wanted) {
            Ok(signals) => signals,
            Err(error) => {
                let _ = sender.send(Err(error));
                return;
            }
        };
        let _ = sender.send(Ok(()));
        for _ in signals.forever() {
            let undoes = UNDOES.load(Ordering::Acquire) && !ENDS_AT_ONCE.load(Ordering::Acquire);
            if token.is_cancelled() || !undoes {
                std::process::exit(INTERRUPTED.into());
            }
            token.cancel();
        }
    })?;
    taken_over.recv().unwrap_or_else(|_| Err(io::Error::other("the thread that waits for signals has ended")))
}

/// The signals that are ignored, a bit each from SIGHUP on. Where the kernel
/// does not say, none is.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}
