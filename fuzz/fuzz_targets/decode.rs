//! Decoding what a host passes: any description of a block, with any bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use persist_fuzz::{decode, read_frame};
use persist_guest::codec::{BlockRef, Codec, Decoder};
use sha2::{Digest, Sha256};

fuzz_target!(|bytes: &[u8]| {
    let Some((&[kind, low, middle, high, around], rest)) = bytes.split_first_chunk() else { return };
    let codec = if kind & 1 == 0 { Codec::Gzip } else { Codec::Zstd };
    let length = u32::from_le_bytes([low, middle, high, if kind & 2 == 0 { 0 } else { high }]);
    let (before, after) = (usize::from(around & 15).min(rest.len()), usize::from(around >> 4));
    let (prefix, rest_of) = rest.split_at(before);
    let (frame, suffix) = rest_of.split_at(rest_of.len().saturating_sub(after));
    let block = BlockRef {
        key: None,
        etag: None,
        codec,
        offset: u64::MAX - u64::from(around),
        prefix: prefix.to_vec(),
        frame_length: if kind & 4 == 0 { frame.len() as u32 } else { u32::MAX - u32::from(around) },
        suffix: suffix.to_vec(),
        length,
        hash: if kind & 8 == 0 { Sha256::digest(frame).into() } else { [around; 32] },
    };
    let mut out = Vec::new();
    if Decoder::default().decode(&block, rest, &mut out).is_ok() {
        assert_eq!(out.len(), length as usize);
        if let Some(alone) = decode(codec, frame, length) {
            assert!(alone == out);
            read_frame(codec == Codec::Gzip, frame, length);
        }
    }
});
