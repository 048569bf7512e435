//! Files that anybody could have made: as they are, and with hashes that fit,
//! so that what the fuzzer makes reaches the decoder of zstd.

#![no_main]

use libfuzzer_sys::fuzz_target;
use persist_fuzz::craft::one_frame;
use persist_fuzz::read;

fuzz_target!(|bytes: &[u8]| {
    let Some((&[low, middle, high], rest)) = bytes.split_first_chunk() else { return };
    // The whole file is the fuzzer's, or one frame and its length.
    if high & 0x80 != 0 {
        read(rest.to_vec());
    } else {
        read(one_frame(false, rest, u32::from_le_bytes([low, middle, high & 0x7f, 0])));
    }
});
