//! Any state, in chunks of any size and at any level, comes back as it was.

#![no_main]

use libfuzzer_sys::fuzz_target;
use persist_fuzz::read;
use persist_guest::codec::Codec;
use persist_guest::memory::MemoryStorage;
use persist_guest::save::Saver;
use persist_guest::{SaveOptions, snapshots, verify};

fuzz_target!(|bytes: &[u8]| {
    let Some((&[kind, level, repeat, piece], rest)) = bytes.split_first_chunk() else { return };
    let codec = if kind & 1 == 0 { Codec::Gzip } else { Codec::Zstd };
    let levels: Vec<i32> = codec.levels().filter(|level| *level != 0).collect();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let options = SaveOptions {
        agent_id: text(&rest[..rest.len().min(20)]),
        description: (kind & 2 != 0).then(|| text(&rest[..rest.len().min(100)])),
        codec: Some(codec),
        level: Some(levels[usize::from(level) % levels.len()]),
        ..SaveOptions::default()
    };
    // Sometimes long enough for several blocks.
    let state = rest.repeat(if kind & 4 == 0 { 1 } else { usize::from(repeat) * 16 });
    let storage = MemoryStorage::default();
    let mut saver = Saver::open(&storage, "x", options.clone()).expect("the options are good");
    for chunk in state.chunks((usize::from(piece) * 997).max(1)) {
        saver.write(chunk).expect("it is written");
    }
    let saved = saver.commit().expect("it is committed");
    assert!(snapshots::restore(&storage, "x").expect("it is restored") == state);
    assert_eq!(verify::verify(&storage, "x").expect("it is right"), saved);
    assert_eq!(saved.agent_id, options.agent_id);
    assert_eq!(saved.description, options.description);
    let stored = storage.get("x").expect("it is there");
    if stored.len() < 1 << 16 {
        read(stored);
    }
});
