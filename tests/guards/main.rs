//! What the command refuses to do without being told to, how it prints locations, and
//! what it does when it is stopped.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod copying;
mod deleting;
mod helpers;
mod locations;
mod output;
mod replacing;
mod stopped_requests;
#[cfg(target_os = "linux")]
mod streams;
