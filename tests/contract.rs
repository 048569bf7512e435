//! The component in a host that is independent of ours, with its own bindings generated
//! from `wit/` and its own storage. What the contract promises holds there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use persist_test_support::command::chat_bytes;
use persist_test_support::other_host::snapshots::{
    Codec, EncodedBlock, Error, ErrorCode, ListEntry, Precondition, RestoreOptions, SaveOptions,
};
use persist_test_support::other_host::{Host, Objects, options, start};
use sha2::{Digest, Sha256};
use wasmtime::Store;

#[test]
fn a_state_is_saved_and_restored() {
    let objects = Objects::default();
    let (mut store, persist) = start(&objects);
    let snapshots = persist.persist_snapshot_snapshots();
    for key in ["a.json.gz", "a.json.zst"] {
        let state = chat_bytes(5_000_000);
        let saved = snapshots.call_save(&mut store, key, &state, &options()).unwrap().unwrap();
        assert_eq!(saved.uncompressed_size, 5_000_000);
        assert_eq!(saved.extra, r#"{"adapter":{"name":"test"}}"#);
        assert_eq!(saved.etag, None);
        assert!(snapshots.call_restore(&mut store, key).unwrap().unwrap() == state);
        assert_eq!(snapshots.call_get_metadata(&mut store, key).unwrap().unwrap().digest, saved.digest);
        assert_eq!(snapshots.call_verify(&mut store, key).unwrap().unwrap().digest, saved.digest);
        assert!(snapshots.call_exists(&mut store, key).unwrap().unwrap());
        assert!(store.data().largest_write <= 1 << 20, "{}", store.data().largest_write);
    }
    let page = snapshots.call_list_snapshots(&mut store, "a", None, 1, None).unwrap().unwrap();
    assert!(matches!(&page.entries[..], [ListEntry::Snapshot(metadata)] if metadata.key == "a.json.gz"));
    let page = snapshots.call_list_snapshots(&mut store, "a", page.next.as_deref(), 10, None).unwrap().unwrap();
    assert!(matches!(&page.entries[..], [ListEntry::Snapshot(metadata)] if metadata.key == "a.json.zst"));
    assert_eq!(page.next, None);
    snapshots.call_delete(&mut store, "a.json.gz", &Precondition::None).unwrap().unwrap();
    assert!(!snapshots.call_exists(&mut store, "a.json.gz").unwrap().unwrap());
}

#[test]
fn text_is_saved_and_restored_as_text() {
    let objects = Objects::default();
    let (mut store, persist) = start(&objects);
    let snapshots = persist.persist_snapshot_snapshots();
    snapshots.call_save_text(&mut store, "x", "{\"é\": 1}", &options()).unwrap().unwrap();
    assert_eq!(snapshots.call_restore_text(&mut store, "x").unwrap().unwrap(), "{\"é\": 1}");
    snapshots.call_save(&mut store, "x", &[0xff, 0xfe], &options()).unwrap().unwrap();
    let error = snapshots.call_restore_text(&mut store, "x").unwrap().unwrap_err();
    assert_eq!((error.code, error.key.as_deref()), (ErrorCode::Unsupported, Some("x")));
    assert_eq!(snapshots.call_restore(&mut store, "x").unwrap().unwrap(), [0xff, 0xfe]);
}

#[test]
fn errors_of_the_storage_pass_through() {
    let objects = Objects::default();
    let (mut store, persist) = start(&objects);
    let snapshots = persist.persist_snapshot_snapshots();
    let error: Error = snapshots.call_restore(&mut store, "missing").unwrap().unwrap_err();
    assert_eq!((error.code, error.key.as_deref(), error.retryable), (ErrorCode::NotFound, Some("missing"), false));
    assert_eq!((error.message.as_str(), &error.details[..]), ("it is not there", &[("where".to_owned(), "here".to_owned())][..]));
    // After an error, the instance still works.
    snapshots.call_save(&mut store, "missing", b"{}", &options()).unwrap().unwrap();
    objects.lock().unwrap().insert("other".to_owned(), b"PNG".to_vec());
    assert_eq!(snapshots.call_get_metadata(&mut store, "other").unwrap().unwrap_err().code, ErrorCode::NotASnapshot);
    let limit = snapshots.call_list_snapshots(&mut store, "", None, 0, None).unwrap().unwrap_err();
    assert_eq!(limit.code, ErrorCode::InvalidArgument);
}

/// Two other instances encode and decode the blocks of a snapshot.
#[test]
fn other_instances_can_process_the_blocks() {
    for (key, codec) in [("x.gz", Codec::Gzip), ("x.zst", Codec::Zstd)] {
        let state = chat_bytes(5_000_001);
        let objects = Objects::default();
        let (mut store, persist) = start(&objects);
        let snapshots = persist.persist_snapshot_snapshots();
        snapshots.call_save(&mut store, key, &state, &options()).unwrap().unwrap();
        let whole = objects.lock().unwrap().remove(key).unwrap();

        let mut workers = [start(&Objects::default()), start(&Objects::default())];
        let saver = snapshots.call_open_saver(&mut store, key, &options()).unwrap().unwrap();
        let encoding = snapshots.saver().call_encoding(&mut store, saver).unwrap();
        assert_eq!(encoding.codec, codec);
        for (number, block) in state.chunks(encoding.block_size as usize).enumerate() {
            snapshots.saver().call_hash(&mut store, saver, block).unwrap().unwrap();
            let (worker, blocks) = &mut workers[number % 2];
            let encoded = blocks.persist_snapshot_blocks().call_encode(worker, encoding.codec, encoding.level, block).unwrap().unwrap();
            snapshots.saver().call_append(&mut store, saver, &encoded).unwrap().unwrap();
        }
        snapshots.saver().call_commit(&mut store, saver).unwrap().unwrap();
        assert!(objects.lock().unwrap()[key] == whole, "the same bytes as inline");

        let restorer = snapshots.call_open_restorer(&mut store, key, RestoreOptions { check_content_hash: false }).unwrap().unwrap();
        let count = snapshots.restorer().call_block_count(&mut store, restorer).unwrap();
        let plan = snapshots.restorer().call_plan(&mut store, restorer, 0, u32::MAX).unwrap();
        assert_eq!(plan.len(), count as usize);
        let (mut restored, mut position) = (Vec::new(), 0);
        for (number, block) in plan.iter().enumerate() {
            assert_eq!(block.offset, position, "the slices tile the data");
            let length = block.prefix.len() + block.frame_length as usize + block.suffix.len();
            let slice = &whole[position as usize..][..length];
            position += length as u64;
            let (worker, blocks) = &mut workers[number % 2];
            restored.extend(blocks.persist_snapshot_blocks().call_decode(&mut *worker, block, slice).unwrap().unwrap());
            let mut damaged = slice.to_vec();
            damaged[length / 2] ^= 1;
            let error = blocks.persist_snapshot_blocks().call_decode(worker, block, &damaged).unwrap().unwrap_err();
            assert_eq!(error.code, ErrorCode::Integrity);
        }
        assert!(restored == state);
    }
}

/// The same with a host that computes the hashes in native code.
#[test]
fn a_host_may_hash_the_frames() {
    for (key, crc_of) in [("x.gz", crc32fast::hash as fn(&[u8]) -> u32), ("x.zst", |_: &[u8]| 0)] {
        let state = chat_bytes(3_000_001);
        let objects = Objects::default();
        let (mut store, persist) = start(&objects);
        let (snapshots, blocks) = (persist.persist_snapshot_snapshots(), persist.persist_snapshot_blocks());
        snapshots.call_save(&mut store, key, &state, &options()).unwrap().unwrap();
        let whole = objects.lock().unwrap().remove(key).unwrap();

        let hashed = SaveOptions { host_hashes: true, ..options() };
        let saver = snapshots.call_open_saver(&mut store, key, &hashed).unwrap().unwrap();
        let encoding = snapshots.saver().call_encoding(&mut store, saver).unwrap();
        for block in state.chunks(encoding.block_size as usize) {
            let frame = blocks.call_encode_frame(&mut store, encoding.codec, encoding.level, block).unwrap().unwrap();
            let (length, crc32, hash) = (block.len() as u32, crc_of(block), Sha256::digest(&frame).to_vec());
            let encoded = EncodedBlock { frame, length, crc32, hash };
            snapshots.saver().call_append_hashed(&mut store, saver, &encoded).unwrap().unwrap();
        }
        snapshots.saver().call_set_content_hash(&mut store, saver, &Sha256::digest(&state)).unwrap().unwrap();
        snapshots.saver().call_commit(&mut store, saver).unwrap().unwrap();
        assert!(objects.lock().unwrap()[key] == whole, "the same bytes as inline");

        let restorer = snapshots.call_open_restorer(&mut store, key, RestoreOptions { check_content_hash: false }).unwrap().unwrap();
        let plan = snapshots.restorer().call_plan(&mut store, restorer, 0, u32::MAX).unwrap();
        let mut restored = Vec::new();
        for block in &plan {
            let (prefix, length) = (block.prefix.len(), block.frame_length as usize);
            let slice = &whole[block.offset as usize..][..prefix + length + block.suffix.len()];
            let hash = Sha256::digest(&slice[prefix..][..length]);
            restored.extend(blocks.call_decode_hashed(&mut store, block, slice, &hash).unwrap().unwrap());
            let error = blocks.call_decode_hashed(&mut store, block, slice, &[7; 32]).unwrap().unwrap_err();
            assert_eq!(error.code, ErrorCode::Integrity);
            let error = blocks.call_decode_hashed(&mut store, block, slice, &hash[1..]).unwrap().unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidArgument);
        }
        assert!(restored == state);
        snapshots.restorer().call_check(&mut store, restorer, &Sha256::digest(&state), crc_of(&state)).unwrap().unwrap();
    }
}

