//! Turns blocks into frames and back. Every frame is compressed from an empty window,
//! so blocks can be processed in any order and in different instances. The decoder compares
//! each frame with its hash before it decompresses it.

mod block;
mod crc32;
mod decoder;
mod encoder;
pub(crate) mod gzip;
mod kind;
pub(crate) mod primed;
pub(crate) mod zstd;

pub use block::{BlockRef, EncodedBlock};
pub use crc32::{crc32, crc32_combine};
pub use decoder::Decoder;
pub use encoder::Encoder;
pub use kind::Codec;
