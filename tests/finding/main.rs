//! Finding snapshots and processing many at once, as a user does.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod first_hour;
mod helpers;
mod listing;
mod many;
mod saving;
mod sources;
