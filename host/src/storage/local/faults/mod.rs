//! Tests of snapshots on failing files. Every operation of every call fails, once or
//! from then on, and the power fails at every moment.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod disk_after_crash;
mod helpers;
mod operations;
mod power_cuts;
mod timelines;
