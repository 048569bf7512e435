//! The outcome of a write to a bucket is reported correctly, whatever happens to its
//! requests. Ending a write takes no longer, and a response no more memory, than
//! documented.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod changes;
mod ending;
mod helpers;
mod lost_uploads;
mod memory;
mod processes;
mod reading;
mod settings;
