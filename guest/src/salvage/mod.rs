//! Salvages what is left of a truncated or damaged snapshot.
//!
//! If metadata and table are whole, every whole block comes out checked, and the gaps
//! between them are reported as holes. Without metadata or table, or if no block is
//! whole, the data is decompressed without checks from its front up to the break. In
//! gzip nothing reveals a changed byte before the end of the data. Zeros at the end of
//! a file are what a crash leaves in place of content, so they count as lost.

mod blocks;
mod gzip;
mod input;
mod report;
mod salvager;
mod source;
mod zstd;

pub use report::{Hole, Report};
pub use salvager::Salvager;
