//! Files without an end, for salvage.

#![no_main]

use libfuzzer_sys::fuzz_target;
use persist_fuzz::read;
use persist_guest::codec::Codec;

fuzz_target!(|bytes: &[u8]| {
    let Some((&[kind], rest)) = bytes.split_first_chunk() else { return };
    match kind % 3 {
        0 => read(rest.to_vec()),
        1 => read([Codec::Gzip.header(), rest].concat()),
        // The magic number, and the byte that says what the header has.
        _ => read([&[0x28, 0xb5, 0x2f, 0xfd, 0xe4][..], rest].concat()),
    }
});
