//! The stack of the thread, which values within values use up.

/// What is to be left for what is called below: a function of Python's.
const RESERVE: usize = 64 << 10;

/// Whether there is room for another level; threads may have small stacks. Where the
/// platform does not tell, the limits on levels are all there is.
pub(crate) fn has_room() -> bool {
    stacker::remaining_stack().is_none_or(|left| left >= RESERVE)
}
