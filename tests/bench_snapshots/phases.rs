//! Where the time goes: each part of a save and of a restore, measured separately.

use persist_guest::codec::{self, BlockRef, Decoder, Encoder};
use persist_host::{Codec, Durability, LocalFileStorage};
use persist_test_support::other_host::{Objects, snapshots, start};
use persist_test_support::table::{Table, in_turn};
use sha2::{Digest, Sha256};

use crate::{engine, name, options};

/// Adds a part, in milliseconds, with its throughput.
fn row(table: &mut Table, what: String, seconds: f64, bytes: usize, detail: &str) {
    let rate = bytes as f64 / 1e6 / seconds;
    table.add(format!("  {what}: ms"), seconds * 1e3, None, format!("{rate:.0} MB/s{detail}"));
}

/// Measures the parts for all blocks, one after the other.
fn blocks(table: &mut Table, codec: Codec, state: &[u8]) {
    let (mut store, persist) = start(&Objects::default());
    let blocks = persist.persist_snapshot_blocks();
    let (theirs, ours) = match codec {
        Codec::Gzip => (snapshots::Codec::Gzip, codec::Codec::Gzip),
        Codec::Zstd => (snapshots::Codec::Zstd, codec::Codec::Zstd),
    };
    let level = ours.default_level();
    let block_size = ours.block_size() as usize;
    let mut encoder = Encoder::new(ours, level).unwrap();
    let encoded: Vec<_> = state.chunks(block_size).map(|block| encoder.encode(block).unwrap()).collect();
    let stored = encoded.iter().map(|block| block.frame.len()).sum::<usize>();

    // What the host does in native code.
    let mut state_alone = || assert!(Sha256::digest(state).len() == 32);
    let mut frames_alone = || encoded.iter().for_each(|block| assert!(Sha256::digest(&block.frame).len() == 32));
    let [hash_of_state, hash_of_frames] = in_turn(5, [&mut state_alone, &mut frames_alone]);

    let mut sandboxed = || {
        for block in state.chunks(block_size) {
            drop(blocks.call_encode_frame(&mut store, theirs, level, block).unwrap().unwrap());
        }
    };
    let mut natively = || state.chunks(block_size).for_each(|block| drop(encoder.encode_frame(block).unwrap()));
    let compressing = in_turn(3, [&mut sandboxed, &mut natively]);

    let refs: Vec<_> = encoded
        .iter()
        .map(|block| BlockRef {
            key: None,
            etag: None,
            codec: ours,
            offset: 0,
            prefix: Vec::new(),
            frame_length: block.frame.len() as u32,
            suffix: Vec::new(),
            length: block.length,
            hash: block.hash,
        })
        .collect();
    let their_refs: Vec<_> = refs
        .iter()
        .map(|block| snapshots::BlockRef {
            key: None,
            etag: None,
            codec: theirs,
            offset: 0,
            prefix: Vec::new(),
            frame_length: block.frame_length,
            suffix: Vec::new(),
            length: block.length,
            hash: block.hash.to_vec(),
        })
        .collect();
    let mut sandboxed = || {
        for (block, encoded) in their_refs.iter().zip(&encoded) {
            drop(blocks.call_decode_hashed(&mut store, block, &encoded.frame, &encoded.hash).unwrap().unwrap());
        }
    };
    let (mut decoder, mut out) = (Decoder::default(), Vec::new());
    let mut natively = || {
        for (block, encoded) in refs.iter().zip(&encoded) {
            decoder.decode_hashed(block, &encoded.frame, encoded.hash, &mut out).unwrap();
        }
    };
    let decompressing = in_turn(5, [&mut sandboxed, &mut natively]);

    let whole = engine(1);
    let folder = tempfile::tempdir().unwrap();
    let on_disk = |durability| {
        let storage = LocalFileStorage::new(folder.path()).durability(durability);
        whole.with_storage(std::sync::Arc::new(storage))
    };
    let (synced, unsynced) = (on_disk(Durability::default()), on_disk(Durability::None));
    let save = |engine: &persist_host::Engine| drop(engine.snapshot("x", state, &options(codec)).unwrap());
    let [in_memory, without_sync, with_sync] = in_turn(5, [&mut || save(&whole), &mut || save(&unsynced), &mut || save(&synced)]);
    let [restore] = in_turn(9, [&mut || drop(whole.restore("x").unwrap())]);

    let codec = name(codec);
    let natively =
        |[_, natively]: [f64; 2]| format!("; natively {:.1} ms, {:.0} MB/s", natively * 1e3, state.len() as f64 / 1e6 / natively);
    row(table, format!("{codec} save, SHA-256 of the state"), hash_of_state, state.len(), "");
    row(table, format!("{codec} save, compressing"), compressing[0], state.len(), &natively(compressing));
    row(table, format!("{codec} save, SHA-256 of the frames"), hash_of_frames, stored, "");
    let hashing = hash_of_state + hash_of_frames;
    let mut add = |what: &str, seconds: f64, detail: String| table.add(format!("  {codec} {what}: ms"), seconds * 1e3, None, detail);
    let rest = in_memory - compressing[0] - hashing;
    add("save, the rest (copies, instance, table, CRC-32)", rest, format!("{:.1} ms in all, into memory", in_memory * 1e3));
    add("save, writing a file", without_sync - in_memory, String::new());
    add("save, fsync of file and folder", with_sync - without_sync, String::new());
    row(table, format!("{codec} restore, SHA-256 of the frames"), hash_of_frames, stored, "");
    row(table, format!("{codec} restore, decompressing"), decompressing[0], state.len(), &natively(decompressing));
    row(table, format!("{codec} restore, SHA-256 of the state"), hash_of_state, state.len(), "");
    let rest = restore - decompressing[0] - hashing;
    let detail = format!("{:.1} ms in all, from memory", restore * 1e3);
    table.add(format!("  {codec} restore, the rest (copies, instance, CRC-32): ms"), rest * 1e3, None, detail);
}

