//! What goes in comes out, however it went in, and other readers agree.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::io::Read;

use persist_guest::codec::{self, Codec, Decoder, Encoder};
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

use support::{KEY, noise, options, text};

/// Writes the state in pieces of these lengths, over and over.
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

fn sizes(codec: Codec) -> Vec<usize> {
    let block = codec.block_size() as usize;
    vec![0, 1, 2, 1000, block - 1, block, block + 1, 2 * block, 3 * block + 17]
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
        // The whole state is in the first member, and the others are empty.
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
fn blocks_that_are_encoded_elsewhere_give_the_same_bytes() {
    for codec in [Codec::Gzip, Codec::Zstd] {
        for size in sizes(codec) {
            let state = text(size, 5);
            let storage = MemoryStorage::default();
            snapshots::save(&storage, KEY, &state, options(codec)).unwrap();
            let whole = storage.get(KEY).unwrap();

            let mut saver = Saver::open(&storage, KEY, options(codec)).unwrap();
            let encoding = saver.encoding();
            saver.hash(&state).unwrap();
            for block in state.chunks(encoding.block_size as usize) {
                // A fresh encoder for each, as in another instance.
                let block = Encoder::new(encoding.codec, encoding.level).unwrap().encode(block).unwrap();
                saver.append(&block).unwrap();
            }
            saver.commit().unwrap();
            assert!(storage.get(KEY).unwrap() == whole, "{} of {size}", codec.name());

            let restorer = Restorer::open(&storage, KEY, false).unwrap();
            let plan = restorer.plan(0, u32::MAX);
            assert_eq!(plan.len(), restorer.block_count() as usize);
            let (mut decoder, mut restored, mut block) = (Decoder::default(), Vec::new(), Vec::new());
            for part in &plan {
                let start = part.offset as usize;
                decoder.decode(part, &whole[start..start + part.slice_length()], &mut block).unwrap();
                restored.extend_from_slice(&block);
            }
            assert!(restored == state, "{} of {size}", codec.name());
            assert_eq!(restorer.plan(1, 1).first(), plan.get(1));
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
fn what_does_not_compress_is_hardly_longer_and_comes_back_at_every_level() {
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
fn a_saver_takes_its_state_in_one_way_only() {
    let storage = MemoryStorage::default();
    let mut saver = Saver::open(&storage, KEY, options(Codec::Gzip)).unwrap();
    saver.write(b"one").unwrap();
    assert_eq!(saver.hash(b"two").unwrap_err().code, ErrorCode::InvalidArgument);
    // Failed once, it stays so.
    assert_eq!(saver.write(b"three").unwrap_err().code, ErrorCode::InvalidArgument);
    assert_eq!(saver.commit().unwrap_err().code, ErrorCode::InvalidArgument);
    assert_eq!(storage.get(KEY), None);
}

#[test]
fn what_is_appended_has_to_be_what_was_hashed() {
    let storage = MemoryStorage::default();
    let block = |plain: &[u8]| Encoder::new(Codec::Gzip, 6).unwrap().encode(plain).unwrap();
    let open = || Saver::open(&storage, KEY, options(Codec::Gzip)).unwrap();

    let mut saver = open();
    saver.hash(b"longer").unwrap();
    saver.append(&block(b"short")).unwrap();
    assert_eq!(saver.commit().unwrap_err().code, ErrorCode::InvalidArgument);

    let mut saver = open();
    let changed = codec::EncodedBlock { hash: [7; 32], ..block(b"x") };
    assert_eq!(saver.append(&changed).unwrap_err().code, ErrorCode::Integrity);

    let mut bloated = block(b"x");
    bloated.frame = vec![0; 2000];
    assert_eq!(open().append(&bloated).unwrap_err().code, ErrorCode::InvalidArgument);
    // Lengths are looked at whoever has hashed.
    assert_eq!(open().append_hashed(&bloated).unwrap_err().code, ErrorCode::InvalidArgument);
    assert_eq!(storage.get(KEY), None);
}

#[test]
fn a_hash_of_a_frame_that_the_host_gives_is_believed_and_checked_when_it_is_read() {
    for codec in [Codec::Gzip, Codec::Zstd] {
        let storage = MemoryStorage::default();
        let state = text(10_000, 6);
        let block = Encoder::new(codec, codec.default_level()).unwrap().encode(&state).unwrap();
        let save = |block: &codec::EncodedBlock| {
            let mut saver = Saver::open(&storage, KEY, SaveOptions { host_hashes: true, ..options(codec) }).unwrap();
            saver.append_hashed(block).unwrap();
            saver.set_content_hash(Sha256::digest(&state).into()).unwrap();
            saver.commit().unwrap();
            storage.get(KEY).unwrap()
        };
        let (frame, length) = Encoder::new(codec, codec.default_level()).unwrap().encode_frame(&state).unwrap();
        assert!((&frame, length) == (&block.frame, block.length));
        snapshots::save(&storage, KEY, &state, options(codec)).unwrap();
        let expected = storage.get(KEY).unwrap();
        assert!(save(&block) == expected, "the same bytes as where all is done here");
        save(&codec::EncodedBlock { hash: [7; 32], ..block });
        assert_eq!(snapshots::restore(&storage, KEY).unwrap_err().code, ErrorCode::Integrity);
    }
}

#[test]
fn a_frame_is_decoded_only_if_the_hash_that_the_host_has_found_is_right() {
    for codec in [Codec::Gzip, Codec::Zstd] {
        let storage = MemoryStorage::default();
        let state = text(10_000, 6);
        snapshots::save(&storage, KEY, &state, options(codec)).unwrap();
        let block = Restorer::open(&storage, KEY, false).unwrap().plan(0, 1).remove(0);
        let object = storage.get(KEY).unwrap();
        let slice = &object[..block.slice_length()];
        let mut decode = {
            let (mut decoder, mut out) = (Decoder::default(), Vec::new());
            move |slice: &[u8], hash| decoder.decode_hashed(&block, slice, hash, &mut out).map(|()| out.clone())
        };
        let right = Sha256::digest(&slice[codec.header().len()..][..slice.len() - codec.header().len() - codec.trailer(0, 0).len()]).into();
        assert!(decode(slice, right).unwrap() == state);
        let error = decode(slice, [7; 32]).unwrap_err();
        assert_eq!(error.code, ErrorCode::Integrity);
        assert!(error.details.iter().any(|(name, value)| name == "found" && *value == hex(&[7; 32])), "{error:?}");
        // Cut short, it is not the hash that is wrong.
        assert_eq!(decode(&slice[..slice.len() - 1], [7; 32]).unwrap_err().code, ErrorCode::Io);
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
    assert_eq!((error.code, error.retryable), (ErrorCode::Io, true), "who reads gave too little: that says nothing of the snapshot");

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
fn a_read_of_no_bytes_gives_none_and_changes_nothing() {
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

#[test]
fn a_host_may_hash_and_is_checked_where_that_is_cheap() {
    for codec in [Codec::Gzip, Codec::Zstd] {
        let storage = MemoryStorage::default();
        let open = || Saver::open(&storage, KEY, SaveOptions { host_hashes: true, ..options(codec) }).unwrap();
        for size in [0, 5, 4 << 10, 3_000_000] {
            let state = text(size, 6);
            let hash: [u8; 32] = Sha256::digest(&state).into();
            snapshots::save(&storage, KEY, &state, options(codec)).unwrap();
            let expected = storage.get(KEY).unwrap();
            let mut saver = open();
            saver.write(&state).unwrap();
            saver.set_content_hash(hash).unwrap();
            assert_eq!(saver.commit().unwrap().content_hash, hex(&hash));
            assert!(storage.get(KEY).unwrap() == expected, "the same bytes as without");

            // Wrong: found out at once, or when it is read.
            let mut saver = open();
            saver.write(&state).unwrap();
            saver.set_content_hash([7; 32]).unwrap();
            let outcome = saver.commit();
            if size <= 4 << 10 {
                assert_eq!(outcome.unwrap_err().code, ErrorCode::Integrity);
                assert!(storage.get(KEY).unwrap() == expected);
            } else {
                outcome.unwrap();
                assert_eq!(snapshots::restore(&storage, KEY).unwrap_err().code, ErrorCode::Integrity);
            }
        }
        // Through append, no byte is seen here.
        let state = text(10_000, 2);
        let block = Encoder::new(codec, codec.default_level()).unwrap().encode(&state).unwrap();
        let mut saver = open();
        saver.append(&block).unwrap();
        saver.set_content_hash(Sha256::digest(&state).into()).unwrap();
        saver.commit().unwrap();
        assert!(snapshots::restore(&storage, KEY).unwrap() == state);
        // Not given, given twice, given unasked, and hashed on top.
        let mut saver = open();
        saver.write(b"x").unwrap();
        assert_eq!(saver.commit().unwrap_err().code, ErrorCode::InvalidArgument);
        let mut saver = open();
        saver.set_content_hash([0; 32]).unwrap();
        assert_eq!(saver.set_content_hash([0; 32]).unwrap_err().code, ErrorCode::InvalidArgument);
        assert_eq!(saver.set_content_hash([0; 32]).unwrap_err().code, ErrorCode::InvalidArgument, "a saver that failed takes no more");
        assert_eq!(open().hash(b"x").unwrap_err().code, ErrorCode::InvalidArgument);
        let mut unasked = Saver::open(&storage, KEY, options(codec)).unwrap();
        assert_eq!(unasked.set_content_hash([0; 32]).unwrap_err().code, ErrorCode::InvalidArgument);
    }
}

#[test]
fn blocks_that_are_appended_may_differ_in_length() {
    for codec in [Codec::Gzip, Codec::Zstd] {
        let storage = MemoryStorage::default();
        let mut saver = Saver::open(&storage, KEY, options(codec)).unwrap();
        let mut encoder = Encoder::new(codec, codec.default_level()).unwrap();
        let state = text(300_000, 6);
        let (mut rest, lengths) = (&state[..], [1, 100_000, 7, 150_000, 49_992]);
        for length in lengths {
            let (block, behind) = rest.split_at(length);
            rest = behind;
            saver.hash(block).unwrap();
            saver.append(&encoder.encode(block).unwrap()).unwrap();
        }
        saver.commit().unwrap();
        assert!(snapshots::restore(&storage, KEY).unwrap() == state);
        verify::verify(&storage, KEY).unwrap();
        let plan = Restorer::open(&storage, KEY, false).unwrap().plan(0, u32::MAX);
        assert!(plan.iter().map(|block| block.length as usize).eq(lengths));
    }
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

    /// The sections add up to the file, the slices tile the data, and what
    /// carries table, metadata and footer decompresses to nothing.
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
        // Bare, and with the end of a real snapshot.
        storage.put(KEY, bytes.clone());
        prop_assert!(snapshots::restore(&storage, KEY).is_err());
        snapshots::save(&storage, KEY, b"{}", options(codec)).unwrap();
        let mut end = bytes;
        end.extend_from_slice(&storage.get(KEY).unwrap()[20..]);
        storage.put(KEY, end);
        prop_assert!(snapshots::restore(&storage, KEY).is_err());
    }
}
