//! Progress bars on stderr.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::Output;

/// How long work must take before a bar appears.
const PATIENCE: Duration = Duration::from_secs(1);

/// The progress of one piece of work in bytes. On a terminal, a bar appears after a
/// second and disappears when the work ends.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    began: Instant,
    total: Option<u64>,
    doing: &'static str,
}

impl Progress {
    /// Begins work on `total` bytes, if their number is known. `doing` is one word.
    pub(crate) fn new(output: &Output, doing: &'static str, total: Option<u64>) -> Self {
        let bar = output.shows_progress().then(ProgressBar::hidden);
        Self { bar, began: Instant::now(), total, doing }
    }

    /// Sets how many snapshots and bytes are done so far.
    pub(crate) fn set_of_many(&mut self, snapshots: u64, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{}: {snapshots} done,", self.doing));
        }
        self.set(bytes);
    }

    /// Sets how many bytes are done so far.
    pub(crate) fn set(&mut self, done: u64) {
        let Some(bar) = &self.bar else { return };
        if bar.is_hidden() {
            if self.began.elapsed() < PATIENCE {
                return;
            }
            let template = match self.total {
                Some(_) => "{msg} {bar:30} {decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left",
                None => "{msg} {spinner} {decimal_bytes}, {decimal_bytes_per_sec}",
            };
            // The templates are constants and well-formed.
            bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
            if let Some(total) = self.total {
                bar.set_length(total);
            }
            if bar.message().is_empty() {
                bar.set_message(self.doing);
            }
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        bar.set_position(done);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
