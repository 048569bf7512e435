//! What handles show of themselves: their names. Their fields are no use to a reader.

use std::fmt;

use crate::engine::index::ListingIndex;
use crate::engine::list::Snapshots;
use crate::engine::save::SnapshotWriter;

macro_rules! show_names {
    ($($handle:ident),*) => {$(
        impl fmt::Debug for $handle {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($handle)).finish_non_exhaustive()
            }
        }
    )*};
}

show_names!(ListingIndex, SnapshotWriter, Snapshots);
