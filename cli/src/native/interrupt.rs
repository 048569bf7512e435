//! Ctrl-C: unfinished work is rolled back before the command ends.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use persist_host::{CancelToken, check_threads};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::output::INTERRUPTED;

/// How many threads must be available to listen for signals from the start: the listener,
/// the engine's clock, and the two that a connection to a bucket needs.
const THREADS: usize = 4;

/// How long rolling back may take before the command ends anyway. In a bucket it takes up
/// to three seconds.
const UNDOING: Duration = Duration::from_secs(8);

/// How long the command may take to report what was cancelled if there is nothing to roll
/// back.
const SAYING: Duration = Duration::from_secs(2);

static TOKEN: OnceLock<CancelToken> = OnceLock::new();

/// Whether a thread listens for signals.
static LISTENS: Mutex<bool> = Mutex::new(false);

/// Whether work is in progress that the token cancels.
static ENDS: AtomicBool = AtomicBool::new(false);

/// Whether that work also has to be rolled back.
static UNDOES: AtomicBool = AtomicBool::new(false);

/// Whether the first signal ends the command at once, whatever is in progress.
static ENDS_AT_ONCE: AtomicBool = AtomicBool::new(false);

/// From now on, the first signal ends the command at once with its exit code for
/// interrupts: nothing is in progress until [`token`] is called. If threads are scarce,
/// they are left to the work that needs them, and signals keep their default action.
pub(crate) fn start() {
    ENDS.store(false, Ordering::Release);
    UNDOES.store(false, Ordering::Release);
    ENDS_AT_ONCE.store(false, Ordering::Release);
    match check_threads(THREADS) {
        Ok(()) => listen_once(),
        Err(error) => tracing::debug!(%error, "threads are scarce: not listening for Ctrl-C yet"),
    }
}

/// From now on, the first signal ends the command at once, whatever is in progress. This
/// is for work that leaves nothing behind and may block forever.
pub(crate) fn end_at_once() {
    ENDS_AT_ONCE.store(true, Ordering::Release);
    listen_once();
}

/// Waits for something that cannot be interrupted. Meanwhile, a signal ends the command
/// at once and leaves unfinished files to the next sweep.
pub(crate) fn while_waiting<T>(wait: impl FnOnce() -> T) -> T {
    ENDS_AT_ONCE.store(true, Ordering::Release);
    let done = wait();
    ENDS_AT_ONCE.store(false, Ordering::Release);
    done
}

/// Returns a token that the next Ctrl-C, SIGTERM or SIGHUP cancels. A second signal ends
/// the command at once.
pub(crate) fn token() -> CancelToken {
    UNDOES.store(true, Ordering::Release);
    token_to_read()
}

/// Like [`token`], for work that leaves nothing behind.
pub(crate) fn token_to_read() -> CancelToken {
    ENDS.store(true, Ordering::Release);
    listen_once();
    cancelled_by_signals()
}

fn cancelled_by_signals() -> CancelToken {
    TOKEN.get_or_init(CancelToken::new).clone()
}

/// Starts to listen, unless a thread already does.
fn listen_once() {
    let mut listens = LISTENS.lock().unwrap_or_else(PoisonError::into_inner);
    if *listens {
        return;
    }
    match listen(cancelled_by_signals()) {
        Ok(()) => *listens = true,
        Err(error) => tracing::warn!(%error, "could not listen for signals: Ctrl-C will leave unfinished writes behind"),
    }
}

/// Starts the thread that handles signals. A signal that was ignored when the command
/// started stays ignored: shells do that with SIGINT for background jobs, and nohup with
/// SIGHUP. The thread itself installs the handlers, since without it the signals would be
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
    taken_over.recv().unwrap_or_else(|_| Err(io::Error::other("the signal thread has ended")))
}

/// Waits for the second signal, at most as long as the work may take to end, or until it waits for
/// something that cannot be interrupted. If the reader of a stream is stuck, the command would not
/// end by itself.
fn wait_for_second(signals: &mut Signals) {
    let end = Instant::now() + if UNDOES.load(Ordering::Acquire) { UNDOING } else { SAYING };
    let is_stuck = || ENDS_AT_ONCE.load(Ordering::Acquire);
    while Instant::now() < end && !is_stuck() && signals.pending().next().is_none() {
        thread::sleep(Duration::from_millis(20));
    }
}

/// Returns the ignored signals as a bit mask, with SIGHUP as the lowest bit; 0 if the
/// kernel does not tell.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}
