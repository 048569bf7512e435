//! Stores objects in an S3-compatible bucket.
//!
//! `read`, `write` with `upload`, `list`, `delete`, `conditions` and `health` send the
//! requests. `connection` sets up the SDK's client and repeats what failed.

mod adapter;
mod bucket;
mod conditions;
mod connection;
mod delete;
mod error;
mod facts;
mod health;
mod known;
mod lifecycle;
mod list;
mod options;
mod parts;
mod read;
mod retry;
mod transport;
mod upload;
mod window;
mod work;
mod write;

pub use bucket::S3StorageAdapter;
pub use options::{S3_OPTIONS, S3Addressing, S3Checksums, S3Credentials, S3Encryption, S3Option, S3Options};
