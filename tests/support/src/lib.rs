//! Code that the tests of several packages share. Features keep each package from
//! building what only others need.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[cfg(feature = "servers")]
pub mod bucket;
#[cfg(feature = "components")]
pub mod built;
#[cfg(feature = "command")]
pub mod command;
#[cfg(feature = "composed")]
pub mod composed;
pub mod craft;
pub mod damage;
#[cfg(feature = "edits")]
pub mod edits;
#[cfg(feature = "help")]
pub mod help;
#[cfg(feature = "servers")]
pub mod moto;
#[cfg(feature = "hosts")]
pub mod other_host;
mod pass_on;
#[cfg(feature = "precompiled")]
pub mod precompiled;
#[cfg(feature = "servers")]
pub mod proxy;
#[cfg(feature = "servers")]
pub mod server;
pub mod steps;
#[cfg(feature = "components")]
pub mod table;
#[cfg(feature = "servers")]
pub mod tls;
#[cfg(feature = "hosts")]
pub mod wasi_files;
#[cfg(feature = "hosts")]
pub mod wasi_storage;
pub mod workspace;
