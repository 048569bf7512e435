//! A state comes back as it was, however it was saved, and other readers agree.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::io::Read;

use persist_guest::codec::{self, Codec, Encoder};
use persist_guest::error::{ErrorCode, Result};
use persist_guest::hash::hex;
use persist_guest::memory::MemoryStorage;
use persist_guest::restore::Restorer;
use persist_guest::salvage::Salvager;
use persist_guest::save::Saver;
use persist_guest::storage::Precondition;
use persist_guest::verify::Verifier;
use persist_guest::{Metadata, SaveOptions, snapshots, verify};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

mod support;

use support::{KEY, noise, options, sizes, text};

/// Writes the state in pieces of these lengths, repeated as often as needed.
fn save_in_pieces(storage: &MemoryStorage, state: &[u8], pieces: &[usize], options: SaveOptions) -> Metadata {
    let mut saver = Saver::open(storage, KEY, options).unwrap();
    let mut rest = state;
    for length in pieces.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (now, later) = rest.split_at(rest.len().min(*length));
        saver.write(now).unwrap();
        rest = later;
    }
    saver.commit().unwrap()
}

fn read_in_pieces(storage: &MemoryStorage, max: u32) -> Result<Vec<u8>> {
    let mut restorer = Restorer::open(storage, KEY, true)?;
    let mut state = Vec::new();
    loop {
        let chunk = restorer.read(max)?;
        if chunk.is_empty() {
            return Ok(state);
        }
        assert!(chunk.len() <= max as usize);
        state.extend_from_slice(&chunk);
    }
}

#[test]
fn every_size_round_trips_and_the_metadata_tells_the_truth() {
    for codec in [Codec::Gzip, Codec::Zstd] {
        for size in sizes(codec) {
            for state in [text(size, 7), noise(size), vec![0; size]] {
                let storage = MemoryStorage::default();
                let saved = snapshots::save(&storage, KEY, &state, options(codec)).unwrap();
                let stored = storage.get(KEY).unwrap();
                assert_eq!(saved.uncompressed_size, size as u64);
                assert_eq!(saved.stored_size, stored.len() as u64);
                assert_eq!(saved.content_hash, hex(&Sha256::digest(&state)));
                assert_eq!(snapshots::restore(&storage, KEY).unwrap(), state);
                assert_eq!(snapshots::metadata(&storage, KEY).unwrap(), saved);
                assert_eq!(verify::verify(&storage, KEY).unwrap(), saved);
                assert!(saved.stored_size <= size as u64 + size as u64 / 64 + 2048, "{size} grew to {}", saved.stored_size);
            }
        }
    }
}

#[test]
fn other_readers_read_exactly_the_state() {
    for size in sizes(Codec::Gzip) {
        let storage = MemoryStorage::default();
        let state = text(size, 3);
        snapshots::save(&storage, KEY, &state, options(Codec::Gzip)).unwrap();
        let stored = storage.get(KEY).unwrap();
        // The first member holds the whole state, and the others are empty.
        let mut first = Vec::new();
        flate2::read::GzDecoder::new(&stored[..]).read_to_end(&mut first).unwrap();
        assert!(first == state, "first member, {size}");
        let mut all = Vec::new();
        flate2::read::MultiGzDecoder::new(&stored[..]).read_to_end(&mut all).unwrap();
        assert!(all == state, "all members, {size}");
    }
    for size in sizes(Codec::Zstd) {
        let storage = MemoryStorage::default();
        let state = text(size, 3);
        snapshots::save(&storage, KEY, &state, options(Codec::Zstd)).unwrap();
        assert!(zstd::decode_all(&storage.get(KEY).unwrap()[..]).unwrap() == state, "{size}");
    }
}

#[test]
fn equal_input_gives_equal_bytes_whatever_the_pieces() {
    for codec in [Codec::Gzip, Codec::Zstd] {
        let state = text(codec.block_size() as usize * 2 + 4321, 11);
        let storage = MemoryStorage::default();
        snapshots::save(&storage, KEY, &state, options(codec)).unwrap();
        let whole = storage.get(KEY).unwrap();
        for pieces in [vec![state.len()], vec![4096], vec![1, 70_000, codec.block_size() as usize], vec![codec.block_size() as usize + 1]] {
            save_in_pieces(&storage, &state, &pieces, options(codec));
            assert!(storage.get(KEY).unwrap() == whole, "{} in pieces of {pieces:?}", codec.name());
        }
    }
}

