//! The limits of an instance.

use std::time::Duration;

/// How often the engine's clock ticks while a guest runs. Deadlines have this accuracy.
pub(crate) const TICK: Duration = Duration::from_millis(20);

/// The limits of one guest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) memory: usize,
    pub(crate) deadline: Duration,
}

impl Default for Limits {
    /// The memory is enough for every snapshot within the limits of the format: several
    /// blocks of 8 MiB and the largest table. A call works on a few megabytes, which
    /// takes less than a second on all but the smallest machines.
    fn default() -> Self {
        Self { memory: 128 << 20, deadline: Duration::from_secs(30) }
    }
}
