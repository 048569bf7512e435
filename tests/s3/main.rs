//! Snapshots in a bucket, as a user of the command sees them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod failures;
mod helpers;
mod interruptions;
mod library;
mod other_clients;
mod requests;
mod settings;