#[test]
fn a_used_encoder_gives_the_bytes_of_a_fresh_one() {
    for codec in [Codec::Gzip, Codec::Zstd] {
        for level in codec.levels().filter(|level| *level != 0) {
            let mut used = Encoder::new(codec, level).unwrap();
            for block in [text(300_000, 1), noise(100_000), Vec::new(), text(5, 2), text(300_000, 3)] {
                let fresh = Encoder::new(codec, level).unwrap().encode(&block).unwrap();
                assert!(used.encode(&block).unwrap() == fresh, "{} level {level}, {} bytes", codec.name(), block.len());
            }
        }
    }
}

#[test]
fn incompressible_data_hardly_grows_at_any_level() {
    let awkward = |length: usize| {
        let high: Vec<u8> = noise(length).iter().map(|byte| byte | 0x90).collect();
        let rare: Vec<u8> = noise(length).chunks(7).flat_map(|part| part.iter().copied().chain(*b"  ")).take(length).collect();
        let mixed: Vec<u8> = [text(length / 2, 5), noise(length - length / 2)].concat();
        [noise(length), high, rare, mixed]
    };
    for codec in [Codec::Gzip, Codec::Zstd] {
        for level in codec.levels().filter(|level| *level != 0) {
            for length in [1, 2, 100, 65_535, 65_536, codec.block_size() as usize, 2 * codec.block_size() as usize + 1] {
                for state in awkward(length) {
                    let storage = MemoryStorage::default();
                    let metadata = save_in_pieces(&storage, &state, &[length], SaveOptions { level: Some(level), ..options(codec) });
                    let most = length as u64 + length as u64 / 64 + 1024;
                    assert!(
                        metadata.compressed_size <= most,
                        "{} level {level}: {length} became {}",
                        codec.name(),
                        metadata.compressed_size
                    );
                    assert!(read_in_pieces(&storage, 1 << 20).unwrap() == state, "{} level {level}, {length} bytes", codec.name());
                }
            }
        }
    }
}

#[test]
fn a_dropped_saver_stores_nothing_and_a_failed_one_replaces_nothing() {
    let storage = MemoryStorage::default();
    drop(Saver::open(&storage, KEY, options(Codec::Gzip)).unwrap());
    assert_eq!(storage.get(KEY), None);

    snapshots::save(&storage, KEY, b"first", options(Codec::Gzip)).unwrap();
    let lost = SaveOptions { precondition: Precondition::IfAbsent, ..options(Codec::Gzip) };
    assert_eq!(snapshots::save(&storage, KEY, b"second", lost).unwrap_err().code, ErrorCode::AlreadyExists);
    assert_eq!(snapshots::restore(&storage, KEY).unwrap(), b"first");
}

#[test]
fn the_verifier_wants_all_bytes_and_no_more() {
    let storage = MemoryStorage::default();
    snapshots::save(&storage, KEY, &text(3_000_000, 9), options(Codec::Gzip)).unwrap();
    let bytes = storage.get(KEY).unwrap();
    for piece in [1000, 70_001, bytes.len()] {
        let mut verifier = Verifier::open(&storage, KEY).unwrap();
        for chunk in bytes.chunks(piece) {
            verifier.write(chunk).unwrap();
        }
        verifier.finish().unwrap();
    }
    let mut verifier = Verifier::open(&storage, KEY).unwrap();
    verifier.write(&bytes[..bytes.len() - 1]).unwrap();
    let error = verifier.finish().unwrap_err();
    assert_eq!((error.code, error.retryable), (ErrorCode::Io, true), "a short read says nothing about the snapshot");

    let mut verifier = Verifier::open(&storage, KEY).unwrap();
    verifier.write(&bytes).unwrap();
    assert_eq!(verifier.write(b"!").unwrap_err().code, ErrorCode::Integrity);
    assert_eq!(verifier.finish().unwrap_err().code, ErrorCode::Integrity);
}

#[test]
fn a_crc32_of_parts_is_that_of_the_whole() {
    let bytes = text(100_000, 4);
    for split in [0, 1, 4096, 99_999, 100_000] {
        let (first, second) = bytes.split_at(split);
        let combined = codec::crc32_combine(codec::crc32(0, first), codec::crc32(0, second), second.len() as u64);
        assert_eq!(combined, codec::crc32(0, &bytes));
    }
}

#[test]
fn reading_zero_bytes_changes_nothing() {
    let storage = MemoryStorage::default();
    let state = text(100_000, 3);
    snapshots::save(&storage, KEY, &state, options(Codec::Zstd)).unwrap();
    let mut restorer = Restorer::open(&storage, KEY, true).unwrap();
    let mut salvager = Salvager::open(&storage, KEY).unwrap();
    let (mut restored, mut salvaged) = (Vec::new(), Vec::new());
    while restored.len() < state.len() {
        assert!(restorer.read(0).unwrap().is_empty() && salvager.read(0).unwrap().is_empty());
        restored.extend(restorer.read(30_000).unwrap());
        salvaged.extend(salvager.read(30_000).unwrap());
    }
    assert!(restored == state && salvaged == state);
    assert!(restorer.read(0).unwrap().is_empty() && restorer.read(1).unwrap().is_empty());
}

