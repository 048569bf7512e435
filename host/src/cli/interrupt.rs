//! Ctrl-C: what is under way is undone before the command ends.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::output::INTERRUPTED;
use crate::CancelToken;

static TOKEN: OnceLock<CancelToken> = OnceLock::new();

/// Whether the first signal is to end the command at once.
static ENDS_AT_ONCE: AtomicBool = AtomicBool::new(false);

/// From now on, the first signal ends the command at once, with the exit code that
/// it has for that: for what leaves nothing behind, and may be held up for ever.
pub(crate) fn end_at_once() {
    ENDS_AT_ONCE.store(true, Ordering::Release);
    token();
}

/// A token that the first Ctrl-C (or SIGTERM, or SIGHUP) cancels; the second
/// ends the command at once.
pub(crate) fn token() -> CancelToken {
    TOKEN
        .get_or_init(|| {
            let token = CancelToken::new();
            if let Err(error) = listen(token.clone()) {
                tracing::warn!(%error, "Ctrl-C will leave an unfinished write");
            }
            token
        })
        .clone()
}

/// Cancels the token at the first signal. Whoever started us with one of them
/// ignored, as shells do with SIGINT for background jobs and nohup with SIGHUP,
/// wants it so.
fn listen(token: CancelToken) -> io::Result<()> {
    let ignored = ignored_signals();
    let wanted = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| ignored & (1 << (signal - 1)) == 0);
    let mut signals = Signals::new(wanted)?;
    thread::Builder::new().name("persist-signals".to_owned()).spawn(move || {
        for _ in signals.forever() {
            if token.is_cancelled() || ENDS_AT_ONCE.load(Ordering::Acquire) {
                std::process::exit(INTERRUPTED.into());
            }
            token.cancel();
        }
    })?;
    Ok(())
}

/// The signals that are ignored, a bit each from SIGHUP on. Where the kernel
/// does not say, none is.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}
