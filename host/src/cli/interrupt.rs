//! Ctrl-C: what is under way is undone before the command ends.

use std::sync::OnceLock;

use super::output::INTERRUPTED;
use crate::CancelToken;

static TOKEN: OnceLock<CancelToken> = OnceLock::new();

/// A token that the first Ctrl-C (or SIGTERM, or SIGHUP) cancels; the second
/// ends the command at once. For commands that would leave something behind:
/// the others just end.
pub(crate) fn token() -> CancelToken {
    TOKEN
        .get_or_init(|| {
            let token = CancelToken::new();
            // Whoever started us with Ctrl-C ignored, as shells do for
            // background jobs, wants it so.
            if !is_ignored() {
                let cancelled = token.clone();
                let handler = move || {
                    if cancelled.is_cancelled() {
                        std::process::exit(INTERRUPTED.into());
                    }
                    cancelled.cancel();
                };
                if let Err(error) = ctrlc::set_handler(handler) {
                    tracing::warn!(%error, "Ctrl-C will leave an unfinished write");
                }
            }
            token
        })
        .clone()
}

/// Whether SIGINT is ignored. Where the kernel does not say, it is not.
fn is_ignored() -> bool {
    const SIGINT: u32 = 2;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & (1 << (SIGINT - 1)) != 0)
}