#[test]
fn a_dropped_saver_drops_its_writer() {
    let objects = Objects::default();
    let (mut store, persist) = start(&objects);
    let snapshots = persist.persist_snapshot_snapshots();
    let saver = snapshots.call_open_saver(&mut store, "x", &options()).unwrap().unwrap();
    snapshots.saver().call_write(&mut store, saver, &chat_bytes(3_000_000)).unwrap().unwrap();
    saver.resource_drop(&mut store).unwrap();
    assert_eq!(store.data().dropped_writers, 1);
    assert!(objects.lock().unwrap().is_empty());
}

#[test]
fn a_verifier_checks_what_the_host_copies() {
    let objects = Objects::default();
    let (mut store, persist) = start(&objects);
    let snapshots = persist.persist_snapshot_snapshots();
    snapshots.call_save(&mut store, "x", &chat_bytes(3_000_000), &options()).unwrap().unwrap();
    let bytes = objects.lock().unwrap()["x"].clone();
    for (change, outcome) in
        [(None, Ok(())), (Some(bytes.len() / 2), Err(ErrorCode::Integrity)), (Some(bytes.len() - 1), Err(ErrorCode::Integrity))]
    {
        let verifier = snapshots.call_open_verifier(&mut store, "x").unwrap().unwrap();
        let mut copy = bytes.clone();
        if let Some(at) = change {
            copy[at] ^= 1;
        }
        let mut found = Ok(());
        for chunk in copy.chunks(100_000) {
            found = found.and(snapshots.verifier().call_write(&mut store, verifier, chunk).unwrap());
        }
        let finished = snapshots.verifier().call_finish(&mut store, verifier).unwrap();
        assert_eq!(finished.as_ref().map(drop).map_err(|error| error.code), outcome, "{change:?}");
        assert_eq!(found.map_err(|error| error.code), outcome, "{change:?}");
    }
}

