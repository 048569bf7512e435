//! What a snapshot is: its format, codecs, integrity and metadata.
//!
//! This library is the core of the WebAssembly component. It also compiles natively:
//! tests, fuzzing and the native side of the benchmarks run the same code. It knows
//! no file, bucket or network. [`storage::Storage`], a clock and random numbers are
//! all it sees of the world.
//!
//! [`save::Saver`] turns a state into one object, and [`restore::Restorer`] turns it
//! back. [`verify::Verifier`] checks the bytes of an object on their way past.
//! [`timeline::Timeline`] appends states to a history, and reads them back. [`diff::Diff`]
//! compares two states.
//! `docs/format.md` describes the bytes.

pub mod codec;
pub mod diff;
pub mod error;
pub mod hash;
pub mod restore;
pub mod salvage;
pub mod save;
pub mod snapshots;
pub mod storage;
pub mod timeline;
pub mod verify;

mod carrier;
mod footer;
mod limits;
mod metadata;
mod no_footer;
mod open;
mod table;

#[cfg(target_family = "wasm")]
mod component;
#[cfg(not(target_family = "wasm"))]
pub mod memory;

pub use limits::{MAX_BLOCK_SIZE, MAX_BLOCKS, MAX_INDEX, MAX_METADATA, MAX_SEAL};
pub use metadata::{Metadata, SaveOptions};
pub use persist_model::FORMAT_VERSION;
