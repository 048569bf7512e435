//! Timelines under load: writers that race, processes that are killed or stopped, S3
//! servers that fail, and every command.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod broken_off;
mod commands;
mod conditions;
mod copies;
mod fork_commands;
mod forks;
mod helpers;
mod killed;
mod large;
mod lines;
mod lost_replies;
mod meetings;
mod mistakes;
mod names;
mod processes;
mod races;
mod requests;
mod stopped;
