//! What salvaging finds.

use serde::Serialize;

/// A part of a state that could not be salvaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Hole {
    /// The offset of the missing bytes in the state.
    pub state_offset: u64,
    /// The number of missing bytes.
    pub length: u64,
    /// The offset in the object where they should be.
    pub object_offset: u64,
}

impl Hole {
    /// Returns a part of a state that should be at an offset of the object.
    #[must_use]
    pub const fn new(state_offset: u64, length: u64, object_offset: u64) -> Self {
        Self { state_offset, length, object_offset }
    }
}