fn any_codec() -> impl Strategy<Value = Codec> {
    prop_oneof![Just(Codec::Gzip), Just(Codec::Zstd)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_state_in_any_pieces_round_trips(
        codec in any_codec(),
        bytes in prop::collection::vec(any::<u8>(), 0..3000),
        repeat in 1..1500_usize,
        pieces in prop::collection::vec(1..2_000_000_usize, 1..5),
        max in 1_000..3_000_000_u32,
    ) {
        let state = bytes.repeat(repeat);
        let storage = MemoryStorage::default();
        let saved = save_in_pieces(&storage, &state, &pieces, options(codec));
        prop_assert_eq!(saved.content_hash, hex(&Sha256::digest(&state)));
        prop_assert!(read_in_pieces(&storage, max).unwrap() == state);
        verify::verify(&storage, KEY).unwrap();
    }

    /// The sections add up to the file, the slices make up the data without gaps, and the
    /// carriers decompress to nothing.
    #[test]
    fn the_parts_of_a_file_fit(
        codec in any_codec(),
        bytes in prop::collection::vec(any::<u8>(), 0..4000),
        repeat in 0..1200_usize,
        description in ".{0,4000}",
    ) {
        let state = bytes.repeat(repeat);
        let storage = MemoryStorage::default();
        let saved = save_in_pieces(&storage, &state, &[100_000], SaveOptions { description: Some(description), ..options(codec) });
        let file = storage.get(KEY).unwrap();
        let plan = Restorer::open(&storage, KEY, false).unwrap().plan(0, u32::MAX);
        let (mut position, mut size) = (0, 0);
        for (index, block) in plan.iter().enumerate() {
            prop_assert_eq!(block.offset, position);
            position += block.slice_length() as u64;
            size += u64::from(block.length);
            let is_last = index + 1 == plan.len();
            let fits = if is_last { block.length <= codec.block_size() } else { block.length == codec.block_size() };
            prop_assert!(fits);
            prop_assert!(block.frame_length <= Codec::max_frame_length(block.length));
        }
        prop_assert_eq!((position, size), (saved.compressed_size, state.len() as u64));
        let carriers = &file[position as usize..];
        let mut nothing = Vec::new();
        match codec {
            Codec::Gzip => drop(flate2::read::MultiGzDecoder::new(carriers).read_to_end(&mut nothing).unwrap()),
            Codec::Zstd => nothing = zstd::decode_all(carriers).unwrap(),
        }
        prop_assert!(nothing.is_empty());
        let footer = &file[file.len() - if codec == Codec::Gzip { 74 } else { 64 }..][..64];
        prop_assert!(footer.starts_with(b"PERSIST\0\x01\0\0\0\0\0\0\0"));
        prop_assert_eq!(hex(&footer[32..]), saved.digest);
    }

    #[test]
    fn any_metadata_comes_back(
        agent_id in ".{0,40}",
        session_id in ".{0,40}",
        snapshot_index in 0..=(1_u64 << 53) - 1,
        description in prop::option::of(".{0,200}"),
        labels in prop::collection::btree_map(".{0,20}", ".{0,40}", 0..6),
        codec in any_codec(),
    ) {
        let storage = MemoryStorage::default();
        let options = SaveOptions {
            agent_id: agent_id.clone(),
            session_id: session_id.clone(),
            snapshot_index,
            description: description.clone(),
            labels: labels.clone().into_iter().collect(),
            ..options(codec)
        };
        snapshots::save(&storage, KEY, b"{}", options).unwrap();
        let read = snapshots::metadata(&storage, KEY).unwrap();
        prop_assert_eq!(read.agent_id, agent_id);
        prop_assert_eq!(read.session_id, session_id);
        prop_assert_eq!(read.snapshot_index, snapshot_index);
        prop_assert_eq!(read.description, description);
        prop_assert_eq!(read.labels, labels);
        prop_assert_eq!(read.compression_algorithm, codec);
    }

    #[test]
    fn any_bytes_are_no_snapshot(bytes in prop::collection::vec(any::<u8>(), 0..2000), codec in any_codec()) {
        let storage = MemoryStorage::default();
        // Alone, and with the end of a real snapshot.
        storage.put(KEY, bytes.clone());
        prop_assert!(snapshots::restore(&storage, KEY).is_err());
        snapshots::save(&storage, KEY, b"{}", options(codec)).unwrap();
        let mut end = bytes;
        end.extend_from_slice(&storage.get(KEY).unwrap()[20..]);
        storage.put(KEY, end);
        prop_assert!(snapshots::restore(&storage, KEY).is_err());
    }
}
