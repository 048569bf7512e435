//! Options and states for several tests.

#![allow(dead_code, reason = "not every test needs all of it")]

use persist_guest::SaveOptions;
use persist_guest::codec::Codec;

pub(crate) const KEY: &str = "x";

pub(crate) fn options(codec: Codec) -> SaveOptions {
    SaveOptions {
        agent_id: "agent".to_owned(),
        session_id: "session".to_owned(),
        codec: Some(codec),
        snapshot_id: Some("01890a5d-ac96-774b-bcce-b302099a8057".to_owned()),
        timestamp: Some("2026-01-31T12:00:00Z".to_owned()),
        ..SaveOptions::default()
    }
}

/// Bytes that compress roughly like text.
pub(crate) fn text(length: usize, seed: u64) -> Vec<u8> {
    const WORDS: [&str; 12] = ["the ", "agent ", "said ", "\"role\": ", "user", ", ", "\n", "tool call ", "42 ", "é", "answer ", "{}"];
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(length + 16);
    while bytes.len() < length {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        bytes.extend_from_slice(WORDS[(state >> 33) as usize % WORDS.len()].as_bytes());
    }
    bytes.truncate(length);
    bytes
}

pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect()
}

/// Sizes of states around the boundaries of blocks.
pub(crate) fn sizes(codec: Codec) -> Vec<usize> {
    let block = codec.block_size() as usize;
    vec![0, 1, 2, 1000, block - 1, block, block + 1, 2 * block, 3 * block + 17]
}