/// Measures all parts of a save and of a restore, with one worker.
pub(crate) fn phases(table: &mut Table, state: &[u8]) {
    for codec in [Codec::Gzip, Codec::Zstd] {
        blocks(table, codec, state);
    }
}

/// Measures the speed and compression of levels in the sandbox and of block sizes
/// natively.
pub(crate) fn choices(table: &mut Table, state: &[u8]) {
    for codec in [Codec::Gzip, Codec::Zstd] {
        let engine = engine(1);
        let ours = match codec {
            Codec::Gzip => codec::Codec::Gzip,
            Codec::Zstd => codec::Codec::Zstd,
        };
        for level in ours.levels().filter(|level| *level != 0) {
            let options = options(codec).level(Some(level));
            let [save] = in_turn(2, [&mut || drop(engine.snapshot("x", state, &options).unwrap())]);
            let [restore] = in_turn(3, [&mut || drop(engine.restore("x").unwrap())]);
            let smaller = state.len() as f64 / engine.metadata("x").unwrap().stored_size as f64;
            let mark = if level == ours.default_level() { ", the default" } else { "" };
            let rate = |seconds: f64| state.len() as f64 / 1e6 / seconds;
            let detail = format!("save {:.0} MB/s, restore {:.0} MB/s{mark}", rate(save), rate(restore));
            table.add(format!("  {} level {level}: times smaller", name(codec)), smaller, None, detail);
        }
        for size in [256 << 10, 512 << 10, 1 << 20, 5 << 18, 2 << 20, 4 << 20, 8 << 20] {
            let mut encoder = Encoder::new(ours, ours.default_level()).unwrap();
            let mut stored = 0;
            let mut encode = || {
                stored = state.chunks(size).map(|block| encoder.encode(block).unwrap().frame.len()).sum();
            };
            let [save] = in_turn(2, [&mut encode]);
            let detail = format!("{:.0} MB/s natively", state.len() as f64 / 1e6 / save);
            let smaller = state.len() as f64 / stored as f64;
            table.add(format!("  {} blocks of {} KiB: times smaller", name(codec), size >> 10), smaller, None, detail);
        }
    }
}
