//! Stores objects as files below a root folder.
//!
//! Everything is opened beneath the root (with openat2 where the system has it), so no
//! key and no symlink leads out of it. `write.rs` holds the protocol by which a file
//! appears complete and durable, or not at all.

mod adapter;
mod delete;
mod disk;
mod error;
#[cfg(test)]
mod faults;
mod folder;
mod list;
mod place;
mod read;
#[cfg(test)]
mod tests;
mod write;

pub use place::{Durability, LocalFileStorage};
