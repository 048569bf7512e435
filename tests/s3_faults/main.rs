//! Faults of a bucket never lose anything: each S3 request meets each fault the first
//! time, the second time, and always.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod aborted_uploads;
mod every_request;
mod expected;
mod helpers;
mod preconditions;
mod transfers;
