//! Blocks that a host encodes, decodes or hashes itself.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use persist_guest::codec::{self, Codec, Decoder, Encoder};
use persist_guest::error::ErrorCode;
use persist_guest::hash::hex;
use persist_guest::memory::MemoryStorage;
use persist_guest::restore::Restorer;
use persist_guest::save::Saver;
use persist_guest::{SaveOptions, snapshots, verify};
use sha2::{Digest, Sha256};

mod support;

use support::{KEY, options, sizes, text};

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
                // A new encoder for each block, as in another instance.
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
fn blocks_that_are_appended_may_differ_in_length() {
    for codec in [Codec::Gzip, Codec::Zstd] {
        let storage = MemoryStorage::default();
        let mut saver = Saver::open(&storage, KEY, options(codec)).unwrap();
        let mut encoder = Encoder::new(codec, codec.default_level()).unwrap();
        let state = text(300_000, 6);
        let (mut rest, lengths) = (&state[..], [1, 100_000, 7, 150_000, 49_992]);
        for length in lengths {
            let (block, after) = rest.split_at(length);
            rest = after;
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
    // Lengths are checked even if the hash is trusted.
    assert_eq!(open().append_hashed(&bloated).unwrap_err().code, ErrorCode::InvalidArgument);
    assert_eq!(storage.get(KEY), None);
}

#[test]
fn a_saver_takes_its_state_in_one_way_only() {
    let storage = MemoryStorage::default();
    let mut saver = Saver::open(&storage, KEY, options(Codec::Gzip)).unwrap();
    saver.write(b"one").unwrap();
    assert_eq!(saver.hash(b"two").unwrap_err().code, ErrorCode::InvalidArgument);
    // After an error it stays unusable.
    assert_eq!(saver.write(b"three").unwrap_err().code, ErrorCode::InvalidArgument);
    assert_eq!(saver.commit().unwrap_err().code, ErrorCode::InvalidArgument);
    assert_eq!(storage.get(KEY), None);
}

#[test]
fn a_frame_hash_from_the_host_is_trusted_and_checked_on_reading() {
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
        assert!(save(&block) == expected, "the same bytes as without a host");
        save(&codec::EncodedBlock { hash: [7; 32], ..block });
        assert_eq!(snapshots::restore(&storage, KEY).unwrap_err().code, ErrorCode::Integrity);
    }
}

#[test]
fn a_frame_is_decoded_only_if_the_hash_from_the_host_matches() {
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
        // If the slice is truncated, the error is not about the hash.
        assert_eq!(decode(&slice[..slice.len() - 1], [7; 32]).unwrap_err().code, ErrorCode::Io);
    }
}

#[test]
fn a_content_hash_from_the_host_is_checked_if_that_is_cheap() {
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
            assert!(storage.get(KEY).unwrap() == expected, "the same bytes as without a host");

            // A wrong hash is found at once, or on reading.
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
        // With `append`, the saver sees none of the state.
        let state = text(10_000, 2);
        let block = Encoder::new(codec, codec.default_level()).unwrap().encode(&state).unwrap();
        let mut saver = open();
        saver.append(&block).unwrap();
        saver.set_content_hash(Sha256::digest(&state).into()).unwrap();
        saver.commit().unwrap();
        assert!(snapshots::restore(&storage, KEY).unwrap() == state);
        // Not set, set twice, hashed here as well, and set without being announced.
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
