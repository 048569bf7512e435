//! Ctrl-C: what is under way is undone before the command ends.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::output::INTERRUPTED;
use crate::{CancelToken, threads};

/// The threads that have to be left where one waits for signals from the start: this
/// one, the engine's clock, and the two without which a bucket can't be reached.
const THREADS: usize = 4;

/// How long undoing takes at most, after which the command ends all the same: three
/// seconds in a bucket.
const UNDOING: Duration = Duration::from_secs(8);

/// The same where there is nothing to undo, but it is to be said what was cancelled.
const SAYING: Duration = Duration::from_secs(2);

static TOKEN: OnceLock<CancelToken> = OnceLock::new();

/// Whether a thread waits for signals.
static LISTENS: Mutex<bool> = Mutex::new(false);

/// Whether work is under way that ends where the token is cancelled.
static ENDS: AtomicBool = AtomicBool::new(false);

/// Whether it is also to be undone then.
static UNDOES: AtomicBool = AtomicBool::new(false);

/// Whether the first signal is to end the command at once, whatever is under way.
static ENDS_AT_ONCE: AtomicBool = AtomicBool::new(false);

/// From now on, the first signal ends the command at once, with the exit code that
/// it has for that: until [`token`] is called, nothing is under way. Where threads
/// are few, they are left to those who can't do without; signals then do what they
/// do by default.
pub(crate) fn start() {
    ENDS.store(false, Ordering::Release);
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
    token_to_read()
}

/// The same for work that leaves nothing behind.
pub(crate) fn token_to_read() -> CancelToken {
    ENDS.store(true, Ordering::Release);
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
        if signals.forever().next().is_some() {
            if ENDS.load(Ordering::Acquire) && !ENDS_AT_ONCE.load(Ordering::Acquire) {
                token.cancel();
                wait_for_second(&mut signals);
            }
            std::process::exit(INTERRUPTED.into());
        }
    })?;
    taken_over.recv().unwrap_or_else(|_| Err(io::Error::other("the thread that waits for signals has ended")))
}

/// Waits for the second signal, at most as long as it may take to end what is under
/// way: where the reader of a stream is stuck, the command would not end by itself.
fn wait_for_second(signals: &mut Signals) {
    let end = Instant::now() + if UNDOES.load(Ordering::Acquire) { UNDOING } else { SAYING };
    while Instant::now() < end && signals.pending().next().is_none() {
        thread::sleep(Duration::from_millis(20));
    }
}

/// The signals that are ignored, a bit each from SIGHUP on. Where the kernel
/// does not say, none is.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}
