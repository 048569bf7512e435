//! No change goes unnoticed: every flipped bit, every truncation, every added byte.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use persist_guest::codec::Codec;
use persist_guest::error::{Error, ErrorCode};
use persist_guest::memory::MemoryStorage;
use persist_guest::restore::Restorer;
use persist_guest::{SaveOptions, snapshots, verify};
use persist_test_support::craft;

const KEY: &str = "x";

/// A snapshot with two blocks and a seal. Its state compresses well, so it is small enough to
/// try everything.
fn snapshot(codec: Codec) -> Vec<u8> {
    let plain = saved(codec);
    craft::sealed(codec == Codec::Gzip, &plain, b"a seal that nobody here knows")
}

fn saved(codec: Codec) -> Vec<u8> {
    let storage = MemoryStorage::default();
    let state: Vec<u8> = (0..codec.block_size() + 100).map(|index| (index % 7) as u8).collect();
    let options = SaveOptions {
        agent_id: "a".to_owned(),
        session_id: "s".to_owned(),
        codec: Some(codec),
        snapshot_id: Some("01890a5d-ac96-774b-bcce-b302099a8057".to_owned()),
        timestamp: Some("2026-01-31T12:00:00Z".to_owned()),
        ..SaveOptions::default()
    };
    snapshots::save(&storage, KEY, &state, options).unwrap();
    storage.get(KEY).unwrap()
}

/// Returns the results of reading the bytes in three ways.
fn read(bytes: Vec<u8>) -> [Result<(), Error>; 3] {
    let storage = MemoryStorage::default();
    storage.put(KEY, bytes);
    let stream = || {
        let mut restorer = Restorer::open(&storage, KEY, true)?;
        while !restorer.read(1 << 16)?.is_empty() {}
        Ok(())
    };
    [stream(), snapshots::restore(&storage, KEY).map(drop), verify::verify(&storage, KEY).map(drop)]
}

/// Reads every variant, and prints how many there were.
fn refuse_all(codec: Codec, what: &str, variants: impl Iterator<Item = (String, Vec<u8>)>) {
    let mut count = 0;
    for (variant, bytes) in variants {
        for (way, result) in ["stream", "restore", "verify"].into_iter().zip(read(bytes)) {
            match result {
                Err(error)
                    if matches!(
                        error.code,
                        ErrorCode::Integrity | ErrorCode::NotASnapshot | ErrorCode::InvalidFormat | ErrorCode::UnsupportedFormat
                    ) => {}
                other => panic!("{}, {variant}, {way}: {other:?}", codec.name()),
            }
        }
        count += 1;
    }
    println!("{}: {count} of {count} {what} were refused, by each of stream, restore and verify", codec.name());
    assert!(count > 0);
}

fn every_bit(codec: Codec) {
    let whole = snapshot(codec);
    let variants = (0..whole.len() * 8).map(|bit| {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        (format!("bit {bit}"), bytes)
    });
    refuse_all(codec, "flipped bits", variants);
}

fn every_truncation(codec: Codec) {
    let whole = snapshot(codec);
    let variants = (0..whole.len()).map(|length| (format!("length {length}"), whole[..length].to_vec()));
    refuse_all(codec, "truncations", variants);
}

fn every_front_cut(codec: Codec) {
    let whole = snapshot(codec);
    let variants = (1..=whole.len()).map(|start| (format!("without the first {start}"), whole[start..].to_vec()));
    refuse_all(codec, "files without their beginning", variants);
}

fn every_added_byte(codec: Codec) {
    let whole = snapshot(codec);
    // A byte with the value of its neighbour could hide in a run.
    let variants = (0..=whole.len()).flat_map(|at| {
        let before = at.checked_sub(1).map(|before| whole[before]);
        let mut values = vec![0, 0xff];
        values.extend(before);
        values.extend(whole.get(at));
        values.sort_unstable();
        values.dedup();
        let whole = &whole;
        values.into_iter().map(move |value| {
            let mut bytes = whole.clone();
            bytes.insert(at, value);
            (format!("byte {value} at {at}"), bytes)
        })
    });
    refuse_all(codec, "added bytes", variants);
}

#[test]
fn gzip_every_flipped_bit_is_noticed() {
    every_bit(Codec::Gzip);
}

#[test]
fn gzip_every_truncation_is_noticed() {
    every_truncation(Codec::Gzip);
    every_front_cut(Codec::Gzip);
}

#[test]
fn gzip_every_added_byte_is_noticed() {
    every_added_byte(Codec::Gzip);
}

#[test]
fn zstd_every_flipped_bit_is_noticed() {
    every_bit(Codec::Zstd);
}

#[test]
fn zstd_every_truncation_is_noticed() {
    every_truncation(Codec::Zstd);
    every_front_cut(Codec::Zstd);
}

#[test]
fn zstd_every_added_byte_is_noticed() {
    every_added_byte(Codec::Zstd);
}
