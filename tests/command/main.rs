//! The `persist` command, as a user runs it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod helpers;
mod listing;
mod messages;
mod paths;
mod permissions;
mod reading;
mod saving;
mod settings;