#[test]
fn invalid_arguments_are_errors_and_not_traps() {
    let objects = Objects::default();
    let (mut store, persist) = start(&objects);
    let snapshots = persist.persist_snapshot_snapshots();
    let blocks = persist.persist_snapshot_blocks();
    let wrong = |options: SaveOptions, store: &mut Store<Host>| {
        let error = snapshots.call_save(store, "x", b"{}", &options).unwrap().unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidArgument, "{}", error.message);
    };
    wrong(SaveOptions { level: Some(77), ..options() }, &mut store);
    wrong(SaveOptions { timestamp: Some("now".to_owned()), ..options() }, &mut store);
    wrong(SaveOptions { extra: Some("{".to_owned()), ..options() }, &mut store);
    let code = |error: Error| error.code;
    assert_eq!(blocks.call_encode(&mut store, Codec::Zstd, 99, b"x").unwrap().map(drop).map_err(code), Err(ErrorCode::InvalidArgument));
    let huge = vec![0; (8 << 20) + 1];
    assert_eq!(blocks.call_encode(&mut store, Codec::Gzip, 6, &huge).unwrap().map(drop).map_err(code), Err(ErrorCode::InvalidArgument));
    snapshots.call_save(&mut store, "x", b"state", &options()).unwrap().unwrap();
    let restorer = snapshots.call_open_restorer(&mut store, "x", RestoreOptions { check_content_hash: true }).unwrap().unwrap();
    assert_eq!(snapshots.restorer().call_plan(&mut store, restorer, 5, 5).unwrap().len(), 0);
    let mut block = snapshots.restorer().call_plan(&mut store, restorer, 0, 1).unwrap().remove(0);
    block.hash = vec![1, 2, 3];
    assert_eq!(blocks.call_decode(&mut store, &block, b"").unwrap().map(drop).map_err(code), Err(ErrorCode::InvalidArgument));
    block.hash = vec![0; 32];
    block.length = u32::MAX;
    block.frame_length = 0;
    (block.prefix, block.suffix) = (Vec::new(), Vec::new());
    assert!(blocks.call_decode(&mut store, &block, b"").unwrap().is_err());
    // A slice length that would overflow 32 bits.
    (block.prefix, block.frame_length) = (vec![1, 2], u32::MAX);
    assert!(blocks.call_decode(&mut store, &block, b"x").unwrap().is_err());
    assert!(snapshots.restorer().call_read(&mut store, restorer, 0).unwrap().unwrap().is_empty(), "an empty read is harmless");
    assert_eq!(snapshots.restorer().call_read(&mut store, restorer, 100).unwrap().unwrap(), b"state");
    assert!(snapshots.restorer().call_read(&mut store, restorer, 100).unwrap().unwrap().is_empty());
    assert_eq!(snapshots.restorer().call_check(&mut store, restorer, b"short", 0).unwrap().map_err(code), Err(ErrorCode::InvalidArgument));
    assert_eq!(snapshots.restorer().call_check(&mut store, restorer, &[7; 32], 0).unwrap().map_err(code), Err(ErrorCode::Integrity));
    assert!(objects.lock().unwrap().contains_key("x"));
}
