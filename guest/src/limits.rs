//! The limits of the format (`docs/format.md`). Writers keep to them and readers
//! refuse whatever exceeds them, which bounds the memory of both.

/// The largest block, in bytes of state. Other writers may use larger blocks than
/// [`Codec::block_size`](crate::codec::Codec::block_size), up to this.
pub const MAX_BLOCK_SIZE: u32 = 8 << 20;

/// The most blocks in a snapshot. This limits the table to 10 MiB, and a state in
/// blocks of 1 MiB to 256 GiB.
pub const MAX_BLOCKS: u32 = 262_144;

/// The largest metadata document, in bytes. Document, seal and footer always fit into
/// the last 64 KiB of a file.
pub const MAX_METADATA: usize = 48_000;

/// The largest seal, in bytes.
pub const MAX_SEAL: usize = 4096;

/// The largest snapshot index: the largest integer that every JSON reader reads
/// exactly.
pub const MAX_INDEX: u64 = (1 << 53) - 1;
