//! What a snapshot is: its format, codecs, integrity and metadata.
//!
//! This library is the inside of the WebAssembly component, and compiles
//! natively too: tests, fuzzing and the native side of the benchmark run the
//! same code. It knows no file, bucket or network: [`storage::Storage`] is all
//! it sees of the world, besides a clock and random numbers.
//!
//! A state goes through [`save::Saver`] into one object and comes back through
//! [`restore::Restorer`]; [`verify::Verifier`] checks an object as it passes
//! by. `docs/format.md` describes the bytes.

pub mod codec;
pub mod error;
pub mod hash;
pub mod restore;
pub mod salvage;
pub mod save;
pub mod snapshots;
pub mod storage;
pub mod verify;

mod carrier;
mod footer;
mod metadata;
mod open;
mod table;

#[cfg(target_family = "wasm")]
mod component;
#[cfg(not(target_family = "wasm"))]
pub mod memory;

pub use footer::{FORMAT_VERSION, MAX_METADATA, MAX_SEAL};
pub use metadata::{Metadata, SaveOptions};
pub use table::MAX_BLOCKS;
