//! Processing blocks on several instances gives the same bytes and errors as on one, and
//! any fault of a worker is one clean error.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod helpers;
mod hostile_component;
mod same_results;
mod slow_and_broken;
mod stopped_workers;
