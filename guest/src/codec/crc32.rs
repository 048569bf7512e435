//! The CRC-32 of gzip.

/// Returns the CRC-32 of some data and `bytes`, from that of the data before them.
pub fn crc32(before: u32, bytes: &[u8]) -> u32 {
    zlib_rs::crc32::crc32(before, bytes)
}

/// Returns the CRC-32 of two parts together, from that of each and the length of the
/// second.
pub fn crc32_combine(first: u32, second: u32, second_length: u64) -> u32 {
    zlib_rs::crc32::crc32_combine(first, second, second_length)
}
